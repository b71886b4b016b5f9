/* What somebody on the bus can read and change: nothing that matters. */
#include "tests/unit/pkcs11/tpm/bus.h"

#include "pkcs11/tpm/tpm_reclaim.h"

static bool contains(const struct bus_message *message, const uint8_t *data, size_t size)
{
    return memmem(message->data, message->size, data, size) != NULL;
}

struct seen {
    const uint8_t *digest;
    bool is_digest_seen;
    size_t signs;
};

static bool look_for_digest(struct bus *bus, struct bus_message *command,
                            struct bus_message *ret_answer)
{
    (void)ret_answer;
    struct seen *seen = bus->user;
    seen->signs += bus_code(command) == TPM2_CC_Sign;
    seen->is_digest_seen |= contains(command, seen->digest, 32);
    return false;
}

static void a_digest_is_not_seen_on_the_bus(void **state)
{
    struct bus bus;
    bus_new(&bus, *state);
    void *device = device_open(bus.tcti, NULL);
    struct driver_key *key = device_key(device, KEY_TYPE_EC_P256);
    struct error err;
    struct device_digest digest;
    uint8_t signature[SIGNATURE_MAX_BYTES];
    size_t size = 0;
    device_digest_new(&digest, SIGN_SCHEME_ECDSA, SIGN_DIGEST_SHA256);
    struct seen seen = {.digest = digest.value};
    bus_set(&bus, look_for_digest, NULL, &seen);
    assert_done(keystore_driver_tpm.key_sign(device, key, &digest.request, signature, &size, &err),
                err);
    bus_set(&bus, NULL, NULL, NULL);
    assert_true(device_verify(key, &digest.request, signature, size));
    assert_int_equal(seen.signs, 1);
    assert_false(seen.is_digest_seen);
    keystore_driver_tpm.key_close(device, key);
    keystore_driver_tpm.close(device);
    bus_free(&bus);
    device_assert_empty(((struct swtpm *)*state)->tcti);
}

/* The private part of a key, as the TPM wrapped it, is not seen either; nor is the same thing
 * written to the bus twice. */
struct blobs {
    struct buffer private;
    bool is_seen;
};

static void look_for_blob(struct bus *bus, const struct bus_message *command,
                          struct bus_message *answer)
{
    struct blobs *blobs = bus->user;
    blobs->is_seen |= contains(command, blobs->private.data, blobs->private.size) ||
                      contains(answer, blobs->private.data, blobs->private.size);
}

static void a_blob_is_not_seen_when_it_is_loaded(void **state)
{
    struct bus bus;
    struct error err;
    struct driver_key *key = NULL;
    TPM2B_PUBLIC public;
    TPM2B_PRIVATE private;
    const uint8_t id[16] = {1};
    _cleanup_(buffer_clear) struct buffer reference = {0};
    struct blobs blobs = {0};
    bus_new(&bus, *state);
    void *device = device_open(bus.tcti, NULL);
    assert_done(keystore_driver_tpm.key_generate(device, KEY_TYPE_EC_P256, id, &key, &err), err);
    keystore_driver_tpm.key_reference(device, key, &reference);
    assert_done(tpm_key_parse_reference(buffer_bytes(&reference), &public, &private, &err), err);
    buffer_append(&blobs.private, private.buffer + 2, 32);
    bus_set(&bus, NULL, look_for_blob, &blobs);
    device_assert_signs(device, key);
    bus_set(&bus, NULL, NULL, NULL);
    assert_false(blobs.is_seen);
    buffer_clear(&blobs.private);
    keystore_driver_tpm.key_close(device, key);
    keystore_driver_tpm.close(device);
    bus_free(&bus);
}

/* Flips one bit of one kind of command or of its answer, once or each time. */
struct flip {
    TPM2_CC code;
    size_t offset;
    bool of_answer;
    bool once;
    size_t flips;
};

static void flip_bit(struct flip *flip, struct bus_message *message)
{
    if (flip->offset < message->size && !(flip->once && flip->flips > 0)) {
        message->data[flip->offset] ^= (uint8_t)(1U << (flip->offset % 8));
        flip->flips++;
    }
}

static bool flip_command(struct bus *bus, struct bus_message *command,
                         struct bus_message *ret_answer)
{
    (void)ret_answer;
    struct flip *flip = bus->user;
    if (!flip->of_answer && bus_code(command) == flip->code) {
        flip_bit(flip, command);
    }
    return false;
}

