#include "tests/unit/cmocka_all.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <string.h>

#include "agent/svid/jwt_validate.h"
#include "lib/base/macro.h"
#include "lib/base/memory.h"

static const int64_t NOW_S = 1700000000;

/* One key for each that a bundle may have, and how it signs. */
enum { KEY_P256, KEY_P384, KEY_P521, KEY_RSA, KEY_RSA_SHORT, KEY_EXPIRED, KEY_STRANGER, KEY_COUNT };

struct bench {
    EVP_PKEY *keys[KEY_COUNT];
    struct bundle *bundle;
};

static const char *const kids[] = {"p256", "p384", "p521", "rsa", "short", "expired"};

static EVP_PKEY *make_key(int index)
{
    switch (index) {
    case KEY_P384:
        return EVP_EC_gen("P-384");
    case KEY_P521:
        return EVP_EC_gen("P-521");
    case KEY_RSA:
        return EVP_RSA_gen(2048);
    case KEY_RSA_SHORT:
        return EVP_RSA_gen(1024);
    default:
        return EVP_EC_gen("P-256");
    }
}

static int setup(void **state)
{
    struct bench *bench = NEW(struct bench);
    struct bundle_jwt_key jwt_keys[ARRAY_SIZE(kids)];
    struct error err;
    for (int i = 0; i < KEY_COUNT; i++) {
        bench->keys[i] = make_key(i);
        assert_non_null(bench->keys[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(kids); i++) {
        jwt_keys[i] = (struct bundle_jwt_key){(char *)kids[i], bench->keys[i],
                                              i == KEY_EXPIRED ? NOW_S - JWT_LEEWAY_S - 1 : 0};
    }
    assert_int_equal(
        bundle_new("example.org", 1, NULL, 0, jwt_keys, ARRAY_SIZE(jwt_keys), &bench->bundle, &err),
        0);
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    for (int i = 0; i < KEY_COUNT; i++) {
        EVP_PKEY_free(bench->keys[i]);
    }
    bundle_unref(bench->bundle);
    free(bench);
    return 0;
}

static char *encode(const char *text)
{
    return text_base64url(bytes_of_text(text));
}

/* r || s of ECDSA's DER (RFC 7518 3.4). */
static void to_raw(struct buffer *signature, int number_bytes)
{
    const uint8_t *der = signature->data;
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &der, (long)signature->size);
    assert_non_null(pair);
    struct buffer raw = {0};
    uint8_t *start = buffer_extend(&raw, 2 * (size_t)number_bytes);
    (void)BN_bn2binpad(ECDSA_SIG_get0_r(pair), start, number_bytes);
    (void)BN_bn2binpad(ECDSA_SIG_get0_s(pair), start + number_bytes, number_bytes);
    ECDSA_SIG_free(pair);
    buffer_clear(signature);
    *signature = raw;
}

static void sign(EVP_PKEY *key, const char *digest, bool is_pss, const char *input,
                 struct buffer *ret_signature)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_PKEY_CTX *key_context = NULL;
    size_t size = 0;
    assert_int_equal(EVP_DigestSignInit_ex(context, &key_context, digest, NULL, NULL, key, NULL),
                     1);
    if (is_pss) {
        assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(key_context, RSA_PKCS1_PSS_PADDING), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(key_context, RSA_PSS_SALTLEN_DIGEST), 1);
    }
    assert_int_equal(EVP_DigestSign(context, NULL, &size, (const uint8_t *)input, strlen(input)),
                     1);
    uint8_t *start = buffer_extend(ret_signature, size);
    size_t written = size;
    assert_int_equal(
        EVP_DigestSign(context, start, &written, (const uint8_t *)input, strlen(input)), 1);
    ret_signature->size -= size - written;
    EVP_MD_CTX_free(context);
    if (EVP_PKEY_is_a(key, "EC")) {
        to_raw(ret_signature, (EVP_PKEY_get_bits(key) + 7) / 8);
    }
}

static char *make_token(EVP_PKEY *key, const char *digest, bool is_pss, const char *header,
                        const char *claims)
{
    _cleanup_(free_cleanup) char *header_part = encode(header);
    _cleanup_(free_cleanup) char *claims_part = encode(claims);
    _cleanup_(free_cleanup) char *input = text_format("%s.%s", header_part, claims_part);
    _cleanup_(buffer_clear) struct buffer signature = {0};
    sign(key, digest, is_pss, input, &signature);
    _cleanup_(free_cleanup) char *signature_part = text_base64url(buffer_bytes(&signature));
    return text_format("%s.%s", input, signature_part);
}

