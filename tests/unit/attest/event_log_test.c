#include "attest/event_log.h"

#include "tests/unit/cmocka_all.h"

#include "tests/unit/attest/event_log_files.h"

#define LOCALITY "StartupLocality"

static void replay(const struct event_log *log, TPM2_ALG_ID bank, struct pcr_bank *ret_pcrs)
{
    struct error err;
    if (event_log_replay(log, bank, ret_pcrs, &err) < 0) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(ret_pcrs->bank, bank);
    assert_int_equal(ret_pcrs->mask, 0xffffff);
}

static bool has_digests(const struct event_log *log, TPM2_ALG_ID bank)
{
    struct bytes digest;
    for (size_t i = 0; i < log->count; i++) {
        if (!event_digest(&log->events[i], bank, &digest)) {
            return false;
        }
    }
    return true;
}

/* published-pcrs.txt: FILE BANK PCR HEX, as the machine's own TPM had them. */
static void replays_to_published_values(void **state)
{
    (void)state;
    _cleanup_(text_list_clear) struct text_list lines = {0};
    log_file_lines("published-pcrs.txt", &lines);
    for (size_t i = 0; i < lines.count; i++) {
        _cleanup_(free_cleanup) char *line = memory_copy_text(lines.items[i]);
        char *rest = line;
        const char *name = strsep(&rest, " ");
        const struct hash_algorithm *hash = hash_by_name(strsep(&rest, " "));
        const unsigned long pcr = strtoul(strsep(&rest, " "), NULL, 10);
        const char *wanted = rest;
        struct log_file file;
        struct pcr_bank pcrs;
        assert_in_range(pcr, 0, PCR_COUNT - 1);
        log_file_open(name, &file);
        replay(&file.log, hash->id, &pcrs);
        _cleanup_(free_cleanup) char *value =
            text_hex((struct bytes){pcrs.values[pcr], hash->size});
        if (strcmp(value, wanted) != 0) {
            fail_msg("%s: it is %s", lines.items[i], value);
        }
        log_file_close(&file);
    }
}

/* tpm2_eventlog 5.4 extends events that are only told and knows of no locality, so where a log has
 * such events its PCR 0 is wrong. */
static bool has_told_events(const struct event_log *log)
{
    for (size_t i = 0; i < log->count; i++) {
        if (log->events[i].type == EVENT_TYPE_NO_ACTION) {
            return true;
        }
    }
    return false;
}

static void compare_bank(const char *name, const struct event_log *log, const char *text,
                         const struct hash_algorithm *hash)
{
    struct pcr_bank pcrs;
    _cleanup_(free_cleanup) char *heading = text_format("\n  %s:\n", hash->name);
    const char *line = strstr(text, heading);
    unsigned compared = 0;
    if (!line || !has_digests(log, hash->id)) {
        return;
    }
    replay(log, hash->id, &pcrs);
    /* Lines such as "    0  : 0x3d..." */
    for (line += strlen(heading); strncmp(line, "    ", 4) == 0; line = strchr(line, '\n') + 1) {
        char *end;
        const unsigned long pcr = strtoul(line, &end, 10);
        const char *value = end + strspn(end, " :");
        assert_in_range(pcr, 0, PCR_COUNT - 1);
        _cleanup_(free_cleanup) char *ours = text_hex((struct bytes){pcrs.values[pcr], hash->size});
        assert_true(strncmp(value, "0x", 2) == 0);
        if (strncmp(value + 2, ours, 2 * hash->size) != 0 && (pcr != 0 || !has_told_events(log))) {
            fail_msg("%s: PCR %lu of %s is %s, tpm2_eventlog says %.130s", name, pcr, hash->name,
                     ours, value);
        }
        compared++;
    }
    assert_true(compared > 0);
}