static void flip_answer(struct bus *bus, const struct bus_message *command,
                        struct bus_message *answer)
{
    struct flip *flip = bus->user;
    if (flip->of_answer && bus_code(command) == flip->code) {
        flip_bit(flip, answer);
    }
}

enum { FLIP_FIRST = BUS_HEADER_BYTES, FLIP_STEP = 5, FLIP_LAST = 330 };

/* Signs under every flip: a right signature or an error, never a wrong signature; and all is well
 * again when the flips end. */
static void try_flips(const struct swtpm *swtpm, TPM2_CC code, bool of_answer, bool once,
                      size_t *ret_errors)
{
    struct bus bus;
    bus_new(&bus, swtpm);
    struct tpm_device *device = device_open(bus.tcti, NULL);
    struct driver_key *key = device_key(device, KEY_TYPE_EC_P256);
    device_assert_signs(device, key);
    for (size_t offset = FLIP_FIRST; offset < FLIP_LAST; offset += FLIP_STEP) {
        struct error err;
        struct flip flip = {code, offset, of_answer, once, 0};
        /* Session, loaded key and context are made anew, so that each kind of command is sent. */
        tpm_session_end(&device->session, true);
        tpm_cache_evict_all(&device->cache, code == TPM2_CC_ContextLoad);
        if (code != TPM2_CC_ContextLoad) {
            buffer_clear(&container_of(key, struct tpm_key, base)->object.context);
        }
        bus_set(&bus, flip_command, flip_answer, &flip);
        *ret_errors += device_try_sign(device, key, &err) != ERROR_OK;
        bus_set(&bus, NULL, NULL, NULL);
        key->is_lost = false;
        device_assert_signs(device, key);
    }
    keystore_driver_tpm.key_close(device, key);
    keystore_driver_tpm.close(device);
    bus_free(&bus);
}

static void flipped_bits_never_give_a_wrong_signature(void **state)
{
    static const struct {
        TPM2_CC code;
        bool has_errors; /* flips of it cannot all be without effect */
    } commands[] = {
        {TPM2_CC_Sign, true},
        {TPM2_CC_Load, true},
        {TPM2_CC_StartAuthSession, true},
        {TPM2_CC_ContextLoad, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        for (int of_answer = 0; of_answer < 2; of_answer++) {
            size_t errors = 0;
            size_t errors_once = 0;
            try_flips(*state, commands[i].code, of_answer, false, &errors);
            try_flips(*state, commands[i].code, of_answer, true, &errors_once);
            assert_true(errors > 0 || !commands[i].has_errors);
            assert_true(errors_once <= errors);
        }
    }
}

/* The nonce and signature of an answer, changed each time: found out each time. */
static void a_changed_signature_is_found_out(void **state)
{
    struct bus bus;
    struct error err;
    bus_new(&bus, *state);
    void *device = device_open(bus.tcti, NULL);
    struct driver_key *key = device_key(device, KEY_TYPE_EC_P256);
    /* After the header: 4 bytes of size, algorithm, hash, size of r, r. */
    struct flip flip = {TPM2_CC_Sign, BUS_HEADER_BYTES + 4 + 2 + 2 + 2 + 7, true, false, 0};
    bus_set(&bus, flip_command, flip_answer, &flip);
    assert_int_equal(device_try_sign(device, key, &err), ERROR_UNAVAILABLE);
    assert_non_null(strstr(err.text, "not authentic"));
    assert_non_null(strstr(err.text, "TPM2_Sign"));
    assert_in_range(flip.flips, 1, 4);
    bus_set(&bus, NULL, NULL, NULL);
    device_assert_signs(device, key);
    keystore_driver_tpm.key_close(device, key);
    keystore_driver_tpm.close(device);
    bus_free(&bus);
}

/* Takes the authorization away from an answer. */
static void strip_session(struct bus *bus, const struct bus_message *command,
                          struct bus_message *answer)
{
    (void)bus;
    if (bus_code(command) == TPM2_CC_Sign && bus_u32(answer, 6) == TPM2_RC_SUCCESS) {
        size_t size = bus_u32(answer, BUS_HEADER_BYTES);
        memmove(answer->data + BUS_HEADER_BYTES, answer->data + BUS_HEADER_BYTES + 4, size);
        answer->data[1] = TPM2_ST_NO_SESSIONS & 0xff;
        answer->size = BUS_HEADER_BYTES + size;
        bus_put_u32(answer, 2, (uint32_t)answer->size);
    }
}

/* Says that the parameters are longer than the answer. */
static void stretch_parameters(struct bus *bus, const struct bus_message *command,
                               struct bus_message *answer)
{
    if (bus_code(command) == TPM2_CC_Sign && bus_u32(answer, 6) == TPM2_RC_SUCCESS) {
        bus_put_u32(answer, BUS_HEADER_BYTES, *(const uint32_t *)bus->user);
    }
}

static void an_answer_without_its_authorization_is_refused(void **state)
{
    uint32_t sizes[] = {0, 1, 71, 4095, 4096, 65535, 0x7fffffff, 0xffffffff};
    struct bus bus;
    struct error err;
    bus_new(&bus, *state);
    void *device = device_open(bus.tcti, NULL);
    struct driver_key *key = device_key(device, KEY_TYPE_EC_P256);
    bus_set(&bus, NULL, strip_session, NULL);
    assert_int_equal(device_try_sign(device, key, &err), ERROR_UNAVAILABLE);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        bus_set(&bus, NULL, stretch_parameters, &sizes[i]);
        assert_int_equal(device_try_sign(device, key, &err), ERROR_UNAVAILABLE);
    }
    bus_set(&bus, NULL, NULL, NULL);
    device_assert_signs(device, key);
    keystore_driver_tpm.key_close(device, key);
    keystore_driver_tpm.close(device);
    bus_free(&bus);
}