static const char good_claims[] =
    "{\"sub\":\"spiffe://example.org/a\",\"aud\":[\"me\",\"you\"],\"exp\":1700000100,"
    "\"iat\":1699999990,\"other\":{\"x\":[1,2.5,null,true]}}";

/* NULL: valid. Else what the error says. */
static void check(const struct bench *bench, const char *token, const char *audience,
                  const char *reason)
{
    char *spiffe_id = NULL;
    json_t *claims = NULL;
    struct error err = {0};
    int result =
        jwt_svid_validate(bench->bundle, token, audience, NOW_S, &spiffe_id, &claims, &err);
    if (reason) {
        assert_int_equal(result, -1);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        if (!strstr(err.text, reason)) {
            fail_msg("\"%s\" is not in \"%s\"", reason, err.text);
        }
        assert_null(spiffe_id);
        assert_null(claims);
        assert_int_equal(
            jwt_svid_validate(bench->bundle, token, audience, NOW_S, &spiffe_id, &claims, NULL),
            -1);
        return;
    }
    if (result < 0) {
        fail_msg("%s", err.text);
    }
    assert_non_null(spiffe_id);
    assert_true(json_is_array(json_object_get(claims, "aud")));
    json_decref(claims);
    free(spiffe_id);
}

static void every_algorithm_with_the_key_that_fits_and_no_other(void **state)
{
    static const struct {
        const char *name, *digest;
        bool is_pss;
        int key;
    } algorithms[] = {
        {"ES256", "SHA256", false, KEY_P256}, {"ES384", "SHA384", false, KEY_P384},
        {"ES512", "SHA512", false, KEY_P521}, {"RS256", "SHA256", false, KEY_RSA},
        {"RS384", "SHA384", false, KEY_RSA},  {"RS512", "SHA512", false, KEY_RSA},
        {"PS256", "SHA256", true, KEY_RSA},   {"PS384", "SHA384", true, KEY_RSA},
        {"PS512", "SHA512", true, KEY_RSA},
    };
    const struct bench *bench = *state;
    for (size_t i = 0; i < ARRAY_SIZE(algorithms); i++) {
        for (size_t claimed = 0; claimed < ARRAY_SIZE(algorithms); claimed++) {
            for (int key = KEY_P256; key <= KEY_RSA; key++) {
                _cleanup_(free_cleanup) char *header =
                    text_format("{\"alg\":\"%s\",\"kid\":\"%s\",\"typ\":\"JWT\"}",
                                algorithms[claimed].name, kids[key]);
                _cleanup_(free_cleanup) char *token =
                    make_token(bench->keys[algorithms[i].key], algorithms[i].digest,
                               algorithms[i].is_pss, header, good_claims);
                bool is_valid = claimed == i && key == algorithms[i].key;
                bool is_fitting = algorithms[claimed].key == key;
                check(bench, token, "me",
                      is_valid     ? NULL
                      : is_fitting ? "signature is not valid"
                                   : "does not fit the key");
            }
        }
    }
}