static void replays_as_tpm2_tools(void **state)
{
    (void)state;
    _cleanup_(text_list_clear) struct text_list names = {0};
    log_file_names(&names);
    size_t compared = 0;
    for (size_t i = 0; i < names.count; i++) {
        struct log_file file;
        _cleanup_(buffer_clear) struct buffer text = {0};
        log_file_open(names.items[i], &file);
        if (log_file_by_tpm2_tools(&file, &text)) {
            const char *pcrs = strstr((const char *)text.data, "\npcrs:");
            for (size_t bank = 0; pcrs && bank < file.log.bank_count; bank++) {
                compare_bank(names.items[i], &file.log, pcrs, hash_by_id(file.log.banks[bank]));
            }
            compared += pcrs != NULL;
        }
        log_file_close(&file);
    }
    if (compared == 0) {
        print_message("tpm2_eventlog is not installed\n");
        skip();
    }
    assert_true(compared > 10);
}

static void knows_localities_and_forms(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t is_crypto_agile, banks, events, locality;
    } cases[] = {
        {"short-no-action.bin", false, 1, 1, 3},
        {"gdc-host.bin", true, 1, 158, 3},
        {"glinux-laptop.bin", true, 2, 28, 3},
        {"debian-10.bin", false, 1, 25, 0},
        {"rhel-8.bin", true, 3, 82, 0},
        {"two-of-four-banks.bin", true, 4, 1, 0},
        /* ends with Windows' signature, which is no event of a register */
        {"windows-option-rom-sha1.bin", false, 1, 60, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct log_file file;
        log_file_open(cases[i].name, &file);
        assert_int_equal(file.log.is_crypto_agile, cases[i].is_crypto_agile);
        assert_int_equal(file.log.bank_count, cases[i].banks);
        assert_int_equal(file.log.count, cases[i].events);
        assert_int_equal(file.log.startup_locality, cases[i].locality);
        log_file_close(&file);
    }
}

static void refuses_a_bank_that_is_not_there(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        TPM2_ALG_ID bank;
        const char *words;
    } cases[] = {
        {"two-of-four-banks.bin", TPM2_ALG_SHA384,
         "event 0 (EV_EFI_VARIABLE_DRIVER_CONFIG, PCR 7) has no sha384 digest"},
        {"debian-10.bin", TPM2_ALG_SHA256, "has no sha256 digest"},
        {"rhel-8.bin", TPM2_ALG_SHA512, "has no sha512 digest"},
        {"rhel-8.bin", TPM2_ALG_SM3_256, "bank 0x0012"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct log_file file;
        struct pcr_bank pcrs;
        struct error err;
        log_file_open(cases[i].name, &file);
        assert_int_equal(event_log_replay(&file.log, cases[i].bank, &pcrs, &err), -1);
        assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
        assert_non_null(strstr(err.text, cases[i].words));
        log_file_close(&file);
    }
}

/* Types are not measured, so they change nothing; but nothing real can be passed off as told. */
static void types_do_not_matter(void **state)
{
    (void)state;
    struct log_file file;
    struct pcr_bank before, after;
    log_file_open("rhel-8.bin", &file);
    replay(&file.log, TPM2_ALG_SHA256, &before);
    for (size_t i = 0; i < file.log.count; i++) {
        file.log.events[i].type = 2;
        file.log.events[i].data = (struct bytes){0};
    }
    replay(&file.log, TPM2_ALG_SHA256, &after);
    assert_memory_equal(before.values, after.values, sizeof(before.values));
    file.log.events[file.log.count - 1].type = EVENT_TYPE_NO_ACTION;
    replay(&file.log, TPM2_ALG_SHA256, &after);
    assert_memory_not_equal(before.values, after.values, sizeof(before.values));
    log_file_close(&file);
}

static int parse_exact(const uint8_t *data, size_t size, size_t *ret_count, struct error *err)
{
    /* Memory of exactly that size, so that a sanitizer sees a read past the end. */
    _cleanup_(free_cleanup) uint8_t *copy = memory_new(size);
    memcpy(copy, data, size);
    struct event_log log;
    int result = event_log_parse((struct bytes){copy, size}, &log, err);
    if (result == 0) {
        *ret_count = log.count;
        event_log_clear(&log);
    }
    return result;
}

static size_t count_whole_events(const struct log_file *file, size_t size)
{
    size_t count = 0;
    while (count < file->log.count) {
        const struct bytes data = file->log.events[count].data;
        if ((size_t)(data.data - file->bytes.data) + data.size > size) {
            break;
        }
        count++;
    }
    return count;
}

