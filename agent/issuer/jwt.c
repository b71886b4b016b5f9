#include "agent/issuer/jwt.h"

#include <jansson.h>
#include <openssl/ecdsa.h>
#include <openssl/rand.h>
#include <string.h>

#include "agent/issuer/x509.h"
#include "lib/base/memory.h"

DEFINE_CLEANUP(EVP_MD_CTX, evp_md_ctx, EVP_MD_CTX_free);
DEFINE_CLEANUP(ECDSA_SIG, ecdsa_sig, ECDSA_SIG_free);

/* RFC 7518 3.1. */
static const struct {
    const char *name;
    int coordinate_bytes; /* 0: not ECDSA */
} algorithms[KEY_TYPE_COUNT] = {
    [KEY_TYPE_EC_P256] = {"ES256", 32},
    [KEY_TYPE_EC_P384] = {"ES384", 48},
    [KEY_TYPE_RSA_2048] = {"RS256", 0},
};

int jwt_audience_check(const struct text_list *audience, struct error *err)
{
    if (audience->count == 0 || audience->count > JWT_AUDIENCES_MAX) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "a JWT-SVID needs 1 to %d audiences; %zu were given", JWT_AUDIENCES_MAX,
                         audience->count);
    }
    for (size_t i = 0; i < audience->count; i++) {
        struct bytes item = bytes_of_text(audience->items[i]);
        if (item.size == 0 || item.size > JWT_AUDIENCE_MAX_BYTES || !text_is_utf8(item)) {
            return error_set(err, ERROR_INVALID_ARGUMENT,
                             "an audience of a JWT-SVID must be 1 to %d bytes of UTF-8",
                             JWT_AUDIENCE_MAX_BYTES);
        }
    }
    return 0;
}

/* Takes the value. */
static void append_encoded(struct buffer *token, json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT);
    if (!text) {
        abort(); /* only for lack of memory: all strings are UTF-8 */
    }
    _cleanup_(free_cleanup) char *encoded = text_base64url(bytes_of_text(text));
    buffer_append_text(token, encoded);
    free(text);
    json_decref(value);
}

static json_t *make_claims(const struct jwt_template *template, const char *id)
{
    json_t *audience = json_array();
    for (size_t i = 0; i < template->audience->count; i++) {
        (void)json_array_append_new(audience, json_string(template->audience->items[i]));
    }
    return json_pack("{s:s, s:o, s:I, s:I, s:s}", "sub", template->spiffe_id, "aud", audience,
                     "exp", (json_int_t) template->expires_at_s, "iat",
                     (json_int_t) template->issued_at_s, "jti", id);
}

/* RFC 7518 3.4: r and s as two numbers of fixed size instead of DER. */
static int ecdsa_to_raw(struct buffer *signature, int coordinate_bytes, struct error *err)
{
    const uint8_t *data = signature->data;
    _cleanup_(ecdsa_sig_cleanup) ECDSA_SIG *parsed =
        d2i_ECDSA_SIG(NULL, &data, (long)signature->size);
    uint8_t raw[2 * 48];
    if (!parsed || BN_bn2binpad(ECDSA_SIG_get0_r(parsed), raw, coordinate_bytes) < 0 ||
        BN_bn2binpad(ECDSA_SIG_get0_s(parsed), raw + coordinate_bytes, coordinate_bytes) < 0) {
        return error_set_openssl(err, ERROR_INTERNAL, "encoding a JWT-SVID's signature");
    }
    buffer_reset(signature);
    buffer_append(signature, raw, 2 * (size_t)coordinate_bytes);
    return 0;
}

static int sign(const struct jwt_template *template, struct bytes input, struct buffer *signature,
                struct error *err)
{
    _cleanup_(evp_md_ctx_cleanup) EVP_MD_CTX *context = EVP_MD_CTX_new();
    size_t size = 0;
    if (!context ||
        EVP_DigestSignInit(context, NULL, x509_digest(template->key_type), NULL, template->key) !=
            1 ||
        EVP_DigestSignUpdate(context, input.data, input.size) != 1 ||
        EVP_DigestSignFinal(context, NULL, &size) != 1) {
        return error_set_openssl(err, ERROR_UNAVAILABLE, "preparing to sign a JWT-SVID");
    }
    if (EVP_DigestSignFinal(context, buffer_extend(signature, size), &size) != 1) {
        return error_set_openssl(err, ERROR_UNAVAILABLE, "signing a JWT-SVID");
    }
    signature->size = size;
    int coordinate_bytes = algorithms[template->key_type].coordinate_bytes;
    return coordinate_bytes ? ecdsa_to_raw(signature, coordinate_bytes, err) : 0;
}

int jwt_make_svid(const struct jwt_template *template, char **ret_token, char **ret_id,
                  struct error *err)
{
    uint8_t id[JWT_ID_BYTES];
    _cleanup_(buffer_clear) struct buffer token = {0};
    _cleanup_(buffer_clear) struct buffer signature = {0};
    if (RAND_bytes(id, sizeof(id)) != 1) {
        return error_set_openssl(err, ERROR_INTERNAL, "drawing a random token ID");
    }
    _cleanup_(free_cleanup) char *id_hex = text_hex((struct bytes){id, sizeof(id)});
    append_encoded(&token, json_pack("{s:s, s:s, s:s}", "alg", algorithms[template->key_type].name,
                                     "kid", template->kid, "typ", "JWT"));
    buffer_append_u8(&token, '.');
    append_encoded(&token, make_claims(template, id_hex));
    TRY(sign(template, buffer_bytes(&token), &signature, err));
    _cleanup_(free_cleanup) char *encoded = text_base64url(buffer_bytes(&signature));
    buffer_append_u8(&token, '.');
    buffer_append_text(&token, encoded);
    buffer_append_u8(&token, '\0');
    *ret_token = (char *)take_ptr(token.data);
    token = (struct buffer){0};
    *ret_id = take_ptr(id_hex);
    return 0;
}
