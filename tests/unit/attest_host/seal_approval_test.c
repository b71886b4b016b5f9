/* Files that an authority lets open in other states than the one of sealing. */
#include "tests/unit/attest_host/sealing.h"

#include <openssl/pem.h>

#include "attest/host/seal_policy.h"

struct authority {
    EVP_PKEY *key;
    struct buffer pem;
};

static void authority_new(struct authority *authority, const char *curve)
{
    char *data = NULL;
    BIO *bio = BIO_new(BIO_s_mem());
    *authority = (struct authority){.key = EVP_EC_gen(curve)};
    assert_int_equal(PEM_write_bio_PUBKEY(bio, authority->key), 1);
    long size = BIO_get_mem_data(bio, &data);
    buffer_append(&authority->pem, data, (size_t)size);
    BIO_free(bio);
}

static void authority_clear(struct authority *authority)
{
    EVP_PKEY_free(authority->key);
    buffer_clear(&authority->pem);
}

static void sign(const struct authority *authority, struct bytes text, struct buffer *ret_signature)
{
    uint8_t signature[128];
    size_t size = sizeof(signature);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    assert_int_equal(
        EVP_DigestSignInit_ex(context, NULL, "SHA256", NULL, NULL, authority->key, NULL), 1);
    assert_int_equal(EVP_DigestSign(context, signature, &size, text.data, text.size), 1);
    EVP_MD_CTX_free(context);
    buffer_append(ret_signature, signature, size);
}

static struct pcr_set read_now(const char *tcti, const char *registers)
{
    struct error err;
    struct pcr_set now = {0};
    const struct pcr_selection selection = tpms_selection(registers);
    struct tpm_device *device = tpms_open(tcti);
    assert_done(seal_read_pcrs(device, &selection, &now, &err), err);
    tpm_device_close(device);
    return now;
}

/* Has the authority agree to the values; the file is replaced. */
static int approve(const struct authority *authority, const struct pcr_set *pcrs,
                   struct buffer *file, struct error *err)
{
    _cleanup_(buffer_clear) struct buffer to_sign = {0};
    _cleanup_(buffer_clear) struct buffer signature = {0};
    _cleanup_(buffer_clear) struct buffer approved = {0};
    TRY(seal_approval_request(buffer_bytes(file), pcrs, &to_sign, err));
    assert_int_equal(to_sign.size, 32 + strlen(SEAL_POLICY_REFERENCE));
    sign(authority, buffer_bytes(&to_sign), &signature);
    TRY(seal_approve(buffer_bytes(file), pcrs, buffer_bytes(&signature), &approved, err));
    buffer_reset(file);
    buffer_append(file, approved.data, approved.size);
    return 0;
}

static void make(const char *tcti, const struct authority *authority, uint32_t counter,
                 struct buffer *ret_file)
{
    struct seal_request request = sealing_request("sha256:0,7");
    request.authority_pem = buffer_bytes(&authority->pem);
    request.counter_index = counter;
    sealing_make(tcti, &request, ret_file);
}

static void approved_states_open_it_old_and_new(void **state)
{
    static const uint32_t counters[] = {0, COUNTER_INDEX_DEFAULT};
    struct swtpm *swtpm = *state;
    for (size_t i = 0; i < ARRAY_SIZE(counters); i++) {
        struct error err;
        struct authority authority;
        _cleanup_(buffer_clear) struct buffer file = {0};
        authority_new(&authority, "P-256");
        tpms_reboot(swtpm);
        make(swtpm->tcti, &authority, counters[i], &file);
        sealing_assert_opens(swtpm->tcti, &file);
        for (unsigned update = 0; update < 3; update++) {
            tpms_extend(swtpm->tcti, 7);
            sealing_assert_refused(swtpm->tcti, &file, "sha256:7 changed");
            struct pcr_set now = read_now(swtpm->tcti, "sha256:0,7,9");
            assert_done(approve(&authority, &now, &file, &err), err);
            sealing_assert_opens(swtpm->tcti, &file);
        }
        tpms_reboot(swtpm);
        sealing_assert_opens(swtpm->tcti, &file);
        tpms_extend(swtpm->tcti, 7);
        sealing_assert_opens(swtpm->tcti, &file);
        tpms_extend(swtpm->tcti, 0);
        sealing_assert_refused(swtpm->tcti, &file, "sha256:0 changed");
        authority_clear(&authority);
    }
}