/* Signs with another key's handle instead of the one asked for. */
static bool substitute_handle(struct bus *bus, struct bus_message *command,
                              struct bus_message *ret_answer)
{
    (void)ret_answer;
    if (bus_code(command) == TPM2_CC_Sign) {
        bus_put_u32(command, BUS_HEADER_BYTES, *(const TPM2_HANDLE *)bus->user);
    }
    return false;
}

static void another_keys_handle_is_refused(void **state)
{
    struct bus bus;
    struct error err;
    bus_new(&bus, *state);
    void *device = device_open(bus.tcti, NULL);
    struct driver_key *key = device_key(device, KEY_TYPE_EC_P256);
    struct driver_key *other = device_key(device, KEY_TYPE_EC_P256);
    device_assert_signs(device, key);
    device_assert_signs(device, other);
    TPM2_HANDLE handle = container_of(other, struct tpm_key, base)->object.handle;
    assert_int_not_equal(handle, 0);
    bus_set(&bus, substitute_handle, NULL, &handle);
    enum error_code code = device_try_sign(device, key, &err);
    bus_set(&bus, NULL, NULL, NULL);
    assert_int_not_equal(code, ERROR_OK);
    device_assert_signs(device, key);
    device_assert_signs(device, other);
    keystore_driver_tpm.key_close(device, key);
    keystore_driver_tpm.key_close(device, other);
    keystore_driver_tpm.close(device);
    bus_free(&bus);
}

/* Without an attacker: another program flushed our key and loaded its own, and got the handle. The
 * TPM itself refuses the command, as the names differ. */
static void a_stale_handle_cannot_sign_with_another_key(void **state)
{
    const struct swtpm *swtpm = *state;
    struct tpm_device *device = device_open(swtpm->tcti, NULL);
    struct driver_key *key = device_key(device, KEY_TYPE_EC_P256);
    struct driver_key *other = device_key(device, KEY_TYPE_EC_P256);
    struct tpm_object *object = &container_of(key, struct tpm_key, base)->object;
    struct tpm_object *other_object = &container_of(other, struct tpm_key, base)->object;
    device_assert_signs(device, key);
    device_assert_signs(device, other);

    /* The key's object keeps a handle that means the other key now. */
    TPM2_HANDLE mine = object->handle;
    assert_int_equal(tpm_command_flush(&device->transport, mine), 0);
    object->handle = other_object->handle;
    TPM2B_DIGEST digest = {.size = 32};
    TPMT_SIGNATURE signature = {0};
    const TPMT_SIG_SCHEME scheme = {.scheme = TPM2_ALG_ECDSA,
                                    .details.any.hashAlg = TPM2_ALG_SHA256};
    assert_int_equal(tpm_command_sign(&device->session, object->handle, &object->name, &digest,
                                      &scheme, &signature),
                     TPM2_RC_BAD_AUTH | TPM2_RC_S | TPM2_RC_1);
    device_assert_signs(device, key);
    device_assert_signs(device, other);
    keystore_driver_tpm.key_close(device, key);
    keystore_driver_tpm.key_close(device, other);
    keystore_driver_tpm.close(device);
    device_assert_empty(swtpm->tcti);
}

