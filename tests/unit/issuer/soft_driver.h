/* A driver whose hardware is a folder: lasting keys are files in it, so they outlive the process as
 * those of a token do. It can be made to fail in the ways that hardware does. */
#pragma once

#include <dirent.h>
#include <errno.h>
#include <openssl/ecdsa.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "lib/base/text.h"
#include "pkcs11/driver.h"

struct soft_config {
    const char *folder;
    atomic_bool is_down;       /* does not answer */
    atomic_bool fails_to_make; /* key generation fails after the key was made */
    atomic_bool fails_to_destroy;
    atomic_bool loses_keys; /* a key that is asked to sign is gone */
    atomic_uint generated, destroyed, signed_;
};

struct soft_key {
    struct driver_key driver_key;
    EVP_PKEY *key;
};

static inline struct soft_config *soft_of(void *state)
{
    return *(struct soft_config **)state;
}

static inline int soft_answer(void *state, struct error *err)
{
    if (atomic_load(&soft_of(state)->is_down)) {
        return error_set(err, ERROR_UNAVAILABLE, "the soft hardware was switched off");
    }
    return 0;
}

static inline char *soft_path(void *state, const uint8_t id[16])
{
    _cleanup_(free_cleanup) char *hex = text_hex((struct bytes){id, 16});
    return file_join(soft_of(state)->folder, hex);
}

static inline int soft_open(const void *config, const char *name, void **ret_state,
                            struct error *err)
{
    const struct soft_config **state = memory_new(sizeof(struct soft_config *));
    (void)name;
    (void)err;
    *state = config;
    *ret_state = state;
    return 0;
}

static inline void soft_close(void *state)
{
    free(state);
}

static inline int soft_probe(void *state, struct error *err)
{
    return soft_answer(state, err);
}

/* Takes the key. */
static inline struct driver_key *soft_wrap(EVP_PKEY *key, enum key_type type, const uint8_t *id)
{
    struct soft_key *soft = NEW(struct soft_key);
    uint8_t *spki = NULL;
    int size = i2d_PUBKEY(key, &spki);
    buffer_append(&soft->driver_key.spki, spki, (size_t)size);
    OPENSSL_free(spki);
    soft->key = key;
    soft->driver_key.type = type;
    if (id) {
        soft->driver_key.is_lasting = true;
        memcpy(soft->driver_key.id, id, 16);
    }
    return &soft->driver_key;
}

static inline void soft_key_close(void *state, struct driver_key *driver_key)
{
    struct soft_key *soft = container_of(driver_key, struct soft_key, driver_key);
    (void)state;
    EVP_PKEY_free(soft->key);
    buffer_clear(&driver_key->spki);
    free(soft);
}

static inline int soft_key_generate(void *state, enum key_type type, const uint8_t *id,
                                    struct driver_key **ret_key, struct error *err)
{
    TRY(soft_answer(state, err));
    EVP_PKEY *key = type == KEY_TYPE_RSA_2048
                        ? EVP_RSA_gen(2048)
                        : EVP_EC_gen(type == KEY_TYPE_EC_P256 ? "P-256" : "P-384");
    if (id) {
        _cleanup_(free_cleanup) char *path = soft_path(state, id);
        uint8_t *der = NULL;
        int size = i2d_PrivateKey(key, &der);
        int result = file_write_atomic(path, (struct bytes){der, (size_t)size}, 0600, err);
        OPENSSL_free(der);
        if (result < 0) {
            EVP_PKEY_free(key);
            return -1;
        }
    }
    (void)atomic_fetch_add(&soft_of(state)->generated, 1);
    if (atomic_load(&soft_of(state)->fails_to_make)) {
        EVP_PKEY_free(key);
        return error_set(err, ERROR_INTERNAL, "the soft hardware was told to fail");
    }
    *ret_key = soft_wrap(key, type, id);
    return 0;
}

static inline int soft_key_open(void *state, enum key_type type, const uint8_t id[16],
                                struct bytes reference, struct driver_key **ret_key,
                                struct error *err)
{
    _cleanup_(free_cleanup) char *path = soft_path(state, id);
    _cleanup_(buffer_clear) struct buffer der = {0};
    (void)reference;
    TRY(soft_answer(state, err));
    TRY(buffer_read_file(path, 8192, &der, err));
    const uint8_t *start = der.data;
    *ret_key = soft_wrap(d2i_AutoPrivateKey(NULL, &start, (long)der.size), type, id);
    return 0;
}

