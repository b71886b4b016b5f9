#include "agent/issuer/bundle.h"

#include <jansson.h>
#include <stdatomic.h>
#include <string.h>

#include "agent/issuer/jwk.h"
#include "agent/issuer/x509.h"
#include "lib/base/memory.h"
#include "lib/base/text.h"

DEFINE_CLEANUP(X509, x509, X509_free);

struct bundle *bundle_ref(struct bundle *bundle)
{
    (void)atomic_fetch_add_explicit(&bundle->references, 1, memory_order_relaxed);
    return bundle;
}

void bundle_unref(struct bundle *bundle)
{
    if (!bundle || atomic_fetch_sub_explicit(&bundle->references, 1, memory_order_acq_rel) > 1) {
        return;
    }
    for (size_t i = 0; i < bundle->authority_count; i++) {
        buffer_clear(&bundle->authorities[i]);
    }
    for (size_t i = 0; i < bundle->jwt_key_count; i++) {
        free(bundle->jwt_keys[i].kid);
        EVP_PKEY_free(bundle->jwt_keys[i].public_key);
    }
    free(bundle->authorities);
    free(bundle->jwt_keys);
    buffer_clear(&bundle->x509_der);
    free(bundle->trust_domain);
    free(bundle->jwks);
    free(bundle);
}

static int append_jwt_key(json_t *keys, const struct bundle_jwt_key *key, const char *use,
                          struct error *err)
{
    json_t *jwk = NULL;
    TRY(jwk_of_public_key(key->public_key, &jwk, err));
    (void)json_object_set_new(jwk, "kid", json_string(key->kid));
    if (use) {
        (void)json_object_set_new(jwk, "use", json_string(use));
    }
    (void)json_array_append_new(keys, jwk);
    return 0;
}

static char *format_json(const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT);
    if (!text) {
        abort(); /* only for lack of memory: all strings are UTF-8 */
    }
    return text;
}

static int format_jwks(struct bundle *bundle, struct error *err)
{
    _cleanup_(json_decrefp) json_t *document = json_object();
    json_t *keys = json_array();
    (void)json_object_set_new(document, "keys", keys);
    for (size_t i = 0; i < bundle->jwt_key_count; i++) {
        TRY(append_jwt_key(keys, &bundle->jwt_keys[i], NULL, err));
    }
    bundle->jwks = format_json(document);
    return 0;
}

static int check_parts(const struct bytes *authorities, size_t authority_count,
                       const struct bundle_jwt_key *jwt_keys, size_t jwt_key_count,
                       struct error *err)
{
    for (size_t i = 0; i < authority_count; i++) {
        _cleanup_(x509_cleanup) X509 *certificate = NULL;
        TRY(x509_parse(authorities[i], &certificate, err));
    }
    for (size_t i = 0; i < jwt_key_count; i++) {
        if (!jwt_keys[i].kid || jwt_keys[i].kid[0] == '\0') {
            return error_set(err, ERROR_INVALID_ARGUMENT,
                             "a JWT key of a trust bundle has no key ID");
        }
    }
    return 0;
}

int bundle_new(const char *trust_domain, uint64_t sequence, const struct bytes *authorities,
               size_t authority_count, const struct bundle_jwt_key *jwt_keys, size_t jwt_key_count,
               struct bundle **ret_bundle, struct error *err)
{
    TRY(check_parts(authorities, authority_count, jwt_keys, jwt_key_count, err));
    _cleanup_(bundle_unref_cleanup) struct bundle *bundle = NEW(struct bundle);
    atomic_init(&bundle->references, 1);
    bundle->trust_domain = memory_copy_text(trust_domain);
    bundle->sequence = sequence;
    bundle->authorities = memory_new_array(authority_count, sizeof(*bundle->authorities));
    bundle->authority_count = authority_count;
    for (size_t i = 0; i < authority_count; i++) {
        buffer_append(&bundle->authorities[i], authorities[i].data, authorities[i].size);
        buffer_append(&bundle->x509_der, authorities[i].data, authorities[i].size);
    }
    bundle->jwt_keys = memory_new_array(jwt_key_count, sizeof(*bundle->jwt_keys));
    bundle->jwt_key_count = jwt_key_count;
    for (size_t i = 0; i < jwt_key_count; i++) {
        bundle->jwt_keys[i].kid = memory_copy_text(jwt_keys[i].kid);
        (void)EVP_PKEY_up_ref(jwt_keys[i].public_key);
        bundle->jwt_keys[i].public_key = jwt_keys[i].public_key;
        bundle->jwt_keys[i].expires_at_s = jwt_keys[i].expires_at_s;
    }
    TRY(format_jwks(bundle, err));
    *ret_bundle = take_ptr(bundle);
    return 0;
}

/* SPIFFE Trust Domain and Bundle 4.2: an X.509 authority is a JWK whose x5c has the certificate
 * alone. */
static int append_authority(json_t *keys, struct bytes der, struct error *err)
{
    _cleanup_(x509_cleanup) X509 *certificate = NULL;
    json_t *jwk = NULL;
    TRY(x509_parse(der, &certificate, err));
    TRY(jwk_of_public_key(X509_get0_pubkey(certificate), &jwk, err));
    _cleanup_(free_cleanup) char *base64 = text_base64(der);
    (void)json_object_set_new(jwk, "use", json_string("x509-svid"));
    (void)json_object_set_new(jwk, "x5c", json_pack("[s]", base64));
    (void)json_array_append_new(keys, jwk);
    return 0;
}

char *bundle_format_spiffe(const struct bundle *bundle, uint64_t refresh_hint_s)
{
    _cleanup_(json_decrefp) json_t *document = json_object();
    json_t *keys = json_array();
    (void)json_object_set_new(document, "keys", keys);
    /* What does not fit a JWK (a key type that JOSE does not know) is left out, as nobody could
     * use it from there. */
    for (size_t i = 0; i < bundle->authority_count; i++) {
        (void)append_authority(keys, buffer_bytes(&bundle->authorities[i]), NULL);
    }
    for (size_t i = 0; i < bundle->jwt_key_count; i++) {
        (void)append_jwt_key(keys, &bundle->jwt_keys[i], "jwt-svid", NULL);
    }
    (void)json_object_set_new(document, "spiffe_sequence",
                              json_integer((json_int_t)bundle->sequence));
    if (refresh_hint_s > 0) {
        (void)json_object_set_new(document, "spiffe_refresh_hint",
                                  json_integer((json_int_t)refresh_hint_s));
    }
    return format_json(document);
}