static void a_counter_voids_all_approvals(void **state)
{
    struct swtpm *swtpm = *state;
    struct error err;
    struct authority authority;
    uint64_t value = 0;
    _cleanup_(buffer_clear) struct buffer file = {0};
    authority_new(&authority, "P-256");
    tpms_reboot(swtpm);
    make(swtpm->tcti, &authority, COUNTER_INDEX_DEFAULT, &file);
    tpms_extend(swtpm->tcti, 7);
    struct pcr_set now = read_now(swtpm->tcti, "sha256:0,7");
    assert_done(approve(&authority, &now, &file, &err), err);
    sealing_assert_opens(swtpm->tcti, &file);
    struct tpm_device *device = tpms_open(swtpm->tcti);
    assert_done(counter_step(device, COUNTER_INDEX_DEFAULT, &value, &err), err);
    tpm_device_close(device);
    sealing_assert_refused(swtpm->tcti, &file, "it is an old one");
    tpms_reboot(swtpm);
    sealing_assert_refused(swtpm->tcti, &file, "it is an old one");
    authority_clear(&authority);
}

static void only_the_authority_approves(void **state)
{
    struct swtpm *swtpm = *state;
    struct error err;
    struct authority authority;
    struct authority other;
    _cleanup_(buffer_clear) struct buffer file = {0};
    authority_new(&authority, "P-256");
    authority_new(&other, "P-256");
    tpms_reboot(swtpm);
    make(swtpm->tcti, &authority, 0, &file);
    struct pcr_set before = read_now(swtpm->tcti, "sha256:0,7");
    tpms_extend(swtpm->tcti, 7);
    struct pcr_set now = read_now(swtpm->tcti, "sha256:0,7");
    assert_int_equal(approve(&other, &now, &file, &err), -1);
    assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
    assert_int_equal(approve(&authority, &before, &file, &err), -1);
    assert_int_equal(err.code, ERROR_ALREADY_EXISTS);
    struct pcr_set too_few = read_now(swtpm->tcti, "sha256:0");
    assert_int_equal(approve(&authority, &too_few, &file, &err), -1);
    assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
    assert_done(approve(&authority, &now, &file, &err), err);
    sealing_assert_opens(swtpm->tcti, &file);
    authority_clear(&authority);
    authority_clear(&other);
}

/* Whoever writes into the file what the functions above refuse. */
static void forged_approvals_open_nothing(void **state)
{
    struct swtpm *swtpm = *state;
    struct error err;
    struct authority authority;
    struct authority other;
    struct seal_state *added = NULL;
    _cleanup_(buffer_clear) struct buffer text = {0};
    _cleanup_(buffer_clear) struct buffer to_sign = {0};
    _cleanup_(buffer_clear) struct buffer forged = {0};
    authority_new(&authority, "P-256");
    authority_new(&other, "P-256");
    tpms_reboot(swtpm);
    make(swtpm->tcti, &authority, 0, &text);
    tpms_extend(swtpm->tcti, 7);
    struct pcr_set now = read_now(swtpm->tcti, "sha256:0,7");
    assert_done(seal_approval_request(buffer_bytes(&text), &now, &to_sign, &err), err);
    sign(&other, buffer_bytes(&to_sign), &forged);
    _cleanup_(seal_file_free_cleanup) struct seal_file *file = sealing_decode(&text);
    assert_done(seal_file_add(file, &now, &added, &err), err);
    memcpy(added->signature, forged.data, forged.size);
    added->signature_size = forged.size;
    struct tpm_device *device = tpms_open(swtpm->tcti);
    assert_int_equal(sealing_try_changed(device, file), ERROR_PERMISSION_DENIED);
    /* The authority is another one, too: then the policy is. */
    EVP_PKEY_free(file->authority);
    assert_int_equal(EVP_PKEY_up_ref(other.key), 1);
    file->authority = other.key;
    assert_int_equal(sealing_try_changed(device, file), ERROR_DATA_LOSS);
    /* And the object says so, which the TPM did not seal. */
    struct seal_digest policy;
    assert_done(seal_policy_compute(file, &policy, &err), err);
    memcpy(file->public.publicArea.authPolicy.buffer, policy.data, sizeof(policy.data));
    assert_int_equal(sealing_try_changed(device, file), ERROR_DATA_LOSS);
    tpm_device_close(device);
    /* A forged one does not hide the right one of the same values. */
    _cleanup_(seal_file_free_cleanup) struct seal_file *both = sealing_decode(&text);
    assert_done(seal_file_add(both, &now, &added, &err), err);
    memcpy(added->signature, forged.data, forged.size);
    added->signature_size = forged.size;
    buffer_reset(&forged);
    sign(&authority, buffer_bytes(&to_sign), &forged);
    assert_done(seal_file_add(both, &now, &added, &err), err);
    memcpy(added->signature, forged.data, forged.size);
    added->signature_size = forged.size;
    buffer_reset(&text);
    assert_done(seal_file_encode(both, &text, &err), err);
    sealing_assert_opens(swtpm->tcti, &text);
    authority_clear(&authority);
    authority_clear(&other);
}

