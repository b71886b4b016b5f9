#include "agent/issuer/authority.h"

#include <openssl/rand.h>
#include <openssl/sha.h>
#include <string.h>

#include "agent/issuer/x509.h"
#include "lib/base/memory.h"

/* A verifier whose clock is behind still takes what was just made. */
enum { BACKDATING_S = 10 };

static const char *const kind_names[AUTHORITY_KIND_COUNT] = {"x509", "jwt"};
static const char *const kind_titles[AUTHORITY_KIND_COUNT] = {"CA", "JWT key"};
static const char *const state_names[] = {"preparing", "prepared", "active", "old", "retired"};

const char *authority_kind_name(enum authority_kind kind)
{
    return kind_names[kind];
}

const char *authority_kind_title(enum authority_kind kind)
{
    return kind_titles[kind];
}

const char *authority_state_name(enum authority_state state)
{
    return state_names[state];
}

static int find_name(const char *const *names, size_t count, const char *text, unsigned *ret,
                     struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], text) == 0) {
            *ret = (unsigned)i;
            return 0;
        }
    }
    return error_set(err, ERROR_DATA_LOSS, "\"%s\" is not among the known words", text);
}

int authority_kind_parse(const char *text, enum authority_kind *ret_kind, struct error *err)
{
    return find_name(kind_names, ARRAY_SIZE(kind_names), text, ret_kind, err);
}

int authority_state_parse(const char *text, enum authority_state *ret_state, struct error *err)
{
    return find_name(state_names, ARRAY_SIZE(state_names), text, ret_state, err);
}

struct authority *authority_ref(struct authority *authority)
{
    authority->references++;
    return authority;
}

void authority_unref(struct authority *authority)
{
    if (!authority || --authority->references > 0) {
        return;
    }
    EVP_PKEY_free(authority->signer);
    if (authority->key) {
        key_unref(authority->key);
    }
    EVP_PKEY_free(authority->public);
    X509_free(authority->parsed);
    buffer_clear(&authority->reference);
    buffer_clear(&authority->public_key);
    buffer_clear(&authority->certificate);
    free(authority->keystore);
    free(authority);
}

int authority_new(enum authority_kind kind, enum key_type key_type, const char *keystore,
                  int64_t now_s, uint32_t ttl_s, struct authority **ret_authority,
                  struct error *err)
{
    _cleanup_(authority_unref_cleanup) struct authority *authority = NEW(struct authority);
    authority->references = 1;
    authority->kind = kind;
    authority->key_type = key_type;
    authority->keystore = memory_copy_text(keystore);
    authority->created_at_s = now_s;
    authority->not_before_s = now_s - BACKDATING_S;
    authority->expires_at_s = now_s + (int64_t)ttl_s;
    if (RAND_bytes(authority->id, sizeof(authority->id)) != 1) {
        return error_set_openssl(err, ERROR_INTERNAL, "drawing a random key ID");
    }
    *ret_authority = take_ptr(authority);
    return 0;
}

int authority_parse(struct authority *authority, struct error *err)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    const uint8_t *end = authority->public_key.data;
    authority->public = d2i_PUBKEY(NULL, &end, (long)authority->public_key.size);
    if (!authority->public || end != authority->public_key.data + authority->public_key.size) {
        return error_set_openssl(err, ERROR_DATA_LOSS, "reading the public key of a %s",
                                 authority_kind_title(authority->kind));
    }
    if (authority->kind == AUTHORITY_KIND_X509) {
        TRY(x509_parse(buffer_bytes(&authority->certificate), &authority->parsed, err));
    }
    (void)SHA256(authority->public_key.data, authority->public_key.size, digest);
    _cleanup_(free_cleanup) char *hex = text_hex((struct bytes){digest, KEY_ID_BYTES});
    memcpy(authority->kid, hex, AUTHORITY_KID_BYTES);
    return 0;
}

int authority_make(struct authority *authority, struct keystore *keystore, const char *trust_domain,
                   struct error *err)
{
    TRY(keystore_key_generate(keystore, authority->key_type, authority->id, KEYSTORE_PRIORITY_ISSUE,
                              &authority->key, err));
    struct bytes public_key = key_public_der(authority->key);
    buffer_append(&authority->public_key, public_key.data, public_key.size);
    key_reference(authority->key, &authority->reference);
    authority->signer = key_evp_pkey(authority->key, err);
    if (!authority->signer) {
        return -1;
    }
    if (authority->kind == AUTHORITY_KIND_X509) {
        struct x509_ca_template template = {.trust_domain = trust_domain,
                                            .key = authority->signer,
                                            .key_type = authority->key_type,
                                            .not_before_s = authority->not_before_s,
                                            .expires_at_s = authority->expires_at_s};
        TRY(x509_make_ca(&template, &authority->certificate, err));
    }
    return authority_parse(authority, err);
}

int authority_open(struct authority *authority, struct keystore *keystore, struct error *err)
{
    if (strcmp(authority->keystore, keystore_name(keystore)) != 0) {
        return error_set(err, ERROR_NOT_FOUND, "its key is in the keystore \"%s\"",
                         authority->keystore);
    }
    _cleanup_(key_unref_cleanup) struct key *key = NULL;
    TRY(keystore_key_open(keystore, authority->key_type, authority->id,
                          buffer_bytes(&authority->reference), &key, err));
    if (!bytes_is_equal(key_public_der(key), buffer_bytes(&authority->public_key))) {
        return error_set(err, ERROR_NOT_FOUND,
                         "the keystore \"%s\" has a different key under its ID",
                         authority->keystore);
    }
    authority->signer = key_evp_pkey(key, err);
    if (!authority->signer) {
        return -1;
    }
    authority->key = take_ptr(key);
    return 0;
}

bool authority_is_published(const struct authority *authority)
{
    return authority->state == AUTHORITY_STATE_PREPARED ||
           authority->state == AUTHORITY_STATE_ACTIVE || authority->state == AUTHORITY_STATE_OLD;
}

bool authority_is_usable(const struct authority *authority, int64_t now_s)
{
    return authority->signer && key_is_alive(authority->key) && authority->not_before_s <= now_s &&
           now_s < authority->expires_at_s;
}
