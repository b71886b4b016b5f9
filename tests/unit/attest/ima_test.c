#include "attest/ima.h"

#include "tests/unit/cmocka_all.h"

#include "tests/unit/attest/event_log_files.h"
#include "tests/unit/attest/software_log.h"

/* Entries of real kernels, one of each template; the data as it stands in the binary list. */
static const struct {
    const char *digest, *name, *data, *path, *file;
} entries[] = {
    {"d7026dc672344d3ee372217bdbc7395947788671", "ima",
     "6f66d1d8e2fffcc12dfcb78c04b81fe5b8bbae4e0d0000002f7573722f62696e2f6b6d6f64", "/usr/bin/kmod",
     "sha1:6f66d1d8e2fffcc12dfcb78c04b81fe5b8bbae4e"},
    {"7936eb315fb4e74b99e7d461bc5c96049e1ee092", "ima-ng",
     "1a000000736861313a00bc026ae66d81713e4e852465e980784dc96651f8190000002f7573722f6c6962"
     "2f73797374656d642f73797374656d6400",
     "/usr/lib/systemd/systemd", "sha1:bc026ae66d81713e4e852465e980784dc96651f8"},
    {"06e804489a77ddab51b9ef27e17053c0e5d503bd", "ima-sig",
     "1a000000736861313a001cb84b12db45d7da8de58ba6744187db84082f0e0f0000002f7573722f62696e"
     "2f7a6d6f72650051000000030202531f402500483046022100bff9c02dc7b270c83cc94bfec10eecd428"
     "31de2cdcb04f024369a14623bc3a91022100cc4d015ae932fb98d6846645ed7d1bb1afd4621ec9089bc0"
     "87126f191886dd31",
     "/usr/bin/zmore", "sha1:1cb84b12db45d7da8de58ba6744187db84082f0e"},
    {"5426cf3031a43f5bfca183d79950698a95a728f6", "ima-sig",
     "280000007368613235363a00f1125b940480d20ad841d26d5ea253edc0704b5ec1548c891edf212cb1a9"
     "365e470000002f6c69622f6d6f64756c65732f352e342e34382d6f70656e706f776572312f6b65726e65"
     "6c2f647269766572732f7573622f636f6d6d6f6e2f7573622d636f6d6d6f6e2e6b6f0000000000",
     "/lib/modules/5.4.48-openpower1/kernel/drivers/usb/common/usb-common.ko",
     "sha256:f1125b940480d20ad841d26d5ea253edc0704b5ec1548c891edf212cb1a9365e"},
    {"b7862dbbf1383ac6c7cca7f02d981a081aacb1f1", "ima-buf",
     "1a000000736861313a006e0e6fc8a188ef4f059638949adca4d2219469060e0000006465766963655f72"
     "6573756d6500ce0000006e616d653d544553543b757569643d43525950542d5645524954592d39656633"
     "326535623635623034343234613561386562343436636630653731332d544553543b6361706163697479"
     "3d303b6d616a6f723d3235333b6d696e6f723d303b6d696e6f725f636f756e743d313b6e756d5f746172"
     "676574733d313b6163746976655f7461626c655f686173683d3465653830653333653536356433363334"
     "303566343032383934366538376233653965633063353836616666396566306564366635616537626562"
     "37326431333b",
     "device_resume", "sha1:6e0e6fc8a188ef4f059638949adca4d221946906"},
};

static void append_entry(struct buffer *list, const char *digest, const char *name,
                         const char *data)
{
    software_u32(list, 10);
    append_hex(list, digest);
    software_u32(list, (uint32_t)strlen(name));
    buffer_append_text(list, name);
    if (strcmp(name, "ima") != 0) {
        software_u32(list, (uint32_t)strlen(data) / 2);
    }
    append_hex(list, data);
}

static void append_entries(struct buffer *list)
{
    for (size_t i = 0; i < ARRAY_SIZE(entries); i++) {
        append_entry(list, entries[i].digest, entries[i].name, entries[i].data);
    }
}

static void parse(const struct buffer *bytes, struct ima_list *ret_list)
{
    struct error err;
    if (ima_parse(buffer_bytes(bytes), ret_list, &err) < 0) {
        fail_msg("%s", err.text);
    }
}

/* The number of entries; 0: none lead there, and err says so. */
static size_t replay(const struct ima_list *list, TPM2_ALG_ID bank, const char *quoted,
                     struct error *err)
{
    _cleanup_(buffer_clear) struct buffer value = {0};
    append_hex(&value, quoted);
    assert_int_equal(value.size, hash_by_id(bank)->size);
    size_t count;
    return ima_replay(list, bank, value.data, &count, err) < 0 ? 0 : count;
}

