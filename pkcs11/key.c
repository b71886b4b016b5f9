#include <openssl/sha.h>
#include <string.h>

#include "lib/base/memory.h"
#include "pkcs11/call.h"
#include "pkcs11/key_type.h"

/* Takes the driver's half. */
static struct key *key_new(struct keystore *keystore, struct driver_key *driver_key)
{
    struct key *key = NEW(struct key);
    uint8_t hash[SHA256_DIGEST_LENGTH];
    atomic_init(&key->references, 1);
    key->keystore = keystore;
    key->driver_key = driver_key;
    (void)SHA256(driver_key->spki.data, driver_key->spki.size, hash);
    memcpy(key->id, hash, sizeof(key->id));
    if (driver_key->is_lasting || keystore->driver->has_keys_in_references) {
        keystore->driver->key_reference(keystore->driver_state, driver_key, &key->reference);
    }
    (void)atomic_fetch_add(&keystore->keys, 1);
    return key;
}

struct key *keystore_adopt(struct keystore *keystore, struct driver_key *driver_key)
{
    return key_new(keystore, driver_key);
}

void key_close(struct key *key)
{
    struct keystore *keystore = key->keystore;
    keystore->driver->key_close(keystore->driver_state, key->driver_key);
    buffer_clear(&key->reference);
    free(key);
    (void)atomic_fetch_sub(&keystore->keys, 1);
}

struct key *key_ref(struct key *key)
{
    (void)atomic_fetch_add_explicit(&key->references, 1, memory_order_relaxed);
    return key;
}

void key_unref(struct key *key)
{
    if (atomic_fetch_sub(&key->references, 1) != 1) {
        return;
    }
    struct keystore *keystore = key->keystore;
    (void)pthread_mutex_lock(&keystore->lock);
    STAILQ_INSERT_TAIL(&keystore->closing, key, closing);
    worker_wake(keystore);
    (void)pthread_mutex_unlock(&keystore->lock);
}

enum key_type key_type(const struct key *key)
{
    return key->driver_key->type;
}

struct keystore *key_keystore(const struct key *key)
{
    return key->keystore;
}

struct driver_key *key_driver_key(const struct key *key)
{
    return key->driver_key;
}

struct bytes key_public_der(const struct key *key)
{
    return buffer_bytes(&key->driver_key->spki);
}

const uint8_t *key_id(const struct key *key)
{
    return key->id;
}

uint64_t key_uses(const struct key *key)
{
    return atomic_load_explicit(&key->uses, memory_order_relaxed);
}

bool key_is_alive(const struct key *key)
{
    return !atomic_load(&key->driver_key->is_lost);
}

void key_reference(const struct key *key, struct buffer *ret_reference)
{
    buffer_append(ret_reference, key->reference.data, key->reference.size);
}

struct make_call {
    struct call call;
    enum key_type type;
    const uint8_t *id;
    struct bytes reference;
    struct key *key;
};

static int generate(struct call *call, struct error *err)
{
    struct make_call *make = container_of(call, struct make_call, call);
    struct keystore *keystore = call->keystore;
    struct driver_key *driver_key = NULL;
    uint64_t begin_us = times_now_us();
    int result = keystore->driver->key_generate(keystore->driver_state, make->type, make->id,
                                                &driver_key, err);
    times_add_since(&keystore->times.generating, begin_us);
    TRY(result);
    (void)atomic_fetch_add_explicit(&keystore->generations, 1, memory_order_relaxed);
    make->key = key_new(keystore, driver_key);
    return 0;
}

int keystore_key_generate(struct keystore *keystore, enum key_type type, const uint8_t id[16],
                          enum keystore_priority priority, struct key **ret_key, struct error *err)
{
    struct make_call make = {.call.act = generate, .type = type, .id = id};
    if (call_run(&make.call, keystore, priority, 0, err) < 0) {
        return error_prepend(err, "making an %s key", key_type_name(type));
    }
    *ret_key = make.key;
    return 0;
}

static int open_key(struct call *call, struct error *err)
{
    struct make_call *make = container_of(call, struct make_call, call);
    struct keystore *keystore = call->keystore;
    struct driver_key *driver_key = NULL;
    TRY(keystore->driver->key_open(keystore->driver_state, make->type, make->id, make->reference,
                                   &driver_key, err));
    make->key = key_new(keystore, driver_key);
    return 0;
}

int keystore_key_open(struct keystore *keystore, enum key_type type, const uint8_t id[16],
                      struct bytes reference, struct key **ret_key, struct error *err)
{
    struct make_call make = {.call.act = open_key, .type = type, .id = id, .reference = reference};
    if (call_run(&make.call, keystore, KEYSTORE_PRIORITY_ISSUE, 0, err) < 0) {
        return error_prepend(err, "opening an %s key", key_type_name(type));
    }
    *ret_key = make.key;
    return 0;
}

static int destroy(struct call *call, struct error *err)
{
    struct make_call *make = container_of(call, struct make_call, call);
    return call->keystore->driver->destroy_id(call->keystore->driver_state, make->id, err);
}

int keystore_destroy_id(struct keystore *keystore, const uint8_t id[16], struct error *err)
{
    struct make_call make = {.call.act = destroy, .id = id};
    if (call_run(&make.call, keystore, KEYSTORE_PRIORITY_BACKGROUND, 0, err) < 0) {
        return error_prepend(err, "destroying a lasting key");
    }
    return 0;
}

struct sign_call {
    struct call call;
    struct key *key;
    const struct sign_request *request;
    uint8_t *signature;
    size_t size;
};

static int sign(struct call *call, struct error *err)
{
    struct sign_call *sign = container_of(call, struct sign_call, call);
    struct keystore *keystore = call->keystore;
    uint64_t begin_us = times_now_us();
    int result = keystore->driver->key_sign(keystore->driver_state, sign->key->driver_key,
                                            sign->request, sign->signature, &sign->size, err);
    times_add_since(&keystore->times.signing, begin_us);
    TRY(result);
    (void)atomic_fetch_add_explicit(&keystore->signatures, 1, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&sign->key->uses, 1, memory_order_relaxed);
    return 0;
}

int key_sign(struct key *key, const struct sign_request *request, enum keystore_priority priority,
             uint64_t flow, uint8_t ret_signature[SIGNATURE_MAX_BYTES], size_t *ret_size,
             struct error *err)
{
    TRY(sign_request_check(request, key_type(key), err));
    if (!key_is_alive(key)) {
        return error_set(err, ERROR_DATA_LOSS,
                         "signing with a key that keystore %s has lost; a new one is needed",
                         key->keystore->name);
    }
    struct sign_call call = {.call = {.act = sign, .is_short = true},
                             .key = key,
                             .request = request,
                             .signature = ret_signature};
    if (call_run(&call.call, key->keystore, priority, flow, err) < 0) {
        return error_prepend(err, "signing");
    }
    *ret_size = call.size;
    return 0;
}
