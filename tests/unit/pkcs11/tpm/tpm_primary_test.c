/* Which storage primary is used, and that it stays the same. */
#include "tests/unit/pkcs11/tpm/bus.h"

#include "lib/base/file.h"

static struct swtpm *swtpm_of(void **state)
{
    return *state;
}

static const char *pin_path(void **state, char path[96])
{
    (void)snprintf(path, 96, "%s/pin", swtpm_of(state)->folder);
    return path;
}

static int fail_to_open(const char *tcti, const char *pin, struct error *ret_err)
{
    void *device = NULL;
    const struct tpm_config config = {tcti, pin};
    assert_int_equal(keystore_driver_tpm.open(&config, "test", &device, ret_err), -1);
    return (int)ret_err->code;
}

static struct tpm_name open_and_close(const char *tcti, const char *pin, enum tpm_primary_kind kind,
                                      bool is_persistent)
{
    struct tpm_device *device = device_open(tcti, pin);
    struct tpm_name name = device->primary.object.name;
    struct driver_key *key = device_key(device, KEY_TYPE_EC_P256);
    device_assert_signs(device, key);
    assert_int_equal(device->primary.kind, kind);
    assert_int_equal(device->primary.object.is_persistent, is_persistent);
    keystore_driver_tpm.key_close(device, key);
    keystore_driver_tpm.close(device);
    return name;
}

static void the_name_is_pinned_at_first_use(void **state)
{
    char path[96];
    struct stat status;
    const char *pin = pin_path(state, path);
    struct swtpm *swtpm = swtpm_of(state);
    struct tpm_name name = open_and_close(swtpm->tcti, pin, TPM_PRIMARY_ECC_P256, false);
    assert_int_equal(stat(pin, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    swtpm_kill(swtpm, SIGKILL);
    swtpm_start(swtpm);
    struct tpm_name again = open_and_close(swtpm->tcti, pin, TPM_PRIMARY_ECC_P256, false);
    assert_true(tpm_name_is_equal(&name, &again));
}

static void another_tpm_is_refused(void **state)
{
    char path[96];
    struct error err;
    struct swtpm other;
    const char *pin = pin_path(state, path);
    (void)open_and_close(swtpm_of(state)->tcti, pin, TPM_PRIMARY_ECC_P256, false);
    swtpm_new(&other);
    assert_int_equal(fail_to_open(other.tcti, pin, &err), ERROR_FAILED_PRECONDITION);
    assert_non_null(strstr(err.text, "cleared or replaced"));
    assert_non_null(strstr(err.text, pin));
    device_assert_empty(other.tcti);
    (void)open_and_close(other.tcti, NULL, TPM_PRIMARY_ECC_P256, false);
    swtpm_remove(&other);
}

static void a_bad_pin_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "signet-tpm-primary-1 ",
        "signet-tpm-primary-1 000b00\n",
        "signet-tpm-primary-2 "
        "000b0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20\n",
        "signet-tpm-primary-1 "
        "000b0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20",
        "signet-tpm-primary-1 "
        "000b0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20\n\n",
        "signet-tpm-primary-1 "
        "000B0102030405060708090A0B0C0D0E0F101112131415161718191a1b1c1d1e1f20\n",
        "signet-tpm-primary-1 "
        "000g0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20\n",
    };
    char path[96];
    const char *pin = pin_path(state, path);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct error err;
        assert_done(file_write_atomic(pin, bytes_of_text(bad[i]), 0600, &err), err);
        assert_int_equal(fail_to_open(swtpm_of(state)->tcti, pin, &err), ERROR_FAILED_PRECONDITION);
        assert_non_null(strstr(err.text, pin));
    }
    assert_int_equal(unlink(pin), 0);
    assert_int_equal(mkdir(pin, 0700), 0);
    struct error err;
    (void)fail_to_open(swtpm_of(state)->tcti, pin, &err);
    assert_int_equal(rmdir(pin), 0);
    /* A folder that is not there: the pin cannot be written, so the TPM is not used. */
    (void)fail_to_open(swtpm_of(state)->tcti, "/nonexistent/pin", &err);
    assert_non_null(strstr(err.text, "/nonexistent/pin"));
    device_assert_empty(swtpm_of(state)->tcti);
}