static void names_files(void **state)
{
    (void)state;
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    struct ima_list list;
    append_entries(&bytes);
    parse(&bytes, &list);
    assert_int_equal(list.count, ARRAY_SIZE(entries));
    for (size_t i = 0; i < list.count; i++) {
        _cleanup_(free_cleanup) char *path = NULL, *digest = NULL;
        assert_false(list.entries[i].is_violation);
        assert_true(ima_entry_file(&list.entries[i], &path, &digest));
        assert_string_equal(path, entries[i].path);
        assert_string_equal(digest, entries[i].file);
    }
    ima_clear(&list);
}

/* The values were computed apart from this code. */
static void replays_each_way(void **state)
{
    (void)state;
    static const struct {
        TPM2_ALG_ID bank;
        const char *quoted;
        size_t count;
    } cases[] = {
        {TPM2_ALG_SHA1, "144e41e8645996f14f2c85471515787aa3fa9df3", 5},
        {TPM2_ALG_SHA256, "60677b79fa0644c2dd6356f7e9ef545bd3fabd0b84a0e4f25048ac866908b717", 5},
        {TPM2_ALG_SHA256, "1b7f183a469857edf602c302568ce810cecfff77a27f476f116f6af1e5dfb304", 5},
        /* PCR 10 as it begins: nothing was measured, so the list is not of this boot */
        {TPM2_ALG_SHA1, "0000000000000000000000000000000000000000", 0},
        {TPM2_ALG_SHA256, "60677b79fa0644c2dd6356f7e9ef545bd3fabd0b84a0e4f25048ac866908b718", 0},
    };
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    struct ima_list list;
    append_entries(&bytes);
    parse(&bytes, &list);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct error err;
        assert_int_equal(replay(&list, cases[i].bank, cases[i].quoted, &err), cases[i].count);
        if (cases[i].count == 0) {
            assert_int_equal(err.code, ERROR_NOT_FOUND);
            assert_non_null(strstr(err.text, "none of its 5 entries"));
        }
    }
    ima_clear(&list);
}

static void replays_a_real_list(void **state)
{
    (void)state;
    static const struct {
        TPM2_ALG_ID bank;
        const char *quoted;
    } cases[] = {
        {TPM2_ALG_SHA1, "156a1d4050c491b9944960a50f976fa6f5d12338"},
        {TPM2_ALG_SHA256, "63643f7bdec2d809ae511c444ed0e48b2f9203d3b4aaa3284a70c68fa8ad4375"},
        {TPM2_ALG_SHA256, "22861e0d90c9c6fde1c050b3d73bc596f5967a5976d765ff62cc8078b2aef0ef"},
    };
    struct log_file file;
    struct ima_list list;
    log_file_read("ima_lists", "ima-ng.bin", &file);
    /* Entries that came after the quote do no harm, whatever they are. */
    append_entry(&file.bytes, entries[0].digest, "ima-ng", "00");
    parse(&file.bytes, &list);
    assert_int_equal(list.count, 121);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct error err;
        assert_int_equal(replay(&list, cases[i].bank, cases[i].quoted, &err), 120);
    }
    ima_clear(&list);
    log_file_close(&file);
}

/* What each prefix leads to, found by extending one by one. */
static void replays_prefixes(void **state)
{
    (void)state;
    static const char *const paths[] = {"/a", "/b", "/c", "/d"};
    static const uint8_t zeros[HASH_MAX_BYTES];
    for (size_t i = 0; i < ARRAY_SIZE(software_banks); i++) {
        struct software_boot boot = {0};
        uint8_t values[ARRAY_SIZE(paths)][HASH_MAX_BYTES];
        const struct hash_algorithm *hash = hash_by_id(software_banks[i]);
        for (size_t bank = 0; bank < ARRAY_SIZE(software_banks); bank++) {
            (void)pcr_set_put(&boot.pcrs, software_banks[bank], 10,
                              (struct bytes){zeros, hash_by_id(software_banks[bank])->size}, NULL);
        }
        for (size_t path = 0; path < ARRAY_SIZE(paths); path++) {
            software_measured_file(&boot, paths[path]);
            memcpy(values[path], pcr_set_value(&boot.pcrs, hash->id, 10), hash->size);
        }
        struct ima_list list;
        parse(&boot.ima_list, &list);
        for (size_t path = 0; path < ARRAY_SIZE(paths); path++) {
            size_t count;
            assert_int_equal(ima_replay(&list, hash->id, values[path], &count, NULL), 0);
            assert_int_equal(count, path + 1);
        }
        ima_clear(&list);
        software_boot_clear(&boot);
    }
}

