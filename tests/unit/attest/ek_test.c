/* Templates and certificates of a real TPM's EKs. */
#include "tests/unit/attest/lab.h"

#include "attest/ek.h"
#include "lib/base/clock.h"

DEFINE_CLEANUP(X509, x509, X509_free);
DEFINE_CLEANUP(EVP_PKEY, evp_pkey, EVP_PKEY_free);

static struct lab lab;

static const struct certified {
    const char *template;
    TPM2_HANDLE index, handle;
} certified[] = {
    {"L-1", LAB_NV_RSA, LAB_EK_RSA},
    {"H-3", LAB_NV_P384, LAB_EK_P384},
};

static const struct ek_template *template_named(const char *name)
{
    for (size_t i = 0; ek_template_at(i); i++) {
        if (strcmp(ek_template_at(i)->name, name) == 0) {
            return ek_template_at(i);
        }
    }
    return NULL;
}

/* The policies from what they are made of (TCG EK Credential Profile B.6). */
struct policy {
    uint8_t digest[HASH_MAX_BYTES];
};

static struct policy extend(const struct hash_algorithm *hash, const struct policy *before,
                            uint32_t command, const struct bytes *parts, size_t count)
{
    struct error err;
    struct policy after;
    struct bytes all[4];
    _cleanup_(buffer_clear) struct buffer code = {0};
    buffer_append_u32(&code, command);
    all[0] = (struct bytes){before->digest, hash->size};
    all[1] = buffer_bytes(&code);
    memcpy(all + 2, parts, count * sizeof(*parts));
    assert_done(hash_compute(hash, all, 2 + count, after.digest, &err), err);
    return after;
}

static struct policy policy_a(const struct hash_algorithm *hash)
{
    struct error err;
    const struct policy none = {0};
    const uint8_t endorsement[] = {0x40, 0x00, 0x00, 0x0b};
    const struct bytes name = {endorsement, sizeof(endorsement)};
    struct policy first = extend(hash, &none, TPM2_CC_PolicySecret, &name, 1);
    const struct bytes part = {first.digest, hash->size};
    struct policy second;
    assert_done(hash_compute(hash, &part, 1, second.digest, &err), err);
    return second;
}

/* An NV index that holds a policy, which policy A may write. */
static struct policy policy_c(const struct hash_algorithm *hash, uint32_t index)
{
    struct error err;
    const struct policy none = {0};
    const struct policy a = policy_a(hash);
    uint8_t digest[HASH_MAX_BYTES];
    _cleanup_(buffer_clear) struct buffer public = {0};
    _cleanup_(buffer_clear) struct buffer name = {0};
    buffer_append_u32(&public, index);
    buffer_append_u16(&public, hash->id);
    buffer_append_u32(&public, 0x220f1008);
    buffer_append_u16(&public, (uint16_t)hash->size);
    buffer_append(&public, a.digest, hash->size);
    buffer_append_u16(&public, (uint16_t)(hash->size + 2));
    const struct bytes part = buffer_bytes(&public);
    assert_done(hash_compute(hash, &part, 1, digest, &err), err);
    buffer_append_u16(&name, hash->id);
    buffer_append(&name, digest, hash->size);
    const struct bytes name_bytes = buffer_bytes(&name);
    return extend(hash, &none, TPM2_CC_PolicyAuthorizeNV, &name_bytes, 1);
}

static struct policy policy_b(const struct hash_algorithm *hash)
{
    const struct policy none = {0};
    const uint32_t index = hash->size == 32   ? 0x01c07f01
                           : hash->size == 48 ? 0x01c07f02
                                              : 0x01c07f03;
    const struct policy a = policy_a(hash);
    const struct policy c = policy_c(hash, index);
    const struct bytes branches[] = {{a.digest, hash->size}, {c.digest, hash->size}};
    return extend(hash, &none, TPM2_CC_PolicyOR, branches, 2);
}

static void policies_are_the_profiles(void **state)
{
    (void)state;
    for (size_t i = 0; ek_template_at(i); i++) {
        const struct ek_template *template = ek_template_at(i);
        const struct hash_algorithm *hash = hash_by_id(template->public.nameAlg);
        const struct policy policy = template->is_low_range ? policy_a(hash) : policy_b(hash);
        assert_int_equal(template->public.authPolicy.size, hash->size);
        assert_memory_equal(template->public.authPolicy.buffer, policy.digest, hash->size);
        assert_int_equal(template->public.objectAttributes,
                         template->is_low_range ? 0x000300b2 : 0x000300f2);
    }
}