/* Where the cut leaves whole events, and at most what looks like padding, it cannot be seen (the
 * replay tells). Nothing is ever read that is not there. */
static void truncations_are_told(void **state)
{
    (void)state;
    static const char *const names[] = {"systemd-boot.bin", "crypto-agile.bin", "uefi-sha1.bin",
                                        "short-no-action.bin"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        struct log_file file;
        log_file_open(names[i], &file);
        size_t cuts_seen = 0;
        for (size_t size = 0; size < file.bytes.size; size++) {
            struct error err;
            size_t count = 0;
            if (parse_exact(file.bytes.data, size, &count, &err) == 0) {
                assert_int_equal(count, count_whole_events(&file, size));
            } else {
                assert_int_equal(err.code, ERROR_DATA_LOSS);
                cuts_seen++;
            }
        }
        assert_true(cuts_seen > file.bytes.size - 13 * (file.log.count + 1));
        log_file_close(&file);
    }
}

/* Logs by the byte: u32, u16 and so on little endian in hexadecimal would be unreadable, so each
 * case is a list of parts. */
enum { END, U8, U16, U32, ZEROS, ONES, TEXT };
struct part {
    int kind;
    uint32_t value; /* a number, or a count of bytes */
    const char *text;
};
enum { PARTS_MAX = 40 };

#define HEADER(alg_bytes, algs)                                                                    \
    {U32, 0, NULL}, {U32, 3, NULL}, {ZEROS, 20, NULL}, {U32, 29 + (alg_bytes), NULL},              \
        {TEXT, 16, "Spec ID Event03"}, {ZEROS, 8, NULL},                                           \
    {                                                                                              \
        U32, algs, NULL                                                                            \
    }
#define ALG(id, size)                                                                              \
    {U16, id, NULL},                                                                               \
    {                                                                                              \
        U16, size, NULL                                                                            \
    }
#define SHA256_HEADER                                                                              \
    HEADER(4, 1), ALG(11, 32),                                                                     \
    {                                                                                              \
        U8, 0, NULL                                                                                \
    }
#define EVENT(pcr, type, digests)                                                                  \
    {U32, pcr, NULL}, {U32, type, NULL},                                                           \
    {                                                                                              \
        U32, digests, NULL                                                                         \
    }
#define SHA256_DIGEST                                                                              \
    {U16, 11, NULL},                                                                               \
    {                                                                                              \
        ONES, 32, NULL                                                                             \
    }
#define DATA(size)                                                                                 \
    {                                                                                              \
        U32, size, NULL                                                                            \
    }