/* The same, unnoticed until the driver has saved the wrong object's context as that of its key. */
static void a_context_of_another_key_is_found_out(void **state)
{
    const struct swtpm *swtpm = *state;
    struct tpm_device *device = device_open(swtpm->tcti, NULL);
    struct driver_key *key = device_key(device, KEY_TYPE_EC_P256);
    struct driver_key *other = device_key(device, KEY_TYPE_EC_P256);
    struct tpm_object *object = &container_of(key, struct tpm_key, base)->object;
    device_assert_signs(device, key);
    device_assert_signs(device, other);
    assert_int_equal(tpm_command_flush(&device->transport, object->handle), 0);
    object->handle = container_of(other, struct tpm_key, base)->object.handle;
    buffer_clear(&object->context);
    assert_int_equal(tpm_command_context_save(&device->transport, object->handle, &object->context),
                     0);
    tpm_cache_evict_all(&device->cache, true);
    device_assert_signs(device, key);
    device_assert_signs(device, other);
    device_assert_signs(device, key);
    keystore_driver_tpm.key_close(device, key);
    keystore_driver_tpm.key_close(device, other);
    /* What was loaded in error is left alone, as it may be somebody else's. */
    tpm_cache_evict_all(&device->cache, false);
    assert_int_equal(device_load_of(swtpm->tcti).objects, 1);
    tpm_reclaim_objects(device);
    keystore_driver_tpm.close(device);
    device_assert_empty(swtpm->tcti);
}

/* A TPM of the attacker's own at the other end, with the right name on its lips: it answers
 * CreatePrimary with the pinned public area, and cannot do more. */
struct impostor {
    struct bus_message primary; /* the genuine answer */
    bool is_recorded;
};

static void record_primary(struct bus *bus, const struct bus_message *command,
                           struct bus_message *answer)
{
    struct impostor *impostor = bus->user;
    if (bus_code(command) == TPM2_CC_CreatePrimary) {
        impostor->primary = *answer;
        impostor->is_recorded = true;
    }
}

static void replay_primary(struct bus *bus, const struct bus_message *command,
                           struct bus_message *answer)
{
    const struct impostor *impostor = bus->user;
    if (bus_code(command) == TPM2_CC_CreatePrimary) {
        uint32_t handle = bus_u32(answer, BUS_HEADER_BYTES);
        *answer = impostor->primary;
        bus_put_u32(answer, BUS_HEADER_BYTES, handle);
    }
}

static void an_impostor_who_knows_the_name_gets_nowhere(void **state)
{
    static struct impostor impostor;
    struct swtpm other;
    struct bus bus;
    struct error err;
    struct driver_key *key = NULL;
    const struct swtpm *swtpm = *state;
    char pin[96];
    (void)snprintf(pin, sizeof(pin), "%s/pin", swtpm->folder);
    bus_new(&bus, swtpm);
    bus_set(&bus, NULL, record_primary, &impostor);
    void *device = device_open(bus.tcti, pin);
    keystore_driver_tpm.close(device);
    bus_free(&bus);
    assert_true(impostor.is_recorded);

    swtpm_new(&other);
    bus_new(&bus, &other);
    bus_set(&bus, NULL, replay_primary, &impostor);
    device = device_open(bus.tcti, pin);
    assert_int_equal(keystore_driver_tpm.key_generate(device, KEY_TYPE_EC_P256, NULL, &key, &err),
                     -1);
    keystore_driver_tpm.close(device);
    bus_free(&bus);
    swtpm_remove(&other);
    (void)unlink(pin);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_digest_is_not_seen_on_the_bus),
        cmocka_unit_test(a_blob_is_not_seen_when_it_is_loaded),
        cmocka_unit_test(a_changed_signature_is_found_out),
        cmocka_unit_test(an_answer_without_its_authorization_is_refused),
        cmocka_unit_test(another_keys_handle_is_refused),
        cmocka_unit_test(a_stale_handle_cannot_sign_with_another_key),
        cmocka_unit_test(a_context_of_another_key_is_found_out),
        cmocka_unit_test(an_impostor_who_knows_the_name_gets_nowhere),
        cmocka_unit_test(flipped_bits_never_give_a_wrong_signature),
    };
    return cmocka_run_group_tests(tests, device_setup, device_teardown);
}