static void headers(void **state)
{
    static const struct {
        const char *header, *reason;
    } table[] = {
        {"{\"alg\":\"ES256\",\"kid\":\"p256\"}", NULL},
        {"{\"alg\":\"ES256\",\"kid\":\"p256\",\"typ\":\"JOSE\"}", NULL},
        {"{\"kid\":\"p256\",\"jku\":\"https://evil.example\",\"alg\":\"ES256\"}", NULL},
        {" {\"alg\" : \"ES256\", \"kid\" : \"p256\"} ", NULL},
        {"{\"alg\":\"none\",\"kid\":\"p256\"}", "algorithm \"none\""},
        {"{\"alg\":\"None\",\"kid\":\"p256\"}", "algorithm \"None\""},
        {"{\"alg\":\"\",\"kid\":\"p256\"}", "algorithm \"\""},
        {"{\"kid\":\"p256\"}", "algorithm \"\""},
        {"{\"alg\":null,\"kid\":\"p256\"}", "algorithm \"\""},
        {"{\"alg\":[\"ES256\"],\"kid\":\"p256\"}", "algorithm \"\""},
        {"{\"alg\":\"HS256\",\"kid\":\"p256\"}", "algorithm \"HS256\""},
        {"{\"alg\":\"HS512\",\"kid\":\"rsa\"}", "algorithm \"HS512\""},
        {"{\"alg\":\"EdDSA\",\"kid\":\"p256\"}", "algorithm \"EdDSA\""},
        {"{\"alg\":\"ES256K\",\"kid\":\"p256\"}", "algorithm \"ES256K\""},
        {"{\"alg\":\"es256\",\"kid\":\"p256\"}", "algorithm \"es256\""},
        {"{\"alg\":\"ES256 \",\"kid\":\"p256\"}", "algorithm \"ES256 \""},
        {"{\"alg\":\"dir\",\"enc\":\"A128GCM\",\"kid\":\"p256\"}", "algorithm \"dir\""},
        {"{\"alg\":\"ES256\"}", "token missing key id"},
        {"{\"alg\":\"ES256\",\"kid\":\"\"}", "token missing key id"},
        {"{\"alg\":\"ES256\",\"kid\":7}", "token missing key id"},
        {"{\"alg\":\"ES256\",\"kid\":\"p25\"}", "no JWT authority \"p25\" found"},
        {"{\"alg\":\"ES256\",\"kid\":\"P256\"}", "no JWT authority"},
        {"{\"alg\":\"ES256\",\"kid\":\"expired\"}", "no JWT authority"},
        {"{\"alg\":\"ES256\",\"kid\":\"p256\",\"typ\":\"jwt\"}", "typ"},
        {"{\"alg\":\"ES256\",\"kid\":\"p256\",\"typ\":\"at+jwt\"}", "typ"},
        {"{\"alg\":\"ES256\",\"kid\":\"p256\",\"typ\":null}", "typ"},
        {"{\"alg\":\"ES256\",\"kid\":\"p256\",\"typ\":\"\"}", "typ"},
        {"{\"alg\":\"ES256\",\"kid\":\"p256\",\"crit\":[\"b64\"],\"b64\":false}", "critical"},
        {"{\"alg\":\"ES256\",\"kid\":\"p256\",\"crit\":[\"exp\"],\"exp\":1}", "critical"},
        {"{\"alg\":\"ES256\",\"kid\":\"p256\",\"crit\":[]}", "critical"},
        {"{\"alg\":\"ES256\",\"kid\":\"p256\",\"crit\":null}", "critical"},
        {"{\"alg\":\"none\",\"alg\":\"ES256\",\"kid\":\"p256\"}", "duplicate"},
        {"{\"alg\":\"ES256\",\"kid\":\"p256\",\"kid\":\"rsa\"}", "duplicate"},
        {"{\"alg\":\"ES256\",\"kid\":\"p256\"", "header is not a JSON object"},
        {"{\"alg\":\"ES256\",\"kid\":\"p256\"}x", "header is not a JSON object"},
        {"{\"alg\":\"ES256\",\"kid\":\"p256\\u0000x\"}", "header is not a JSON object"},
        {"{\"alg\":\"ES256\",\"kid\":\"\xff\"}", "header is not a JSON object"},
        {"[\"ES256\"]", "header is not a JSON object"},
        {"\"ES256\"", "header is not a JSON object"},
        {"7", "header is not a JSON object"},
    };
    const struct bench *bench = *state;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        _cleanup_(free_cleanup) char *token =
            make_token(bench->keys[KEY_P256], "SHA256", false, table[i].header, good_claims);
        check(bench, token, "me", table[i].reason);
    }
}

#define SUB "\"sub\":\"spiffe://example.org/a\","
#define AUD "\"aud\":\"me\","