static const struct {
    const char *words; /* in the error; NULL: it is read */
    struct part parts[PARTS_MAX];
    size_t events;
} forms[] = {
    {"event 0 at offset 0: it is cut off", {{END, 0, NULL}}, 0},
    {NULL, {SHA256_HEADER}, 0},
    {NULL, {SHA256_HEADER, {ONES, 999, NULL}}, 0},
    {NULL, {SHA256_HEADER, {ZEROS, 999, NULL}}, 0},
    {"event 6 at offset 161: it is cut off",
     {SHA256_HEADER, {ZEROS, 99, NULL}, {ONES, 1, NULL}},
     0},
    {"offset 65: there is no PCR 4294967295",
     {SHA256_HEADER, {ONES, 99, NULL}, {ZEROS, 1, NULL}},
     0},
    {NULL, {SHA256_HEADER, EVENT(23, 1, 1), SHA256_DIGEST, DATA(2), {TEXT, 2, "ab"}}, 1},
    {NULL, {SHA256_HEADER, EVENT(1, 1, 0), DATA(0), {ONES, 3, NULL}}, 1},
    {"there is no PCR 24", {SHA256_HEADER, EVENT(24, 1, 1), SHA256_DIGEST, DATA(0)}, 0},
    {"there is no PCR 4294967295",
     {SHA256_HEADER, EVENT(UINT32_MAX, 1, 1), SHA256_DIGEST, DATA(0)},
     0},
    {NULL, {SHA256_HEADER, EVENT(UINT32_MAX, 3, 1), SHA256_DIGEST, DATA(0)}, 0},
    {"it has 2 digests", {SHA256_HEADER, EVENT(0, 1, 2), SHA256_DIGEST, SHA256_DIGEST, DATA(0)}, 0},
    {"it has 4294967295 digests", {SHA256_HEADER, EVENT(0, 1, UINT32_MAX), SHA256_DIGEST}, 0},
    {"algorithm 0x000b twice",
     {HEADER(8, 2),
      ALG(11, 32),
      ALG(4, 20),
      {U8, 0, NULL},
      EVENT(0, 1, 2),
      SHA256_DIGEST,
      SHA256_DIGEST,
      DATA(0)},
     0},
    {"algorithm 0x0004 that the header does not list",
     {SHA256_HEADER, EVENT(0, 1, 1), {U16, 4, NULL}, {ONES, 20, NULL}, DATA(0)},
     0},
    {"0 bytes are left where it has 4294967295 of data",
     {SHA256_HEADER, EVENT(0, 1, 1), SHA256_DIGEST, DATA(UINT32_MAX)},
     0},
    {"2 bytes are left where it has 3 of data",
     {SHA256_HEADER, EVENT(0, 1, 1), SHA256_DIGEST, DATA(3), {TEXT, 2, "ab"}},
     0},
    /* an algorithm that nobody knows is skipped by the length that the header gives */
    {NULL,
     {HEADER(8, 2),
      ALG(0x77, 5),
      ALG(11, 32),
      {U8, 0, NULL},
      EVENT(0, 1, 2),
      {U16, 0x77, NULL},
      {ONES, 5, NULL},
      SHA256_DIGEST,
      DATA(0)},
     1},
    {"is cut off",
     {HEADER(4, 1), ALG(0x77, 65535), {U8, 0, NULL}, EVENT(0, 1, 1), {U16, 0x77, NULL}, DATA(0)},
     0},
    {"a sha256 digest has 20 bytes", {HEADER(4, 1), ALG(11, 20), {U8, 0, NULL}}, 0},
    {"algorithm 0x000b twice", {HEADER(8, 2), ALG(11, 32), ALG(11, 32), {U8, 0, NULL}}, 0},
    {"has 0 entries", {HEADER(0, 0), {U8, 0, NULL}}, 0},
    {"has 17 entries", {HEADER(0, 17), {U8, 0, NULL}}, 0},
    {"has 4294967295 entries", {HEADER(0, UINT32_MAX), {U8, 0, NULL}}, 0},
    {"another length than it says", {HEADER(4, 1), ALG(11, 32), {U8, 1, NULL}}, 0},
    {"another length than it says", {HEADER(4, 2), ALG(11, 32), {U8, 0, NULL}}, 0},
    {NULL, {HEADER(6, 1), ALG(11, 32), {U8, 2, NULL}, {TEXT, 2, "xy"}}, 0},
    {NULL,
     {SHA256_HEADER, EVENT(0, 3, 1), SHA256_DIGEST, DATA(17), {TEXT, 16, LOCALITY}, {U8, 4, NULL}},
     1},
    {"startup locality is none of",
     {SHA256_HEADER, EVENT(0, 3, 1), SHA256_DIGEST, DATA(17), {TEXT, 16, LOCALITY}, {U8, 1, NULL}},
     0},
    {"startup locality is none of",
     {SHA256_HEADER, EVENT(0, 3, 1), SHA256_DIGEST, DATA(16), {TEXT, 16, LOCALITY}},
     0},
    {"another than the one before",
     {SHA256_HEADER,
      EVENT(0, 3, 1),
      SHA256_DIGEST,
      DATA(17),
      {TEXT, 16, LOCALITY},
      {U8, 4, NULL},
      EVENT(0, 3, 1),
      SHA256_DIGEST,
      DATA(17),
      {TEXT, 16, LOCALITY},
      {U8, 3, NULL}},
     0},
    /* the same in another type or register is no locality */
    {NULL,
     {SHA256_HEADER,
      EVENT(0, 1, 1),
      SHA256_DIGEST,
      DATA(17),
      {TEXT, 16, LOCALITY},
      {U8, 9, NULL},
      EVENT(1, 3, 1),
      SHA256_DIGEST,
      DATA(17),
      {TEXT, 16, LOCALITY},
      {U8, 9, NULL}},
     2},
};