/* Persists a primary of the template, or takes it away again. */
static void evict(const char *tcti, const TPM2B_PUBLIC *template)
{
    const TSS2L_SYS_AUTH_COMMAND password = {.count = 1, .auths[0].sessionHandle = TPM2_RS_PW};
    const TPM2_HANDLE persistent = 0x81000001;
    TPM2_HANDLE handle = persistent;
    TPM2B_PUBLIC public;
    struct tpm_transport transport = {.conf = memory_copy_text(tcti)};
    assert_int_equal(tpm_transport_open(&transport), 0);
    if (template) {
        assert_int_equal(
            tpm_command_create_primary(&transport, TPM2_RH_OWNER, template, &handle, &public), 0);
    }
    assert_int_equal(
        Tss2_Sys_EvictControl(transport.sys, TPM2_RH_OWNER, handle, &password, persistent, NULL),
        0);
    if (template) {
        assert_int_equal(tpm_command_flush(&transport, handle), 0);
    }
    tpm_transport_close(&transport);
    free(transport.conf);
}

static void a_persisted_primary_is_used(void **state)
{
    const char *tcti = swtpm_of(state)->tcti;
    for (unsigned kind = 0; kind < TPM_PRIMARY_KIND_COUNT; kind++) {
        TPM2B_PUBLIC template;
        tpm_public_primary_template(kind, &template);
        evict(tcti, &template);
        (void)open_and_close(tcti, NULL, kind, true);
        device_assert_empty(tcti);
        evict(tcti, NULL);
    }
}

static void a_persisted_primary_of_another_template_is_not_used(void **state)
{
    const char *tcti = swtpm_of(state)->tcti;
    TPM2B_PUBLIC template;
    tpm_public_primary_template(TPM_PRIMARY_ECC_P256, &template);
    template.publicArea.objectAttributes &= ~(TPMA_OBJECT)TPMA_OBJECT_NODA;
    evict(tcti, &template);
    (void)open_and_close(tcti, NULL, TPM_PRIMARY_ECC_P256, false);
    evict(tcti, NULL);
}

/* Removed, it is made from the template: the same key. Replaced, it is refused. */
static void a_persisted_primary_may_go_but_not_change(void **state)
{
    const char *tcti = swtpm_of(state)->tcti;
    struct error err;
    TPM2B_PUBLIC template;
    tpm_public_primary_template(TPM_PRIMARY_ECC_P256, &template);
    evict(tcti, &template);
    struct tpm_device *device = device_open(tcti, NULL);
    struct driver_key *key = device_key(device, KEY_TYPE_EC_P256);
    device_assert_signs(device, key);
    assert_true(device->primary.object.is_persistent);
    evict(tcti, NULL);
    tpm_cache_evict_all(&device->cache, false);
    buffer_clear(&container_of(key, struct tpm_key, base)->object.context);
    device_assert_signs(device, key);
    assert_false(device->primary.object.is_persistent);
    keystore_driver_tpm.key_close(device, key);
    keystore_driver_tpm.close(device);

    evict(tcti, &template);
    device = device_open(tcti, NULL);
    key = device_key(device, KEY_TYPE_EC_P256);
    evict(tcti, NULL);
    template.publicArea.unique.ecc.x.size = 1;
    evict(tcti, &template);
    assert_int_equal(device_try_sign(device, key, &err), ERROR_FAILED_PRECONDITION);
    assert_non_null(strstr(err.text, "cleared or replaced"));
    keystore_driver_tpm.key_close(device, key);
    keystore_driver_tpm.close(device);
    evict(tcti, NULL);
}

/* A TPM without elliptic curves refuses the curve. */
static bool refuse_curves(struct bus *bus, struct bus_message *command,
                          struct bus_message *ret_answer)
{
    (void)bus;
    const uint8_t ecc[] = {0, TPM2_ALG_ECC, 0, TPM2_ALG_SHA256};
    if (bus_code(command) != TPM2_CC_CreatePrimary ||
        !memmem(command->data, command->size, ecc, sizeof(ecc))) {
        return false;
    }
    bus_error(ret_answer, TPM2_RC_CURVE | TPM2_RC_P | TPM2_RC_2);
    return true;
}

static void without_curves_the_primary_is_rsa(void **state)
{
    char path[96];
    struct bus bus;
    struct error err;
    const char *pin = pin_path(state, path);
    bus_new(&bus, swtpm_of(state));
    bus_set(&bus, refuse_curves, NULL, NULL);
    (void)open_and_close(bus.tcti, pin, TPM_PRIMARY_RSA_2048, false);
    bus_set(&bus, NULL, NULL, NULL);
    /* Pinned, it stays RSA. */
    (void)open_and_close(bus.tcti, pin, TPM_PRIMARY_RSA_2048, false);
    struct tpm_device *device = device_open(bus.tcti, pin);
    struct driver_key *key = device_key(device, KEY_TYPE_RSA_2048);
    device_assert_signs(device, key);
    swtpm_kill(swtpm_of(state), SIGKILL);
    swtpm_start(swtpm_of(state));
    device_assert_signs(device, key);
    assert_done(keystore_driver_tpm.probe(device, &err), err);
    keystore_driver_tpm.key_close(device, key);
    keystore_driver_tpm.close(device);
    bus_free(&bus);
    device_assert_empty(swtpm_of(state)->tcti);
}