static void claims(void **state)
{
    static const struct {
        const char *claims, *reason;
    } table[] = {
        {"{" SUB AUD "\"exp\":1700000100}", NULL},
        {"{" SUB "\"aud\":[\"x\",\"me\"],\"exp\":1700000100.5}", NULL},
        {"{" SUB AUD "\"exp\":1.7000001e9}", NULL},
        {"{" SUB AUD "\"exp\":1699999940}", NULL}, /* the leeway to the second */
        {"{" SUB AUD "\"exp\":1699999939}", "token has expired"},
        {"{" SUB AUD "\"exp\":1699999939.99}", "token has expired"},
        {"{" SUB AUD "\"exp\":0}", "token has expired"},
        {"{" SUB AUD "\"exp\":-1}", "token has expired"},
        {"{" SUB AUD "\"exp\":1e300}", NULL},
        {"{" SUB AUD "\"exp\":1e999}", "payload is not a JSON object"},
        {"{" SUB AUD "\"exp\":99999999999999999999}", "payload is not a JSON object"},
        {"{" SUB AUD "\"exp\":NaN}", "payload is not a JSON object"},
        {"{" SUB AUD "\"exp\":\"1700000100\"}", "exp claim is not a number"},
        {"{" SUB AUD "\"exp\":null}", "exp claim is not a number"},
        {"{" SUB AUD "\"exp\":[1700000100]}", "exp claim is not a number"},
        {"{" SUB AUD "\"iat\":1700000000}", "token missing exp claim"},
        {"{" SUB AUD "\"exp\":1700000100,\"nbf\":1700000060}", NULL},
        {"{" SUB AUD "\"exp\":1700000100,\"nbf\":1700000061}", "not valid yet"},
        {"{" SUB AUD "\"exp\":1700000100,\"nbf\":\"0\"}", "nbf claim is not a number"},
        {"{" SUB AUD "\"exp\":1700000100,\"iat\":1700000060.0}", NULL},
        {"{" SUB AUD "\"exp\":1700000100,\"iat\":1700000060.5}", "issued in the future"},
        {"{" SUB AUD "\"exp\":1700000100,\"iat\":true}", "iat claim is not a number"},
        {"{" SUB "\"aud\":\"you\",\"exp\":1700000100}", "expected audience in [\"me\"]"},
        {"{" SUB "\"aud\":\"ME\",\"exp\":1700000100}", "expected audience"},
        {"{" SUB "\"aud\":\"me \",\"exp\":1700000100}", "expected audience"},
        {"{" SUB "\"aud\":[\"a\",\"b\"],\"exp\":1700000100}", "expected audience"},
        {"{" SUB "\"aud\":[],\"exp\":1700000100}", "missing audience"},
        {"{" SUB "\"aud\":null,\"exp\":1700000100}", "missing audience"},
        {"{" SUB "\"aud\":{\"me\":1},\"exp\":1700000100}", "missing audience"},
        {"{" SUB "\"aud\":[\"me\",7],\"exp\":1700000100}", "not a list of strings"},
        {"{" SUB "\"aud\":[[\"me\"]],\"exp\":1700000100}", "not a list of strings"},
        {"{" SUB "\"exp\":1700000100}", "missing audience"},
        {"{" AUD "\"exp\":1700000100}", "token missing subject claim"},
        {"{\"sub\":\"\"," AUD "\"exp\":1700000100}", "token missing subject claim"},
        {"{\"sub\":7," AUD "\"exp\":1700000100}", "token missing subject claim"},
        {"{\"sub\":[\"spiffe://example.org/a\"]," AUD "\"exp\":1700000100}",
         "token missing subject claim"},
        {"{\"sub\":\"example.org/a\"," AUD "\"exp\":1700000100}",
         "token has an invalid subject claim"},
        {"{\"sub\":\"https://example.org/a\"," AUD "\"exp\":1700000100}",
         "token has an invalid subject claim"},
        {"{\"sub\":\"spiffe://example.org/a/\"," AUD "\"exp\":1700000100}",
         "token has an invalid subject claim"},
        {"{\"sub\":\"spiffe://example.org/../a\"," AUD "\"exp\":1700000100}",
         "token has an invalid subject claim"},
        {"{\"sub\":\"spiffe://example.org/a?b\"," AUD "\"exp\":1700000100}",
         "token has an invalid subject claim"},
        {"{\"sub\":\"spiffe://Example.org/a\"," AUD "\"exp\":1700000100}",
         "token has an invalid subject claim"},
        {"{\"sub\":\"spiffe://evil.org/a\"," AUD "\"exp\":1700000100}",
         "no keys found for trust domain \"evil.org\""},
        {"{\"sub\":\"spiffe://example.org.evil/a\"," AUD "\"exp\":1700000100}",
         "no keys found for trust domain \"example.org.evil\""},
        {"{\"sub\":\"spiffe://example.orgx/a\"," AUD "\"exp\":1700000100}", "no keys found"},
        {"{\"sub\":\"spiffe://evil.org/a\"," SUB AUD "\"exp\":1700000100}", "duplicate"},
        {"{" SUB AUD "\"exp\":1700000100,\"exp\":1}", "duplicate"},
        {"{" SUB AUD "\"exp\":1700000100,\"x\":{\"y\":1,\"y\":2}}", "duplicate"},
        {"{" SUB AUD "\"exp\":1700000100", "payload is not a JSON object"},
        {"{" SUB AUD "\"exp\":1700000100}{}", "payload is not a JSON object"},
        {"{" SUB AUD "\"exp\":1700000100,\"x\":\"\\ud800\"}", "payload is not a JSON object"},
        {"{" SUB AUD "\"exp\":1700000100,}", "payload is not a JSON object"},
        {"[{" SUB AUD "\"exp\":1700000100}]", "payload is not a JSON object"},
        {"null", "payload is not a JSON object"},
        {"{" SUB AUD "\"exp\":1700000100,\"x\":\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"}",
         NULL},
        {"{" SUB AUD "\"exp\":1700000100,\"x\":\"\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"}",
         NULL},
        {"{" SUB AUD "\"exp\":1700000100,\"x\":"
         "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}",
         "nested too deep"},
    };
    const struct bench *bench = *state;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        _cleanup_(free_cleanup) char *token =
            make_token(bench->keys[KEY_P256], "SHA256", false,
                       "{\"alg\":\"ES256\",\"kid\":\"p256\"}", table[i].claims);
        check(bench, token, "me", table[i].reason);
    }
}