static void templates_are_told_apart(void **state)
{
    static const char *const order[] = {"L-2", "H-2", "H-3", "H-4", "L-1", "H-1", "H-6", "H-7"};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
        const struct ek_template *template = ek_template_at(i);
        assert_string_equal(template->name, order[i]);
        assert_ptr_equal(ek_template_of(&template->public), template);
    }
    assert_null(ek_template_at(ARRAY_SIZE(order)));
    TPMT_PUBLIC other;
    lab_ak_template(TPM2_ALG_ECDSA, TPM2_ALG_SHA256, &other);
    assert_null(ek_template_of(&other));
}

static X509 *read_certificate(TPM2_HANDLE index, struct buffer *ret_contents)
{
    struct error err;
    size_t size = 0;
    X509 *certificate = NULL;
    lab_read_nv(&lab, index, ret_contents);
    assert_done(ek_certificate_parse(buffer_bytes(ret_contents), &certificate, &size, &err), err);
    assert_int_equal(size, ret_contents->size);
    return certificate;
}

static void recreated_key_is_the_certified_one(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(certified); i++) {
        struct error err;
        TPM2_HANDLE handle = 0;
        TPMT_PUBLIC made;
        TPMT_PUBLIC kept;
        const struct ek_template *template = template_named(certified[i].template);
        _cleanup_(buffer_clear) struct buffer contents = {0};
        _cleanup_(x509_cleanup) X509 *certificate =
            read_certificate(template->certificate_index, &contents);
        _cleanup_(evp_pkey_cleanup) EVP_PKEY *certified_key =
            ek_certificate_pkey(certificate, &err);
        _cleanup_(evp_pkey_cleanup) EVP_PKEY *made_key = NULL;
        assert_int_equal(template->certificate_index, certified[i].index);
        assert_int_equal(
            lab_create_primary(&lab, TPM2_RH_ENDORSEMENT, &template->public, &handle, &made), 0);
        lab_flush(&lab, handle);
        lab_read_public(&lab, certified[i].handle, &kept, NULL);
        assert_ptr_equal(ek_template_of(&kept), template);
        assert_ptr_equal(ek_template_of(&made), template);
        assert_done(public_pkey(&made, &made_key, &err), err);
        assert_int_equal(EVP_PKEY_eq(made_key, certified_key), 1);
    }
}

/* What tpm2-tools make by default is what a template makes. */
static void tools_make_the_same_key(void **state)
{
    static const struct {
        const char *algorithm, *template;
    } cases[] = {{"ecc", "L-2"}, {"rsa", "L-1"}, {"ecc384", "H-3"}};
    _cleanup_(free_cleanup) char *path = text_format("%s/made.pub", lab.swtpm.folder);
    _cleanup_(free_cleanup) char *context = text_format("%s/made.ctx", lab.swtpm.folder);
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct error err;
        TPM2_HANDLE handle = 0;
        TPMT_PUBLIC made;
        _cleanup_(buffer_clear) struct buffer ours = {0};
        _cleanup_(buffer_clear) struct buffer theirs = {0};
        const char *const make[] = {
            "tpm2_createek", "-T", lab.swtpm.tcti, "-G", cases[i].algorithm, "-c",
            context,         "-u", path,           NULL};
        const char *const flush[] = {"tpm2_flushcontext", "-T", lab.swtpm.tcti, "-t", NULL};
        assert_int_equal(swtpm_run(make), 0);
        assert_int_equal(swtpm_run(flush), 0);
        assert_done(buffer_read_file(path, 4096, &theirs, &err), err);
        assert_int_equal(lab_create_primary(&lab, TPM2_RH_ENDORSEMENT,
                                            &template_named(cases[i].template)->public, &handle,
                                            &made),
                         0);
        lab_flush(&lab, handle);
        buffer_append_u16(&ours, 0);
        public_encode(&made, &ours);
        ours.data[0] = (uint8_t)((ours.size - 2) >> 8);
        ours.data[1] = (uint8_t)(ours.size - 2);
        assert_true(bytes_is_equal(buffer_bytes(&ours), buffer_bytes(&theirs)));
    }
}