static void clear_tpm(const char *tcti)
{
    const TSS2L_SYS_AUTH_COMMAND password = {.count = 1, .auths[0].sessionHandle = TPM2_RS_PW};
    struct tpm_transport transport = {.conf = memory_copy_text(tcti)};
    assert_int_equal(tpm_transport_open(&transport), 0);
    assert_int_equal(Tss2_Sys_Clear(transport.sys, TPM2_RH_LOCKOUT, &password, NULL), 0);
    tpm_transport_close(&transport);
    free(transport.conf);
}

static void after_a_clear_nothing_is_signed(void **state)
{
    char path[96];
    struct error err;
    struct driver_key *key = NULL;
    const uint8_t id[16] = {7};
    const char *pin = pin_path(state, path);
    const char *tcti = swtpm_of(state)->tcti;
    _cleanup_(buffer_clear) struct buffer reference = {0};
    void *device = device_open(tcti, pin);
    assert_done(keystore_driver_tpm.key_generate(device, KEY_TYPE_EC_P256, id, &key, &err), err);
    keystore_driver_tpm.key_reference(device, key, &reference);
    device_assert_signs(device, key);
    clear_tpm(tcti);
    assert_int_equal(device_try_sign(device, key, &err), ERROR_FAILED_PRECONDITION);
    assert_non_null(strstr(err.text, "cleared or replaced"));
    assert_int_equal(keystore_driver_tpm.probe(device, &err), -1);
    assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
    keystore_driver_tpm.key_close(device, key);
    keystore_driver_tpm.close(device);
    assert_int_equal(fail_to_open(tcti, pin, &err), ERROR_FAILED_PRECONDITION);

    /* Accepted on purpose: a new life, but the old key is gone. */
    assert_int_equal(unlink(pin), 0);
    device = device_open(tcti, pin);
    assert_int_equal(keystore_driver_tpm.key_open(device, KEY_TYPE_EC_P256, id,
                                                  buffer_bytes(&reference), &key, &err),
                     -1);
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    keystore_driver_tpm.close(device);
    device_assert_empty(tcti);
}

static void set_owner_password(const char *tcti)
{
    const TSS2L_SYS_AUTH_COMMAND password = {.count = 1, .auths[0].sessionHandle = TPM2_RS_PW};
    const TPM2B_AUTH secret = {.size = 4, .buffer = "test"};
    struct tpm_transport transport = {.conf = memory_copy_text(tcti)};
    assert_int_equal(tpm_transport_open(&transport), 0);
    assert_int_equal(
        Tss2_Sys_HierarchyChangeAuth(transport.sys, TPM2_RH_OWNER, &password, &secret, NULL), 0);
    tpm_transport_close(&transport);
    free(transport.conf);
}

static void with_an_owner_password_a_persisted_primary_helps(void **state)
{
    const char *tcti = swtpm_of(state)->tcti;
    struct error err;
    TPM2B_PUBLIC template;
    tpm_public_primary_template(TPM_PRIMARY_ECC_P256, &template);
    evict(tcti, &template);
    set_owner_password(tcti);
    (void)open_and_close(tcti, NULL, TPM_PRIMARY_ECC_P256, true);
    clear_tpm(tcti);
    set_owner_password(tcti);
    assert_int_equal(fail_to_open(tcti, NULL, &err), ERROR_FAILED_PRECONDITION);
    assert_non_null(strstr(err.text, "password"));
    assert_non_null(strstr(err.text, "0x81000001"));
}

#define fresh_test(test) cmocka_unit_test_setup_teardown(test, device_setup, device_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        fresh_test(the_name_is_pinned_at_first_use),
        fresh_test(another_tpm_is_refused),
        fresh_test(a_bad_pin_is_refused),
        fresh_test(a_persisted_primary_is_used),
        fresh_test(a_persisted_primary_of_another_template_is_not_used),
        fresh_test(a_persisted_primary_may_go_but_not_change),
        fresh_test(without_curves_the_primary_is_rsa),
        fresh_test(after_a_clear_nothing_is_signed),
        fresh_test(with_an_owner_password_a_persisted_primary_helps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