static void append_part(struct buffer *log, const struct part *part)
{
    switch (part->kind) {
    case U8:
        buffer_append_u8(log, (uint8_t)part->value);
        break;
    case U16:
    case U32:
        for (int shift = 0; shift < (part->kind == U16 ? 16 : 32); shift += 8) {
            buffer_append_u8(log, (uint8_t)(part->value >> shift));
        }
        break;
    case TEXT:
        buffer_append(log, part->text, part->value);
        break;
    default:
        memset(buffer_extend(log, part->value), part->kind == ONES ? 0xff : 0, part->value);
    }
}

static void checks_forms(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        _cleanup_(buffer_clear) struct buffer log = {0};
        struct error err = {0};
        size_t count = 0;
        for (const struct part *part = forms[i].parts; part->kind != END; part++) {
            append_part(&log, part);
        }
        int result = parse_exact(log.data ? log.data : (const uint8_t *)"", log.size, &count, &err);
        if (result == 0 && (forms[i].words || count != forms[i].events)) {
            fail_msg("case %zu was read, %zu events", i, count);
        }
        if (result < 0 && (!forms[i].words || !strstr(err.text, forms[i].words))) {
            fail_msg("case %zu: %s", i, err.text);
        }
    }
}

static void bounds_sizes(void **state)
{
    (void)state;
    struct error err;
    size_t count;
    _cleanup_(buffer_clear) struct buffer log = {0};
    memset(buffer_extend(&log, EVENT_LOG_MAX_BYTES + 1), 1, EVENT_LOG_MAX_BYTES + 1);
    assert_int_equal(parse_exact(log.data, log.size, &count, &err), -1);
    assert_non_null(strstr(err.text, "more than 4194304"));

    buffer_reset(&log);
    for (size_t i = 0; i <= EVENT_LOG_MAX_EVENTS; i++) {
        static const uint8_t event[] = {1, 0, 0, 0, 1, [8 ... 31] = 0, [32] = 0};
        if (i == EVENT_LOG_MAX_EVENTS) {
            assert_int_equal(parse_exact(log.data, log.size, &count, &err), 0);
            assert_int_equal(count, EVENT_LOG_MAX_EVENTS);
        }
        buffer_append(&log, event, 32);
    }
    assert_int_equal(parse_exact(log.data, log.size, &count, &err), -1);
    assert_non_null(strstr(err.text, "more than 16384 events"));
}

static void registers_begin_as_they_should(void **state)
{
    (void)state;
    struct pcr_bank pcrs;
    const struct event_log log = {.startup_locality = 3};
    replay(&log, TPM2_ALG_SHA1, &pcrs);
    for (size_t pcr = 0; pcr < PCR_COUNT; pcr++) {
        for (size_t i = 0; i < 20; i++) {
            const uint8_t dynamic = pcr >= 17 && pcr <= 22 ? 0xff : 0;
            assert_int_equal(pcrs.values[pcr][i], pcr == 0 && i == 19 ? 3 : dynamic);
        }
    }
}

static void names_types(void **state)
{
    (void)state;
    assert_string_equal(event_type_name(4), "EV_SEPARATOR");
    assert_string_equal(event_type_name(0x800000e0), "EV_EFI_VARIABLE_AUTHORITY");
    assert_null(event_type_name(0x12345678));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replays_to_published_values),
        cmocka_unit_test(replays_as_tpm2_tools),
        cmocka_unit_test(knows_localities_and_forms),
        cmocka_unit_test(refuses_a_bank_that_is_not_there),
        cmocka_unit_test(types_do_not_matter),
        cmocka_unit_test(truncations_are_told),
        cmocka_unit_test(checks_forms),
        cmocka_unit_test(bounds_sizes),
        cmocka_unit_test(registers_begin_as_they_should),
        cmocka_unit_test(names_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