static void a_file_has_an_end(void **state)
{
    struct swtpm *swtpm = *state;
    struct error err;
    struct authority authority;
    _cleanup_(buffer_clear) struct buffer file = {0};
    authority_new(&authority, "P-256");
    tpms_reboot(swtpm);
    make(swtpm->tcti, &authority, 0, &file);
    for (unsigned i = 1; i < SEAL_STATES_MAX; i++) {
        const uint8_t value[32] = {(uint8_t)i};
        struct pcr_set pcrs = {0};
        assert_done(pcr_set_put(&pcrs, TPM2_ALG_SHA256, 0, (struct bytes){value, 32}, &err), err);
        assert_done(pcr_set_put(&pcrs, TPM2_ALG_SHA256, 7, (struct bytes){value, 32}, &err), err);
        assert_done(approve(&authority, &pcrs, &file, &err), err);
    }
    tpms_extend(swtpm->tcti, 0);
    struct pcr_set now = read_now(swtpm->tcti, "sha256:0,7");
    assert_int_equal(approve(&authority, &now, &file, &err), -1);
    assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
    tpms_reboot(swtpm);
    sealing_assert_opens(swtpm->tcti, &file);
    authority_clear(&authority);
}

static void keys_that_a_tpm_could_not_use_are_refused(void **state)
{
    static const char *const curves[] = {"P-384", "secp256k1"};
    const struct swtpm *swtpm = *state;
    struct error err;
    struct tpm_device *device = tpms_open(swtpm->tcti);
    for (size_t i = 0; i < ARRAY_SIZE(curves); i++) {
        struct authority authority;
        struct seal_request request = sealing_request("sha256:0");
        _cleanup_(buffer_clear) struct buffer file = {0};
        authority_new(&authority, curves[i]);
        request.authority_pem = buffer_bytes(&authority.pem);
        assert_int_equal(seal_make(device, &request, &file, &err), -1);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        authority_clear(&authority);
    }
    struct seal_request request = sealing_request("sha256:0");
    _cleanup_(buffer_clear) struct buffer file = {0};
    request.authority_pem = bytes_of_text("no key");
    assert_int_equal(seal_make(device, &request, &file, &err), -1);
    assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
    tpm_device_close(device);
}

static void without_authority_nobody_approves(void **state)
{
    struct swtpm *swtpm = *state;
    struct error err;
    _cleanup_(buffer_clear) struct buffer file = {0};
    _cleanup_(buffer_clear) struct buffer to_sign = {0};
    const struct seal_request request = sealing_request("sha256:0,7");
    sealing_make(swtpm->tcti, &request, &file);
    tpms_extend(swtpm->tcti, 7);
    struct pcr_set now = read_now(swtpm->tcti, "sha256:0,7");
    assert_int_equal(seal_approval_request(buffer_bytes(&file), &now, &to_sign, &err), -1);
    assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(approved_states_open_it_old_and_new),
        cmocka_unit_test(a_counter_voids_all_approvals),
        cmocka_unit_test(only_the_authority_approves),
        cmocka_unit_test(forged_approvals_open_nothing),
        cmocka_unit_test(a_file_has_an_end),
        cmocka_unit_test(keys_that_a_tpm_could_not_use_are_refused),
        cmocka_unit_test(without_authority_nobody_approves),
    };
    return cmocka_run_group_tests(tests, device_setup, device_teardown);
}
