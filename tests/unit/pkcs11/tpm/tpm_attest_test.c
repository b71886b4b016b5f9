/* Commands with several handles under one session, and policy sessions. */
#include "tests/unit/pkcs11/tpm/device.h"

#include "pkcs11/tpm/tpm_attest.h"
#include "pkcs11/tpm/tpm_nv.h"
#include "pkcs11/tpm/tpm_policy.h"

struct fixture {
    struct tpm_device *device;
    struct tpm_key *key, *ak;
};

static const TPM2B_DATA nonce = {.size = 8, .buffer = "nonce 01"};

static struct tpm_loaded loaded(const struct tpm_key *key)
{
    return (struct tpm_loaded){key->object.handle, &key->object.name};
}

static TSS2_RC load_operation(struct tpm_device *device, void *argument)
{
    struct fixture *fixture = argument;
    TSS2_RC rc = tpm_device_session(device);
    return rc == TSS2_RC_SUCCESS
               ? tpm_cache_acquire_both(&device->cache, &fixture->key->object, &fixture->ak->object)
               : rc;
}

static void load(struct fixture *fixture)
{
    struct error err;
    assert_done(tpm_device_attempt(fixture->device, load_operation, fixture, &err), err);
}

static void fixture_open(struct fixture *fixture, void **state)
{
    struct error err;
    const struct swtpm *swtpm = *state;
    fixture->device = device_open(swtpm->tcti, NULL);
    assert_done(tpm_key_generate(fixture->device, KEY_TYPE_EC_P256, NULL, &fixture->key, &err),
                err);
    assert_done(tpm_ak_generate(fixture->device, KEY_TYPE_EC_P256, &fixture->ak, &err), err);
    load(fixture);
}

static void fixture_close(struct fixture *fixture, void **state)
{
    const struct swtpm *swtpm = *state;
    tpm_key_close(fixture->device, fixture->key);
    tpm_key_close(fixture->device, fixture->ak);
    tpm_device_close(fixture->device);
    device_assert_empty(swtpm->tcti);
}

/* The session covers both names: a handle that means another object by now is refused. */
static void both_names_are_authenticated(void **state)
{
    struct fixture fixture;
    struct tpm_attested certified;
    fixture_open(&fixture, state);
    struct tpm_session *session = &fixture.device->session;
    struct tpm_loaded key = loaded(fixture.key);
    struct tpm_loaded ak = loaded(fixture.ak);
    assert_int_equal(tpm_command_certify(session, key, ak, &nonce, &certified), TSS2_RC_SUCCESS);
    assert_true(certified.attested.size > 0);
    const struct tpm_loaded wrong_key = {ak.handle, key.name};
    const struct tpm_loaded wrong_ak = {key.handle, ak.name};
    assert_true(
        tpm_rc_is_bad_auth(tpm_command_certify(session, wrong_key, ak, &nonce, &certified)));
    assert_true(
        tpm_rc_is_bad_auth(tpm_command_certify(session, key, wrong_ak, &nonce, &certified)));
    assert_int_equal(tpm_command_certify(session, key, ak, &nonce, &certified), TSS2_RC_SUCCESS);
    fixture_close(&fixture, state);
}

/* A restricted key signs nothing from outside, even if asked to. */
static void an_ak_signs_nothing_else(void **state)
{
    static const TPMT_SIG_SCHEME scheme = {.scheme = TPM2_ALG_NULL};
    const TPM2B_DIGEST digest = {.size = 32};
    struct fixture fixture;
    TPMT_SIGNATURE signature;
    fixture_open(&fixture, state);
    assert_int_not_equal(tpm_command_sign(&fixture.device->session, fixture.ak->object.handle,
                                          &fixture.ak->object.name, &digest, &scheme, &signature),
                         TSS2_RC_SUCCESS);
    fixture_close(&fixture, state);
}

static void wrong_operands_are_refused_unsent(void **state)
{
    static const struct tpm_command command = {"TPM2_Certify", TPM2_CC_Certify, 0};
    static const TPMT_SIG_SCHEME scheme = {.scheme = TPM2_ALG_NULL};
    struct fixture fixture;
    fixture_open(&fixture, state);
    struct tpm_session *session = &fixture.device->session;
    struct tpm_operand operands[TPM_OPERANDS_MAX + 1] = {0};
    const size_t counts[] = {2, TPM_OPERANDS_MAX + 1};
    for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
        assert_int_equal(Tss2_Sys_Certify_Prepare(session->transport->sys,
                                                  fixture.key->object.handle,
                                                  fixture.ak->object.handle, &nonce, &scheme),
                         TSS2_RC_SUCCESS);
        assert_int_equal(tpm_session_execute_on(session, &command, operands, counts[i]),
                         TPM_RC_BAD_REQUEST);
    }
    fixture_close(&fixture, state);
}

