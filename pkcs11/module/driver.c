#include "pkcs11/module/module.h"

#include <openssl/rand.h>
#include <stdatomic.h>
#include <string.h>

#include "lib/base/memory.h"
#include "pkcs11/key_type.h"
#include "pkcs11/module/signature.h"
#include "pkcs11/module/state.h"

/* A reference is this and the 16 bytes of the id. */
enum { REFERENCE_VERSION = 1 };

static unsigned worker_count(const void *config)
{
    const struct module_config *module = config;
    return module ? MIN(MAX(module->workers, 1), MODULE_WORKERS_MAX) : 1;
}

static int open_state(const void *config, const char *name, void **ret_state, struct error *err)
{
    struct module_state *state = NULL;
    TRY(module_state_open(config, name, &state, err));
    *ret_state = state;
    return 0;
}

static void close_state(void *state)
{
    module_state_close(state);
}

static int probe(void *state, struct error *err)
{
    return module_state_probe(state, err);
}

static struct module_key *key_new(enum key_type type, const uint8_t *id)
{
    struct module_key *key = NEW(struct module_key);
    key->key.type = type;
    key->key.is_lasting = id != NULL;
    if (id) {
        memcpy(key->key.id, id, sizeof(key->key.id));
    }
    return key;
}

static void key_free(struct module_key *key)
{
    buffer_clear(&key->key.spki);
    free(key);
}

DEFINE_CLEANUP(struct module_key, key_free, key_free);

/* What generate and open work on. */
struct making {
    struct module_key *key;
    int attempts;
};

static CK_RV act_generate(struct module_state *state, const struct module_session *session,
                          void *argument, struct error *err)
{
    struct making *making = argument;
    struct driver_key *key = &making->key->key;
    const uint8_t *id = key->is_lasting ? key->id : NULL;
    const struct module_where *where = &state->where;
    struct module_pair pair;
    if (module_token_may_generate(&state->token, key->type, where, err) < 0) {
        return CKR_MECHANISM_INVALID;
    }
    CK_RV rv = CKR_OK;
    /* The session may have been lost after the first attempt had made the pair. */
    if (id && making->attempts++ > 0) {
        rv = module_objects_destroy(session, where, id, err);
    }
    if (rv == CKR_OK) {
        rv = module_pair_generate(session, where, key->type, id, &pair, err);
    }
    if (rv != CKR_OK) {
        return rv;
    }
    rv = module_pair_read_public(session, where, key->type, &pair, &key->spki, err);
    if (rv == CKR_OK && !id) {
        rv = module_object_destroy(session, where, pair.public, err);
        pair.public = CK_INVALID_HANDLE;
    }
    if (rv != CKR_OK) {
        buffer_reset(&key->spki);
        (void)module_object_destroy(session, where, pair.public, NULL);
        (void)module_object_destroy(session, where, pair.private, NULL);
        return rv;
    }
    atomic_store(&making->key->private, pair.private);
    module_state_add_key(state, making->key);
    return CKR_OK;
}

static int generate(void *state, enum key_type type, const uint8_t *id, struct driver_key **ret_key,
                    struct error *err)
{
    _cleanup_(key_free_cleanup) struct module_key *key = key_new(type, id);
    struct making making = {.key = key};
    if (module_state_run(state, MODULE_SESSION_OBJECTS, act_generate, &making, err) < 0) {
        return error_prepend(err, "making an %s key", key_type_name(type));
    }
    *ret_key = &take_ptr(key)->key;
    return 0;
}

/* Signs something and verifies it, so that a key whose public half was exchanged on the token is
 * never certified. */
static CK_RV check_pair(struct module_state *state, const struct module_session *session,
                        const struct module_key *key, struct error *err)
{
    uint8_t value[32];
    uint8_t bytes[SIGNATURE_MAX_BYTES];
    size_t size = 0;
    struct module_signature signature;
    enum key_type type = key->key.type;
    struct sign_request request = {SIGN_SCHEME_ECDSA, SIGN_DIGEST_SHA256, {value, sizeof(value)}};
    if (!key_type_info(type)->group) {
        bool has_pkcs1 = state->token.can_sign[type][SIGN_SCHEME_RSA_PKCS1];
        request.scheme = has_pkcs1 ? SIGN_SCHEME_RSA_PKCS1 : SIGN_SCHEME_RSA_PSS;
    }
    if (RAND_bytes(value, sizeof(value)) <= 0) {
        (void)error_set_openssl(err, ERROR_INTERNAL, "drawing random bytes");
        return CKR_FUNCTION_REJECTED;
    }
    module_signature_prepare(&signature, type, &request);
    CK_RV rv =
        module_signature_make(session, &state->where, &signature, key->private, bytes, &size, err);
    if (rv == CKR_OK && module_signature_verify(buffer_bytes(&key->key.spki), type, &request,
                                                (struct bytes){bytes, size}, err) < 0) {
        (void)error_prepend(err, "the private and the public key on token \"%s\" are no pair",
                            state->where.token);
        rv = CKR_FUNCTION_REJECTED;
    }
    return rv;
}

static CK_RV act_open(struct module_state *state, const struct module_session *session,
                      void *argument, struct error *err)
{
    struct making *making = argument;
    struct driver_key *key = &making->key->key;
    struct module_pair pair;
    buffer_reset(&key->spki);
    CK_RV rv = module_pair_find(session, &state->where, key->id, &pair, err);
    if (rv == CKR_OK) {
        rv = module_pair_read_public(session, &state->where, key->type, &pair, &key->spki, err);
    }
    if (rv == CKR_OK) {
        atomic_store(&making->key->private, pair.private);
        rv = check_pair(state, session, making->key, err);
    }
    if (rv == CKR_OK) {
        module_state_add_key(state, making->key);
    }
    return rv;
}

