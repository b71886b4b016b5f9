#include "agent/svid/jwt_validate.h"

#include <jose/jws.h>
#include <string.h>

#include "agent/issuer/jwk.h"
#include "agent/spiffe_id.h"
#include "agent/svid/jwt_parse.h"
#include "lib/base/memory.h"

enum { RSA_MIN_BITS = 2048 }; /* RFC 7518 3.3 */

static int fail(struct error *err, const char *reason)
{
    return error_set(err, ERROR_INVALID_ARGUMENT, "%s", reason);
}

static int find_subject(const struct bundle *bundle, const json_t *claims, const char **ret_subject,
                        struct error *err)
{
    const char *subject = json_string_value(json_object_get(claims, "sub"));
    if (!subject || *subject == '\0') {
        return fail(err, "token missing subject claim");
    }
    if (spiffe_id_check(subject, err) < 0) {
        (void)error_prepend(err, "token has an invalid subject claim");
        err->code = ERROR_INVALID_ARGUMENT;
        return -1;
    }
    if (!spiffe_id_is_in(subject, bundle->trust_domain)) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "no keys found for trust domain \"%.*s\"",
                         (int)spiffe_id_trust_domain_size(subject), subject + strlen("spiffe://"));
    }
    *ret_subject = subject;
    return 0;
}

static int find_key(const struct bundle *bundle, const char *kid, int64_t now_s,
                    const EVP_PKEY **ret_key, struct error *err)
{
    for (size_t i = 0; i < bundle->jwt_key_count; i++) {
        const struct bundle_jwt_key *key = &bundle->jwt_keys[i];
        bool has_expired = key->expires_at_s > 0 && now_s > key->expires_at_s + JWT_LEEWAY_S;
        if (!has_expired && strcmp(key->kid, kid) == 0) {
            *ret_key = key->public_key;
            return 0;
        }
    }
    return error_set(err, ERROR_INVALID_ARGUMENT,
                     "no JWT authority \"%s\" found for trust domain \"%s\"", kid,
                     bundle->trust_domain);
}

/* The token says how it was signed, but the key says what may be: an algorithm for another kind of
 * key or curve is refused before anything is verified. */
static int check_algorithm(const struct jwt *jwt, const EVP_PKEY *key, const json_t *jwk,
                           struct error *err)
{
    const struct jwt_algorithm *algorithm = jwt->algorithm;
    const char *key_type = json_string_value(json_object_get(jwk, "kty"));
    const char *curve = json_string_value(json_object_get(jwk, "crv"));
    bool is_same_curve = curve && algorithm->curve && strcmp(curve, algorithm->curve) == 0;
    bool is_same_type = key_type && strcmp(key_type, algorithm->key_type) == 0;
    if (!is_same_type || (algorithm->curve && !is_same_curve)) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "the token's algorithm %s does not fit the key \"%s\"", algorithm->name,
                         jwt->kid);
    }
    size_t expected = algorithm->signature_bytes;
    if (!algorithm->curve) {
        if (EVP_PKEY_get_bits(key) < RSA_MIN_BITS) {
            return error_set(err, ERROR_INVALID_ARGUMENT, "the RSA key \"%s\" is too short",
                             jwt->kid);
        }
        expected = ((size_t)EVP_PKEY_get_bits(key) + 7) / 8;
    }
    if (jwt->signature_bytes != expected) {
        return fail(err, "the token's signature is not valid");
    }
    return 0;
}

static int check_signature(const struct jwt *jwt, const EVP_PKEY *key, struct error *err)
{
    _cleanup_(json_decrefp) json_t *jwk = NULL;
    if (jwk_of_public_key(key, &jwk, err) < 0) {
        err->code = ERROR_INVALID_ARGUMENT;
        return -1;
    }
    TRY(check_algorithm(jwt, key, jwk, err));
    /* The key is good for the one algorithm of this token only. */
    (void)json_object_set_new(jwk, "alg", json_string(jwt->algorithm->name));
    _cleanup_(json_decrefp) json_t *jws =
        json_pack("{s:s%,s:s%,s:s%}", "protected", jwt->parts[0].data, jwt->parts[0].size,
                  "payload", jwt->parts[1].data, jwt->parts[1].size, "signature",
                  jwt->parts[2].data, jwt->parts[2].size);
    if (!jws || !jose_jws_ver(NULL, jws, NULL, jwk, false)) {
        return fail(err, "the token's signature is not valid");
    }
    return 0;
}