static inline void soft_key_reference(void *state, const struct driver_key *key,
                                      struct buffer *ret_reference)
{
    (void)state;
    buffer_append(ret_reference, key->id, sizeof(key->id));
}

/* DER to r || s. */
static inline size_t soft_raw_signature(const uint8_t *der, size_t size, enum key_type type,
                                        uint8_t *raw)
{
    int half = type == KEY_TYPE_EC_P256 ? 32 : 48;
    ECDSA_SIG *parsed = d2i_ECDSA_SIG(NULL, &der, (long)size);
    (void)BN_bn2binpad(ECDSA_SIG_get0_r(parsed), raw, half);
    (void)BN_bn2binpad(ECDSA_SIG_get0_s(parsed), raw + half, half);
    ECDSA_SIG_free(parsed);
    return 2 * (size_t)half;
}

static inline int soft_key_sign(void *state, struct driver_key *driver_key,
                                const struct sign_request *request,
                                uint8_t ret_signature[SIGNATURE_MAX_BYTES], size_t *ret_size,
                                struct error *err)
{
    static const char *const digests[] = {"SHA256", "SHA384", "SHA512"};
    struct soft_key *soft = container_of(driver_key, struct soft_key, driver_key);
    uint8_t signature[SIGNATURE_MAX_BYTES];
    size_t size = sizeof(signature);
    TRY(soft_answer(state, err));
    if (atomic_load(&soft_of(state)->loses_keys)) {
        driver_key->is_lost = true;
        return error_set(err, ERROR_DATA_LOSS, "the soft hardware has lost the key");
    }
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(soft->key, NULL);
    (void)EVP_PKEY_sign_init(context);
    (void)EVP_PKEY_CTX_set_signature_md(context, EVP_get_digestbyname(digests[request->digest]));
    if (request->scheme == SIGN_SCHEME_RSA_PSS) {
        (void)EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING);
    }
    int result = EVP_PKEY_sign(context, signature, &size, request->value.data, request->value.size);
    EVP_PKEY_CTX_free(context);
    if (result != 1) {
        return error_set_openssl(err, ERROR_INTERNAL, "signing in software");
    }
    (void)atomic_fetch_add(&soft_of(state)->signed_, 1);
    if (request->scheme == SIGN_SCHEME_ECDSA) {
        size = soft_raw_signature(signature, size, driver_key->type, ret_signature);
    } else {
        memcpy(ret_signature, signature, size);
    }
    *ret_size = size;
    return 0;
}

static inline int soft_destroy_id(void *state, const uint8_t id[16], struct error *err)
{
    _cleanup_(free_cleanup) char *path = soft_path(state, id);
    TRY(soft_answer(state, err));
    if (atomic_load(&soft_of(state)->fails_to_destroy)) {
        return error_set(err, ERROR_INTERNAL, "the soft hardware was told not to destroy");
    }
    if (unlink(path) < 0 && errno != ENOENT) {
        return error_set_errno(err, errno, "destroying %s", path);
    }
    (void)atomic_fetch_add(&soft_of(state)->destroyed, 1);
    return 0;
}

static const struct keystore_driver soft_driver = {
    .name = "soft",
    .protection = KEY_PROTECTION_HARDWARE,
    .max_workers = 1,
    .open = soft_open,
    .close = soft_close,
    .probe = soft_probe,
    .key_generate = soft_key_generate,
    .key_open = soft_key_open,
    .key_reference = soft_key_reference,
    .key_sign = soft_key_sign,
    .key_close = soft_key_close,
    .destroy_id = soft_destroy_id,
};

/* Lasting keys in the hardware now. */
static inline size_t soft_count_keys(const struct soft_config *config)
{
    size_t count = 0;
    DIR *folder = opendir(config->folder);
    for (struct dirent *item; folder && (item = readdir(folder)) != NULL;) {
        count += strlen(item->d_name) == 32;
    }
    if (folder) {
        (void)closedir(folder);
    }
    return count;
}