static int open_key(void *state, enum key_type type, const uint8_t id[16], struct bytes reference,
                    struct driver_key **ret_key, struct error *err)
{
    struct reader reader = reader_of(reference);
    bool is_version = reader_u8(&reader) == REFERENCE_VERSION;
    struct bytes stored = reader_bytes(&reader, MODULE_ID_BYTES);
    if (!is_version || !reader_is_done(&reader) || memcmp(stored.data, id, MODULE_ID_BYTES) != 0) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "opening a key: its reference of %zu bytes was not made by a keystore of "
                         "type pkcs11 for this id",
                         reference.size);
    }
    _cleanup_(key_free_cleanup) struct module_key *key = key_new(type, id);
    struct making making = {.key = key};
    if (module_state_run(state, MODULE_SESSION_OBJECTS, act_open, &making, err) < 0) {
        return error_prepend(err, "opening an %s key", key_type_name(type));
    }
    *ret_key = &take_ptr(key)->key;
    return 0;
}

static void reference(void *state, const struct driver_key *key, struct buffer *ret_reference)
{
    (void)state;
    buffer_append_u8(ret_reference, REFERENCE_VERSION);
    buffer_append(ret_reference, key->id, sizeof(key->id));
}

struct signing {
    struct module_key *key;
    const struct sign_request *request;
    struct module_signature signature;
    uint8_t *ret_signature;
    size_t *ret_size;
};

static CK_RV sign_once(struct module_state *state, const struct module_session *session,
                       struct signing *signing, struct error *err)
{
    return module_signature_make(session, &state->where, &signing->signature, signing->key->private,
                                 signing->ret_signature, signing->ret_size, err);
}

/* The token does not know the handle: a lasting key may have another one by now. */
static CK_RV sign_with_found(struct module_state *state, const struct module_session *session,
                             struct signing *signing, struct error *err)
{
    struct module_pair pair = {0};
    struct module_key *key = signing->key;
    CK_RV rv = module_session_check(session, &state->where, err);
    if (rv == CKR_OK) {
        rv = key->key.is_lasting ? module_pair_find(session, &state->where, key->key.id, &pair, err)
                                 : CKR_KEY_HANDLE_INVALID;
    }
    if (rv == CKR_OK) {
        atomic_store(&key->private, pair.private);
        rv = sign_once(state, session, signing, err);
    }
    if (!module_status_is_object_gone(rv)) {
        return rv;
    }
    if (key->key.is_lasting) {
        state->must_restart = true;
        return CKR_TOKEN_NOT_RECOGNIZED;
    }
    module_state_lose_key(key);
    return rv;
}

static CK_RV act_sign(struct module_state *state, const struct module_session *session,
                      void *argument, struct error *err)
{
    struct signing *signing = argument;
    struct module_key *key = signing->key;
    if (key->key.is_lost) {
        (void)error_set(err, ERROR_DATA_LOSS,
                        "token \"%s\" of module %s lost the key with its session",
                        state->where.token, state->where.module);
        return CKR_KEY_HANDLE_INVALID;
    }
    if (module_token_may_sign(&state->token, key->key.type, signing->request->scheme, &state->where,
                              err) < 0) {
        return CKR_MECHANISM_INVALID;
    }
    CK_RV rv = sign_once(state, session, signing, err);
    return module_status_is_object_gone(rv) ? sign_with_found(state, session, signing, err) : rv;
}

static int sign(void *state, struct driver_key *key, const struct sign_request *request,
                uint8_t ret_signature[SIGNATURE_MAX_BYTES], size_t *ret_size, struct error *err)
{
    struct signing signing = {
        .key = container_of(key, struct module_key, key),
        .request = request,
        .ret_signature = ret_signature,
        .ret_size = ret_size,
    };
    TRY(sign_request_check(request, key->type, err));
    module_signature_prepare(&signing.signature, key->type, request);
    if (module_state_run(state, MODULE_SESSION_ANY, act_sign, &signing, err) < 0) {
        return error_prepend(err, "signing with an %s key", key_type_name(key->type));
    }
    return 0;
}

static void close_key(void *state, struct driver_key *driver_key)
{
    struct module_key *key = container_of(driver_key, struct module_key, key);
    module_state_drop_key(state, key);
    key_free(key);
}

static CK_RV act_destroy(struct module_state *state, const struct module_session *session,
                         void *argument, struct error *err)
{
    return module_objects_destroy(session, &state->where, argument, err);
}

static int destroy_id(void *state, const uint8_t id[16], struct error *err)
{
    uint8_t copy[MODULE_ID_BYTES];
    memcpy(copy, id, sizeof(copy));
    if (module_state_run(state, MODULE_SESSION_OBJECTS, act_destroy, copy, err) < 0) {
        return error_prepend(err, "destroying a key");
    }
    return 0;
}

const struct keystore_driver keystore_driver_module = {
    .name = "pkcs11",
    .protection = KEY_PROTECTION_HARDWARE,
    .max_workers = MODULE_WORKERS_MAX,
    .worker_count = worker_count,
    .open = open_state,
    .close = close_state,
    .probe = probe,
    .key_generate = generate,
    .key_open = open_key,
    .key_reference = reference,
    .key_sign = sign,
    .key_close = close_key,
    .destroy_id = destroy_id,
};