static char *good_token(const struct bench *bench)
{
    return make_token(bench->keys[KEY_P256], "SHA256", false,
                      "{\"alg\":\"ES256\",\"kid\":\"p256\",\"typ\":\"JWT\"}", good_claims);
}

static void gives_all_claims(void **state)
{
    const struct bench *bench = *state;
    _cleanup_(free_cleanup) char *token =
        make_token(bench->keys[KEY_P256], "SHA256", false, "{\"alg\":\"ES256\",\"kid\":\"p256\"}",
                   "{" SUB AUD "\"exp\":1700000100,\"x\":{\"y\":[1]}}");
    _cleanup_(free_cleanup) char *spiffe_id = NULL;
    _cleanup_(json_decrefp) json_t *found = NULL;
    struct error err;
    assert_int_equal(jwt_svid_validate(bench->bundle, token, "me", NOW_S, &spiffe_id, &found, &err),
                     0);
    assert_string_equal(spiffe_id, "spiffe://example.org/a");
    _cleanup_(free_cleanup) char *text = json_dumps(found, JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(text, "{\"aud\":[\"me\"],\"exp\":1700000100,"
                              "\"sub\":\"spiffe://example.org/a\",\"x\":{\"y\":[1]}}");
}

static void no_byte_of_a_token_can_change(void **state)
{
    const struct bench *bench = *state;
    _cleanup_(free_cleanup) char *token = good_token(bench);
    check(bench, token, "me", NULL);
    for (size_t i = 0; token[i]; i++) {
        char before = token[i];
        for (const char *c = "AQgw_-.=+ "; *c; c++) {
            if (*c == before) {
                continue;
            }
            token[i] = *c;
            check(bench, token, "me", "");
        }
        token[i] = before;
    }
    check(bench, token, "me", NULL);
}

/* The shape with each of 1, 2 and 3 replaced by that part of a token. */
static char *fill_in(const char *shape, const char *const parts[3])
{
    struct buffer made = {0};
    for (; *shape; shape++) {
        if (*shape >= '1' && *shape <= '3') {
            buffer_append_text(&made, parts[*shape - '1']);
        } else {
            buffer_append_u8(&made, (uint8_t)*shape);
        }
    }
    buffer_append_u8(&made, 0);
    return (char *)made.data;
}

static void forms(void **state)
{
    static const struct {
        const char *shape, *reason;
    } table[] = {
        {"1.2.3", NULL},
        {"1.2.3.", "three parts"},
        {".1.2.3", "three parts"},
        {"1.2", "three parts"},
        {"1.2.", "three parts"},
        {"1..3", "three parts"},
        {".2.3", "three parts"},
        {"1.2.3.1.2", "three parts"},
        {"1", "three parts"},
        {"..", "three parts"},
        {"", "three parts"},
        {"1=.2.3", "header is not base64url"},
        {"1.2=.3", "payload is not base64url"},
        {"1.2.3==", "signature is not base64url"},
        {"1.2.3A", "not valid"},
        {" 1.2.3", "header is not base64url"},
        {"1.2.3\n", "signature is not base64url"},
        {"1.2.3 ", "signature is not base64url"},
        {"2.1.3", "algorithm"},
        {"1.1.3", "subject"},
        {"{\"payload\":\"2\",\"protected\":\"1\",\"signature\":\"3\"}", "three parts"},
        {"1.2.33", "not valid"},
    };
    const struct bench *bench = *state;
    _cleanup_(free_cleanup) char *token = good_token(bench);
    char *second = strchr(token, '.');
    *second++ = '\0';
    char *third = strchr(second, '.');
    *third++ = '\0';
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        const char *const parts[] = {token, second, third};
        _cleanup_(free_cleanup) char *made = fill_in(table[i].shape, parts);
        const char *reason = table[i].reason;
        if (reason && strcmp(reason, "not valid") == 0) {
            reason = ""; /* by its size or by its end, as the encoding happens to fall */
        }
        check(bench, made, "me", reason);
    }
}

