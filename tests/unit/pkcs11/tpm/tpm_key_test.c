/* References of lasting keys: what is stored and comes back from disk. */
#include "tests/unit/pkcs11/tpm/device.h"

#include <tss2/tss2_mu.h>

static const uint8_t id[16] = {1};

static void make_reference(void *device, enum key_type type, struct buffer *ret_reference)
{
    struct error err;
    struct driver_key *key = NULL;
    assert_done(keystore_driver_tpm.key_generate(device, type, id, &key, &err), err);
    keystore_driver_tpm.key_reference(device, key, ret_reference);
    keystore_driver_tpm.key_close(device, key);
}

static int try_open(void *device, enum key_type type, struct bytes reference)
{
    struct error err;
    struct driver_key *key = NULL;
    if (keystore_driver_tpm.key_open(device, type, id, reference, &key, &err) < 0) {
        return (int)err.code;
    }
    keystore_driver_tpm.key_close(device, key);
    return ERROR_OK;
}

static void every_cut_of_a_reference_is_refused(void **state)
{
    const struct swtpm *swtpm = *state;
    _cleanup_(buffer_clear) struct buffer reference = {0};
    void *device = device_open(swtpm->tcti, NULL);
    make_reference(device, KEY_TYPE_EC_P256, &reference);
    assert_in_range(reference.size, 100, 400);
    for (size_t size = 0; size < reference.size; size++) {
        assert_int_equal(try_open(device, KEY_TYPE_EC_P256, (struct bytes){reference.data, size}),
                         ERROR_DATA_LOSS);
    }
    assert_int_equal(try_open(device, KEY_TYPE_EC_P256, buffer_bytes(&reference)), ERROR_OK);
    buffer_append_u8(&reference, 0);
    assert_int_equal(try_open(device, KEY_TYPE_EC_P256, buffer_bytes(&reference)), ERROR_DATA_LOSS);
    while (reference.size <= TPM_REFERENCE_LIMIT_BYTES) {
        buffer_append_u8(&reference, 0);
    }
    assert_int_equal(try_open(device, KEY_TYPE_EC_P256, buffer_bytes(&reference)), ERROR_DATA_LOSS);
    keystore_driver_tpm.close(device);
    device_assert_empty(swtpm->tcti);
}

static void every_changed_byte_of_a_reference_is_refused(void **state)
{
    const struct swtpm *swtpm = *state;
    for (unsigned type = 0; type < KEY_TYPE_COUNT; type++) {
        _cleanup_(buffer_clear) struct buffer reference = {0};
        void *device = device_open(swtpm->tcti, NULL);
        make_reference(device, type, &reference);
        for (size_t i = 0; i < reference.size; i++) {
            reference.data[i] ^= 1;
            assert_int_not_equal(try_open(device, type, buffer_bytes(&reference)), ERROR_OK);
            reference.data[i] ^= 1 ^ 0x80;
            assert_int_not_equal(try_open(device, type, buffer_bytes(&reference)), ERROR_OK);
            reference.data[i] ^= 0x80;
        }
        assert_int_equal(try_open(device, type, buffer_bytes(&reference)), ERROR_OK);
        keystore_driver_tpm.close(device);
    }
    device_assert_empty(swtpm->tcti);
}

static void a_key_of_another_type_is_refused(void **state)
{
    const struct swtpm *swtpm = *state;
    void *device = device_open(swtpm->tcti, NULL);
    for (unsigned type = 0; type < KEY_TYPE_COUNT; type++) {
        _cleanup_(buffer_clear) struct buffer reference = {0};
        make_reference(device, type, &reference);
        for (unsigned other = 0; other < KEY_TYPE_COUNT; other++) {
            assert_int_equal(try_open(device, other, buffer_bytes(&reference)),
                             other == type ? ERROR_OK : ERROR_INVALID_ARGUMENT);
        }
    }
    keystore_driver_tpm.close(device);
}

static void set(TPM2B_PUBLIC *template, TPMA_OBJECT added)
{
    template->publicArea.objectAttributes |= added;
}

static void clear(TPM2B_PUBLIC *template, TPMA_OBJECT removed)
{
    template->publicArea.objectAttributes &= ~removed;
}

/* Keys that could leave the TPM, or could do more than sign. */
static void keys_of_other_templates_are_refused(void **state)
{
    static const struct {
        void (*change)(TPM2B_PUBLIC *template, TPMA_OBJECT attributes);
        TPMA_OBJECT attributes;
    } changes[] = {
        {clear, TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT},
        {clear, TPMA_OBJECT_FIXEDTPM},
        {clear, TPMA_OBJECT_NODA},
        {clear, TPMA_OBJECT_USERWITHAUTH},
        {set, TPMA_OBJECT_DECRYPT},
        {set, TPMA_OBJECT_RESTRICTED},
        {set, TPMA_OBJECT_ADMINWITHPOLICY},
    };
    const struct swtpm *swtpm = *state;
    struct error err;
    void *device = device_open(swtpm->tcti, NULL);
    _cleanup_(buffer_clear) struct buffer reference = {0};
    make_reference(device, KEY_TYPE_EC_P256, &reference);
    for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
        TPM2B_PUBLIC public;
        TPM2B_PRIVATE private;
        uint8_t area[512];
        size_t size = 0;
        _cleanup_(buffer_clear) struct buffer changed = {0};
        assert_done(tpm_key_parse_reference(buffer_bytes(&reference), &public, &private, &err),
                    err);
        changes[i].change(&public, changes[i].attributes);
        assert_int_equal(Tss2_MU_TPMT_PUBLIC_Marshal(&public.publicArea, area, sizeof(area), &size),
                         0);
        buffer_append_u8(&changed, 1);
        buffer_append_u16(&changed, (uint16_t)size);
        buffer_append(&changed, area, size);
        buffer_append_u16(&changed, private.size);
        buffer_append(&changed, private.buffer, private.size);
        assert_int_equal(try_open(device, KEY_TYPE_EC_P256, buffer_bytes(&changed)),
                         ERROR_INVALID_ARGUMENT);
    }
    keystore_driver_tpm.close(device);
}

/* The parser alone, with much damage at once. */
static void damaged_references_never_crash(void **state)
{
    enum { ROUNDS = 200000 };
    const struct swtpm *swtpm = *state;
    _cleanup_(buffer_clear) struct buffer reference = {0};
    void *device = device_open(swtpm->tcti, NULL);
    make_reference(device, KEY_TYPE_RSA_2048, &reference);
    keystore_driver_tpm.close(device);
    uint8_t *copy = memory_new(reference.size);
    for (uint32_t round = 0, random = 1; round < ROUNDS; round++) {
        TPM2B_PUBLIC public;
        TPM2B_PRIVATE private;
        memcpy(copy, reference.data, reference.size);
        for (size_t i = 0; i <= round % 8; i++) {
            random = random * 1664525U + 1013904223U;
            /* Mostly the head, where sizes and selectors are. */
            size_t limit = round % 3 ? 24 : reference.size;
            copy[(random >> 8) % limit] = (uint8_t)(random >> 24);
        }
        (void)tpm_key_parse_reference((struct bytes){copy, reference.size - round % 5}, &public,
                                      &private, NULL);
    }
    free(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cut_of_a_reference_is_refused),
        cmocka_unit_test(every_changed_byte_of_a_reference_is_refused),
        cmocka_unit_test(a_key_of_another_type_is_refused),
        cmocka_unit_test(keys_of_other_templates_are_refused),
        cmocka_unit_test(damaged_references_never_crash),
    };
    return cmocka_run_group_tests(tests, device_setup, device_teardown);
}