static void slots_are_found_for_both(void **state)
{
    struct fixture fixture;
    fixture_open(&fixture, state);
    for (size_t limit = 2; limit <= 3; limit++) {
        fixture.device->cache.limit = limit;
        tpm_cache_evict_all(&fixture.device->cache, false);
        load(&fixture);
        assert_int_not_equal(fixture.key->object.handle, 0);
        assert_int_not_equal(fixture.ak->object.handle, 0);
        tpm_cache_evict_all(&fixture.device->cache, true);
        load(&fixture);
        tpm_cache_release(&fixture.device->cache, &fixture.ak->object);
        assert_int_equal(fixture.ak->object.handle, 0);
        assert_true(fixture.ak->object.context.size > 0);
        load(&fixture);
    }
    fixture_close(&fixture, state);
}

static void a_policy_session_comes_to_its_digest(void **state)
{
    const struct swtpm *swtpm = *state;
    struct tpm_transport transport = {.conf = memory_copy_text(swtpm->tcti)};
    TPM2_HANDLE session = 0;
    TPML_DIGEST branches = {.count = 2,
                            .digests = {{.size = 32, .buffer = {1}}, {.size = 32, .buffer = {2}}}};
    /* PolicySecret of the endorsement hierarchy (EK Credential Profile B.3.1). */
    static const uint8_t policy_a[] = {0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8,
                                       0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24,
                                       0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64,
                                       0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa};
    assert_int_equal(tpm_transport_open(&transport), TSS2_RC_SUCCESS);
    assert_int_equal(tpm_command_policy_start(&transport, TPM2_ALG_SHA256, &session), 0);
    assert_true(tpm_rc_is_parameter(tpm_command_policy_or(&transport, session, &branches)));
    assert_int_equal(tpm_command_policy_secret(&transport, TPM2_RH_ENDORSEMENT, session), 0);
    memcpy(branches.digests[1].buffer, policy_a, sizeof(policy_a));
    assert_int_equal(tpm_command_policy_or(&transport, session, &branches), 0);
    assert_int_equal(tpm_command_flush(&transport, session), 0);
    tpm_transport_close(&transport);
    free(transport.conf);
    device_assert_empty(swtpm->tcti);
}

static void nv_is_read_in_parts(void **state)
{
    enum { INDEX = 0x1500020, SIZE = 2000 };
    const struct swtpm *swtpm = *state;
    char script[512];
    struct tpm_transport transport = {.conf = memory_copy_text(swtpm->tcti)};
    _cleanup_(buffer_clear) struct buffer contents = {0};
    (void)snprintf(script, sizeof(script),
                   "TPM2TOOLS_TCTI=%s; export TPM2TOOLS_TCTI; head -c %d /dev/zero | tr '\\0' Z > "
                   "%s/nv; tpm2_nvdefine 0x%x -C o -s %d -a 'ownerread|ownerwrite|authwrite|no_da' "
                   "&& tpm2_nvwrite 0x%x -C o -i %s/nv",
                   swtpm->tcti, SIZE, swtpm->folder, INDEX, SIZE, INDEX, swtpm->folder);
    const char *const arguments[] = {"sh", "-c", script, NULL};
    assert_int_equal(swtpm_run(arguments), 0);
    assert_int_equal(tpm_transport_open(&transport), TSS2_RC_SUCCESS);
    assert_int_equal(tpm_nv_read_all(&transport, INDEX, SIZE - 1, &contents), TPM_RC_BAD_ANSWER);
    assert_int_equal(contents.size, 0);
    assert_int_equal(tpm_nv_read_all(&transport, INDEX, SIZE, &contents), TSS2_RC_SUCCESS);
    assert_int_equal(contents.size, SIZE);
    assert_int_equal(contents.data[0], 'Z');
    assert_int_equal(contents.data[SIZE - 1], 'Z');
    assert_true(tpm_rc_is_handle(tpm_nv_read_all(&transport, INDEX + 1, SIZE, &contents)));
    tpm_transport_close(&transport);
    free(transport.conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(both_names_are_authenticated, device_setup,
                                        device_teardown),
        cmocka_unit_test_setup_teardown(an_ak_signs_nothing_else, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(wrong_operands_are_refused_unsent, device_setup,
                                        device_teardown),
        cmocka_unit_test_setup_teardown(slots_are_found_for_both, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(a_policy_session_comes_to_its_digest, device_setup,
                                        device_teardown),
        cmocka_unit_test_setup_teardown(nv_is_read_in_parts, device_setup, device_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