static void signatures_of_strangers_and_empty_ones(void **state)
{
    const struct bench *bench = *state;
    static const char header[] = "{\"alg\":\"ES256\",\"kid\":\"p256\"}";
    _cleanup_(free_cleanup) char *stranger =
        make_token(bench->keys[KEY_STRANGER], "SHA256", false, header, good_claims);
    check(bench, stranger, "me", "signature is not valid");
    _cleanup_(free_cleanup) char *header_part = encode(header);
    _cleanup_(free_cleanup) char *claims_part = encode(good_claims);
    /* Zeroes pass a careless ECDSA (CVE-2022-21449). */
    static const uint8_t zeroes[64];
    _cleanup_(free_cleanup) char *zero_part = text_base64url((struct bytes){zeroes, 64});
    _cleanup_(free_cleanup) char *zero =
        text_format("%s.%s.%s", header_part, claims_part, zero_part);
    check(bench, zero, "me", "signature is not valid");
    /* ECDSA as DER is no JWS signature. */
    _cleanup_(free_cleanup) char *short_header =
        make_token(bench->keys[KEY_RSA_SHORT], "SHA256", false,
                   "{\"alg\":\"RS256\",\"kid\":\"short\"}", good_claims);
    check(bench, short_header, "me", "too short");
}

/* The public key of the bundle as an HMAC secret: the classic confusion. */
static void a_public_key_is_no_hmac_secret(void **state)
{
    const struct bench *bench = *state;
    uint8_t *der = NULL;
    int der_size = i2d_PUBKEY(bench->keys[KEY_RSA], &der);
    assert_true(der_size > 0);
    EVP_PKEY *secret = EVP_PKEY_new_raw_private_key(EVP_PKEY_HMAC, NULL, der, (size_t)der_size);
    _cleanup_(free_cleanup) char *token =
        make_token(secret, "SHA256", false, "{\"alg\":\"HS256\",\"kid\":\"rsa\"}", good_claims);
    check(bench, token, "me", "algorithm \"HS256\"");
    EVP_PKEY_free(secret);
    OPENSSL_free(der);
}

static void sizes(void **state)
{
    const struct bench *bench = *state;
    static const struct {
        size_t padding;
        const char *reason;
    } table[] = {{1000, NULL}, {48000, NULL}, {49500, "longer than"}, {5000000, "longer than"}};
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        char *padding = memory_new(table[i].padding + 1);
        memset(padding, 'x', table[i].padding);
        char *text = text_format("{" SUB AUD "\"exp\":1700000100,\"x\":\"%s\"}", padding);
        char *token = make_token(bench->keys[KEY_P256], "SHA256", false,
                                 "{\"alg\":\"ES256\",\"kid\":\"p256\"}", text);
        check(bench, token, "me", table[i].reason);
        free(token);
        free(text);
        free(padding);
    }
    check(bench, "a.b.c", "", "audience must be specified");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_algorithm_with_the_key_that_fits_and_no_other),
        cmocka_unit_test(headers),
        cmocka_unit_test(claims),
        cmocka_unit_test(gives_all_claims),
        cmocka_unit_test(no_byte_of_a_token_can_change),
        cmocka_unit_test(forms),
        cmocka_unit_test(signatures_of_strangers_and_empty_ones),
        cmocka_unit_test(a_public_key_is_no_hmac_secret),
        cmocka_unit_test(sizes),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
