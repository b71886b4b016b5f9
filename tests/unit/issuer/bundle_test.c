#include "tests/unit/cmocka_all.h"

#include <jansson.h>
#include <openssl/core_names.h>
#include <openssl/x509.h>
#include <string.h>

#include "agent/issuer/bundle.h"
#include "agent/issuer/x509.h"
#include "lib/base/memory.h"
#include "lib/base/text.h"

DEFINE_CLEANUP(EVP_PKEY, evp_pkey, EVP_PKEY_free);
DEFINE_CLEANUP(BIGNUM, bignum, BN_free);

static EVP_PKEY *make_key(size_t kind)
{
    static const char *const curves[] = {"P-256", "P-384", "P-521"};
    return kind < 3 ? EVP_EC_gen(curves[kind]) : EVP_RSA_gen(2048);
}

static void make_ca(EVP_PKEY *key, enum key_type type, struct buffer *ret_der)
{
    struct error failure;
    const struct x509_ca_template template = {
        .trust_domain = "example.org", .key = key, .key_type = type, .expires_at_s = 1800000000};
    assert_int_equal(x509_make_ca(&template, ret_der, &failure), 0);
}

static const char *member(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

/* The member is this number of the key, in exactly size bytes (0: without leading zeros). */
static void check_number(const json_t *jwk, const char *name, EVP_PKEY *key, const char *parameter,
                         size_t size)
{
    struct error failure;
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    _cleanup_(bignum_cleanup) BIGNUM *expected = NULL;
    const char *text = member(jwk, name);
    assert_non_null(text);
    assert_int_equal(text_base64url_decode(text, strlen(text), &bytes, &failure), 0);
    assert_int_equal(EVP_PKEY_get_bn_param(key, parameter, &expected), 1);
    assert_int_equal(bytes.size, size ? size : (size_t)BN_num_bytes(expected));
    _cleanup_(bignum_cleanup) BIGNUM *number = BN_bin2bn(bytes.data, (int)bytes.size, NULL);
    assert_int_equal(BN_cmp(number, expected), 0);
}

static void check_key(const json_t *jwk, EVP_PKEY *key, size_t kind)
{
    static const struct {
        const char *curve;
        size_t size;
    } curves[] = {{"P-256", 32}, {"P-384", 48}, {"P-521", 66}};
    if (kind < 3) {
        assert_string_equal(member(jwk, "kty"), "EC");
        assert_string_equal(member(jwk, "crv"), curves[kind].curve);
        check_number(jwk, "x", key, OSSL_PKEY_PARAM_EC_PUB_X, curves[kind].size);
        check_number(jwk, "y", key, OSSL_PKEY_PARAM_EC_PUB_Y, curves[kind].size);
    } else {
        assert_string_equal(member(jwk, "kty"), "RSA");
        check_number(jwk, "n", key, OSSL_PKEY_PARAM_RSA_N, 0);
        check_number(jwk, "e", key, OSSL_PKEY_PARAM_RSA_E, 0);
    }
    assert_null(json_object_get(jwk, "d"));
}

enum { KINDS = 4 };

static void test_formats(void **state)
{
    (void)state;
    struct error failure;
    EVP_PKEY *keys[KINDS];
    struct bundle_jwt_key jwt_keys[KINDS];
    char kids[KINDS][8];
    struct buffer cas[2] = {0};
    for (size_t i = 0; i < KINDS; i++) {
        keys[i] = make_key(i);
        (void)snprintf(kids[i], sizeof(kids[i]), "kid%zu", i);
        jwt_keys[i] = (struct bundle_jwt_key){kids[i], keys[i], 1800000000};
    }
    make_ca(keys[0], KEY_TYPE_EC_P256, &cas[0]);
    make_ca(keys[3], KEY_TYPE_RSA_2048, &cas[1]);
    const struct bytes authorities[] = {buffer_bytes(&cas[0]), buffer_bytes(&cas[1])};
    _cleanup_(bundle_unref_cleanup) struct bundle *bundle = NULL;
    assert_int_equal(
        bundle_new("example.org", 7, authorities, 2, jwt_keys, KINDS, &bundle, &failure), 0);
    /* As the Workload API sends it: one certificate right after the other. */
    assert_int_equal(bundle->x509_der.size, cas[0].size + cas[1].size);
    assert_memory_equal(bundle->x509_der.data, cas[0].data, cas[0].size);
    assert_memory_equal(bundle->x509_der.data + cas[0].size, cas[1].data, cas[1].size);

    json_t *jwks = json_loads(bundle->jwks, 0, NULL);
    json_t *list = json_object_get(jwks, "keys");
    assert_int_equal(json_object_size(jwks), 1);
    assert_int_equal(json_array_size(list), KINDS);
    for (size_t i = 0; i < KINDS; i++) {
        const json_t *jwk = json_array_get(list, i);
        assert_string_equal(member(jwk, "kid"), kids[i]);
        assert_null(json_object_get(jwk, "use"));
        check_key(jwk, keys[i], i);
    }
    json_decref(jwks);

    _cleanup_(free_cleanup) char *text = bundle_format_spiffe(bundle, 300);
    json_t *document = json_loads(text, 0, NULL);
    list = json_object_get(document, "keys");
    assert_int_equal(json_array_size(list), 2 + KINDS);
    assert_int_equal(json_integer_value(json_object_get(document, "spiffe_sequence")), 7);
    assert_int_equal(json_integer_value(json_object_get(document, "spiffe_refresh_hint")), 300);
    for (size_t i = 0; i < 2 + KINDS; i++) {
        const json_t *jwk = json_array_get(list, i);
        assert_string_equal(member(jwk, "use"), i < 2 ? "x509-svid" : "jwt-svid");
        if (i < 2) {
            _cleanup_(free_cleanup) char *base64 = text_base64(authorities[i]);
            const json_t *chain = json_object_get(jwk, "x5c");
            assert_int_equal(json_array_size(chain), 1);
            assert_string_equal(json_string_value(json_array_get(chain, 0)), base64);
            check_key(jwk, i == 0 ? keys[0] : keys[3], i == 0 ? 0 : 3);
        } else {
            assert_string_equal(member(jwk, "kid"), kids[i - 2]);
        }
    }
    json_decref(document);
    for (size_t i = 0; i < KINDS; i++) {
        EVP_PKEY_free(keys[i]);
    }
    buffer_clear(&cas[0]);
    buffer_clear(&cas[1]);
}

static void test_empty_and_bad(void **state)
{
    (void)state;
    struct error failure;
    _cleanup_(bundle_unref_cleanup) struct bundle *bundle = NULL;
    assert_int_equal(bundle_new("example.org", 0, NULL, 0, NULL, 0, &bundle, &failure), 0);
    assert_string_equal(bundle->jwks, "{\"keys\":[]}");
    _cleanup_(free_cleanup) char *text = bundle_format_spiffe(bundle, 0);
    assert_string_equal(text, "{\"keys\":[],\"spiffe_sequence\":0}");
    struct bundle *other = NULL;
    const struct bytes garbage = bytes_of_text("no certificate");
    assert_int_equal(bundle_new("example.org", 1, &garbage, 1, NULL, 0, &other, &failure), -1);
    _cleanup_(evp_pkey_cleanup) EVP_PKEY *key = make_key(0);
    char empty[] = "";
    const struct bundle_jwt_key nameless = {empty, key, 0};
    assert_int_equal(bundle_new("example.org", 1, NULL, 0, &nameless, 1, &other, &failure), -1);
    _cleanup_(evp_pkey_cleanup) EVP_PKEY *edwards = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    char kid[] = "kid";
    const struct bundle_jwt_key unknown = {kid, edwards, 0};
    assert_int_equal(bundle_new("example.org", 1, NULL, 0, &unknown, 1, &other, &failure), -1);
    assert_int_equal(failure.code, ERROR_UNIMPLEMENTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_empty_and_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