static void extend(const struct hash_algorithm *hash, uint8_t value[HASH_MAX_BYTES],
                   const uint8_t *digest)
{
    const struct bytes parts[] = {{value, hash->size}, {digest, hash->size}};
    assert_int_equal(hash_compute(hash, parts, 2, value, NULL), 0);
}

/* A violation: zeros in the list, ones in the register; in a padded bank 20 of them. Its data is
 * anybody's. */
static void replays_violations(void **state)
{
    (void)state;
    static const struct {
        TPM2_ALG_ID bank;
        size_t ones;
    } cases[] = {{TPM2_ALG_SHA1, 20}, {TPM2_ALG_SHA256, 32}, {TPM2_ALG_SHA256, 20}};
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    struct ima_list list;
    append_entry(&bytes, "0000000000000000000000000000000000000000", "ima-ng", "00");
    append_entry(&bytes, "0000000000000000000000000000000000000000", "ima", entries[0].data);
    parse(&bytes, &list);
    assert_int_equal(list.count, 2);
    assert_true(list.entries[0].is_violation && list.entries[1].is_violation);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        uint8_t value[HASH_MAX_BYTES] = {0}, ones[HASH_MAX_BYTES] = {0};
        size_t count;
        memset(ones, 0xff, cases[i].ones);
        extend(hash_by_id(cases[i].bank), value, ones);
        extend(hash_by_id(cases[i].bank), value, ones);
        assert_int_equal(ima_replay(&list, cases[i].bank, value, &count, NULL), 0);
        assert_int_equal(count, 2);
    }
    ima_clear(&list);
}

/* With SHA-1 there is one way only: files that were never extended cannot be slipped in between
 * violations. */
static void hides_nothing_between_violations(void **state)
{
    (void)state;
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    struct ima_list list;
    struct error err;
    uint8_t value[HASH_MAX_BYTES] = {0}, ones[HASH_MAX_BYTES];
    size_t count;
    memset(ones, 0xff, sizeof(ones));
    extend(hash_by_id(TPM2_ALG_SHA1), value, ones);
    append_entry(&bytes, entries[1].digest, entries[1].name, entries[1].data);
    append_entry(&bytes, "0000000000000000000000000000000000000000", "ima-ng", "00");
    parse(&bytes, &list);
    assert_int_equal(ima_replay(&list, TPM2_ALG_SHA1, value, &count, &err), -1);
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    ima_clear(&list);
}

static void tells_changed_entries(void **state)
{
    (void)state;
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    append_entries(&bytes);
    struct ima_list list;
    parse(&bytes, &list);
    for (size_t i = 0; i < list.count; i++) {
        static const uint8_t quoted[HASH_MAX_BYTES];
        const size_t last = (size_t)(list.entries[i].template_data.data - bytes.data) +
                            list.entries[i].template_data.size - 1;
        struct error err;
        size_t count;
        bytes.data[last] ^= 1;
        assert_int_equal(ima_replay(&list, TPM2_ALG_SHA256, quoted, &count, &err), -1);
        bytes.data[last] ^= 1;
        _cleanup_(free_cleanup) char *words = text_format("entry %zu: its digest is not", i);
        assert_int_equal(err.code, ERROR_DATA_LOSS);
        assert_non_null(strstr(err.text, words));
        assert_int_equal(ima_replay(&list, TPM2_ALG_SM3_256, quoted, &count, &err), -1);
        assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
    }
    ima_clear(&list);
}

static int parse_exact(const uint8_t *data, size_t size, size_t *ret_count, struct error *err)
{
    /* Memory of exactly that size, so that a sanitizer sees a read past the end. */
    _cleanup_(free_cleanup) uint8_t *copy = memory_new(size);
    memcpy(copy, data, size);
    struct ima_list list;
    int result = ima_parse((struct bytes){copy, size}, &list, err);
    if (result == 0) {
        *ret_count = list.count;
        ima_clear(&list);
    }
    return result;
}

static void tells_truncations(void **state)
{
    (void)state;
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    append_entries(&bytes);
    size_t whole = 0;
    for (size_t size = 0; size <= bytes.size; size++) {
        struct error err;
        size_t count;
        if (parse_exact(bytes.data, size, &count, &err) == 0) {
            assert_int_equal(count, whole);
            whole++;
        } else {
            assert_int_equal(err.code, ERROR_DATA_LOSS);
        }
    }
    assert_int_equal(whole, ARRAY_SIZE(entries) + 1);
}