/* RFC 7519 4.1.4 to 4.1.6: a NumericDate may have a fraction. */
static int read_date(const json_t *claims, const char *name, double *ret_s, bool *ret_is_there,
                     struct error *err)
{
    const json_t *date = json_object_get(claims, name);
    *ret_is_there = date != NULL;
    if (date && !json_is_number(date)) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "the token's %s claim is not a number", name);
    }
    *ret_s = json_number_value(date);
    return 0;
}

static int check_dates(const json_t *claims, int64_t now_s, struct error *err)
{
    double expires = 0;
    double not_before = 0;
    double issued = 0;
    bool is_there = false;
    const double now = (double)now_s;
    const double leeway = (double)JWT_LEEWAY_S;
    TRY(read_date(claims, "exp", &expires, &is_there, err));
    if (!is_there) {
        return fail(err, "token missing exp claim");
    }
    if (now - leeway > expires) {
        return fail(err, "token has expired");
    }
    TRY(read_date(claims, "nbf", &not_before, &is_there, err));
    if (is_there && now + leeway < not_before) {
        return fail(err, "token is not valid yet");
    }
    TRY(read_date(claims, "iat", &issued, &is_there, err));
    if (is_there && now + leeway < issued) {
        return fail(err, "token was issued in the future");
    }
    return 0;
}

/* RFC 7519 4.1.3: one string or a list of them; a list from here on. */
static int normalize_audience(json_t *claims, const json_t **ret_list, struct error *err)
{
    json_t *audience = json_object_get(claims, "aud");
    if (json_is_string(audience)) {
        json_t *list = json_array();
        (void)json_array_append(list, audience);
        (void)json_object_set_new(claims, "aud", list);
        audience = list;
    }
    if (json_array_size(audience) == 0) {
        return fail(err, "token missing audience claim");
    }
    for (size_t i = 0; i < json_array_size(audience); i++) {
        if (!json_is_string(json_array_get(audience, i))) {
            return fail(err, "the token's audience claim is not a list of strings");
        }
    }
    *ret_list = audience;
    return 0;
}

static int check_audience(json_t *claims, const char *audience, struct error *err)
{
    const json_t *list = NULL;
    TRY(normalize_audience(claims, &list, err));
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (strcmp(json_string_value(json_array_get(list, i)), audience) == 0) {
            return 0;
        }
    }
    return error_set(err, ERROR_INVALID_ARGUMENT,
                     "expected audience in [\"%s\"] (audience=[\"%s\"%s])", audience,
                     json_string_value(json_array_get(list, 0)),
                     json_array_size(list) > 1 ? " and others" : "");
}

int jwt_svid_validate(const struct bundle *bundle, const char *token, const char *audience,
                      int64_t now_s, char **ret_spiffe_id, json_t **ret_claims, struct error *err)
{
    _cleanup_(jwt_clear) struct jwt jwt = {0};
    const EVP_PKEY *key = NULL;
    const char *subject = NULL;
    struct error reason; /* callers may want none */
    err = err ? err : &reason;
    if (*audience == '\0') {
        return fail(err, "audience must be specified");
    }
    TRY(jwt_parse(token, &jwt, err));
    TRY(find_subject(bundle, jwt.claims, &subject, err));
    TRY(find_key(bundle, jwt.kid, now_s, &key, err));
    TRY(check_signature(&jwt, key, err));
    TRY(check_dates(jwt.claims, now_s, err));
    TRY(check_audience(jwt.claims, audience, err));
    *ret_spiffe_id = memory_copy_text(subject);
    *ret_claims = take_ptr(jwt.claims);
    return 0;
}