struct judgement {
    int result;
    struct error err;
    const char *how;
};

static struct judgement judge(struct ek_trust *trust, TPM2_HANDLE handle, TPM2_HANDLE index)
{
    struct judgement judgement = {0};
    TPMT_PUBLIC ek;
    _cleanup_(buffer_clear) struct buffer certificate = {0};
    lab_read_public(&lab, handle, &ek, NULL);
    lab_read_nv(&lab, index, &certificate);
    judgement.result = ek_trust_judge(trust, &ek, buffer_bytes(&certificate), NULL, 0,
                                      clock_now_s() + 3600, &judgement.how, &judgement.err);
    return judgement;
}

static void trust_in_a_real_ca(void **state)
{
    struct error err;
    _cleanup_(ek_trust_free_cleanup) struct ek_trust *trust = ek_trust_new();
    (void)state;
    assert_done(ek_trust_add_folder(trust, lab.ca, &err), err);
    assert_int_equal(ek_trust_count(trust), 2);
    for (size_t i = 0; i < ARRAY_SIZE(certified); i++) {
        const struct judgement good = judge(trust, certified[i].handle, certified[i].index);
        assert_done(good.result, good.err);
        assert_string_equal(good.how, "certificate");
        const struct judgement other = judge(trust, certified[1 - i].handle, certified[i].index);
        assert_int_equal(other.result, -1);
        assert_int_equal(other.err.code, ERROR_PERMISSION_DENIED);
        assert_non_null(strstr(other.err.text, "another key"));
    }
}

/* It is for the same key and by the same CA. */
static void platform_certificate_is_no_ek_certificate(void **state)
{
    struct error err;
    _cleanup_(ek_trust_free_cleanup) struct ek_trust *trust = ek_trust_new();
    (void)state;
    assert_done(ek_trust_add_folder(trust, lab.ca, &err), err);
    const struct judgement judgement = judge(trust, LAB_EK_RSA, LAB_NV_PLATFORM);
    assert_int_equal(judgement.result, -1);
    assert_int_equal(judgement.err.code, ERROR_PERMISSION_DENIED);
    assert_non_null(strstr(judgement.err.text, "2.23.133.8.1"));
}

static void other_tpm_and_its_ca_are_strangers(void **state)
{
    struct error err;
    static struct lab other;
    TPMT_PUBLIC ek;
    const char *how = NULL;
    _cleanup_(buffer_clear) struct buffer certificate = {0};
    _cleanup_(ek_trust_free_cleanup) struct ek_trust *trust = ek_trust_new();
    _cleanup_(ek_trust_free_cleanup) struct ek_trust *of_other = ek_trust_new();
    (void)state;
    lab_new(&other);
    assert_done(ek_trust_add_folder(trust, lab.ca, &err), err);
    assert_done(ek_trust_add_folder(of_other, other.ca, &err), err);
    lab_read_public(&other, LAB_EK_RSA, &ek, NULL);
    lab_read_nv(&lab, LAB_NV_RSA, &certificate);
    assert_int_equal(ek_trust_judge(trust, &ek, buffer_bytes(&certificate), NULL, 0,
                                    clock_now_s() + 3600, &how, &err),
                     -1);
    assert_non_null(strstr(err.text, "another key"));
    const struct judgement judgement = judge(of_other, LAB_EK_RSA, LAB_NV_RSA);
    assert_int_equal(judgement.result, -1);
    assert_int_equal(judgement.err.code, ERROR_PERMISSION_DENIED);
    assert_non_null(strstr(judgement.err.text, "does not lead"));
    lab_remove(&other);
}

static int setup(void **state)
{
    (void)state;
    lab_new(&lab);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    lab_remove(&lab);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(policies_are_the_profiles),
        cmocka_unit_test(templates_are_told_apart),
        cmocka_unit_test(recreated_key_is_the_certified_one),
        cmocka_unit_test(tools_make_the_same_key),
        cmocka_unit_test(trust_in_a_real_ca),
        cmocka_unit_test(platform_certificate_is_no_ek_certificate),
        cmocka_unit_test(other_tpm_and_its_ca_are_strangers),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