static void checks_forms(void **state)
{
    (void)state;
#define DIGEST "d7026dc672344d3ee372217bdbc7395947788671"
    static const struct {
        const char *list, *words;
    } cases[] = {
        {"0b000000" DIGEST "03000000696d61", "entry 0 at offset 0: it is not of PCR 10"},
        {"0a000000" DIGEST "00000000", "name has not 1 to 255"},
        {"0a000000" DIGEST "00010000", "name has not 1 to 255"},
        {"0a000000" DIGEST "ffffffff", "name has not 1 to 255"},
        {"0a000000" DIGEST "06000000696d612d6e67ffffffff", "it is cut off"},
        {"0a000000" DIGEST "06000000696d612d6e67010000", "it is cut off"},
        {"0a000000" DIGEST "03000000696d61" DIGEST "00010000", "longer than 255 bytes"},
        {"0a000000" DIGEST "03000000696d61" DIGEST "01000000", "it is cut off"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(buffer_clear) struct buffer bytes = {0};
        struct error err = {0};
        size_t count;
        append_hex(&bytes, cases[i].list);
        if (parse_exact(bytes.data, bytes.size, &count, &err) == 0 ||
            !strstr(err.text, cases[i].words)) {
            fail_msg("case %zu: %s", i, err.text);
        }
    }
}

/* Data that is not what its template says is nobody's file. */
static void names_no_files_where_there_are_none(void **state)
{
    (void)state;
    static const struct {
        const char *name, *data;
    } cases[] = {
        {"ima-ng", ""},
        {"ima-ng", "ffffffff"},
        {"ima-ng", "07000000736861313a0001020000002f"},
        {"ima-ng", "0800000073686131003a0001020000002f00"}, /* no colon before the NUL */
        {"ima-ng", "0800000073680a313a000102020000002f00"}, /* a line feed in the algorithm */
        {"ima-ng", "08000000736861313a00010200000000"},     /* no path */
        {"ima-ng", "08000000736861313a000102040000002f002f00"},
        {"other", "08000000736861313a000102020000002f00"},
        {"ima-n", "08000000736861313a000102020000002f00"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(buffer_clear) struct buffer bytes = {0};
        struct ima_list list;
        char *path, *digest;
        append_entry(&bytes, DIGEST, cases[i].name, cases[i].data);
        parse(&bytes, &list);
        if (ima_entry_file(&list.entries[0], &path, &digest)) {
            fail_msg("case %zu is %s %s", i, path, digest);
        }
        ima_clear(&list);
    }
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    struct ima_list list;
    append_entry(&bytes, DIGEST, "ima-ng", "08000000736861313a000102040000002f0aff00");
    parse(&bytes, &list);
    _cleanup_(free_cleanup) char *path = NULL, *digest = NULL;
    assert_true(ima_entry_file(&list.entries[0], &path, &digest));
    assert_string_equal(path, "/??");
    assert_string_equal(digest, "sha1:0102");
    ima_clear(&list);
}

static void bounds_sizes(void **state)
{
    (void)state;
    struct error err;
    size_t count;
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    for (size_t i = 0; i < IMA_MAX_ENTRIES; i++) {
        static const uint8_t entry[4 + 20 + 4 + 1 + 4] = {10, [4] = 1, [24] = 1, [28] = 'x'};
        buffer_append(&bytes, entry, sizeof(entry));
    }
    assert_int_equal(parse_exact(bytes.data, bytes.size, &count, &err), 0);
    assert_int_equal(count, IMA_MAX_ENTRIES);
    buffer_append_u8(&bytes, 10);
    assert_int_equal(parse_exact(bytes.data, bytes.size, &count, &err), -1);
    assert_non_null(strstr(err.text, "more entries than 262144"));
    (void)buffer_extend(&bytes, IMA_MAX_BYTES + 1 - bytes.size);
    assert_int_equal(parse_exact(bytes.data, bytes.size, &count, &err), -1);
    assert_non_null(strstr(err.text, "more than 16777216"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_files),
        cmocka_unit_test(replays_each_way),
        cmocka_unit_test(replays_a_real_list),
        cmocka_unit_test(replays_prefixes),
        cmocka_unit_test(replays_violations),
        cmocka_unit_test(hides_nothing_between_violations),
        cmocka_unit_test(tells_changed_entries),
        cmocka_unit_test(tells_truncations),
        cmocka_unit_test(checks_forms),
        cmocka_unit_test(names_no_files_where_there_are_none),
        cmocka_unit_test(bounds_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
