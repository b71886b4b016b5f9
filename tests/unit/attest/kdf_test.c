/* The derivations against their definitions, written down here a second time (TPM 2.0 Part 1
 * 11.4.10). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/hmac.h>
#include <string.h>

#include "attest/kdf.h"

static const uint8_t key[] = "key of some length";
static const uint8_t u[] = "party u";
static const uint8_t v[] = "party v, longer";

static const struct {
    const char *hash;
    size_t size;
    bool has_u, has_v;
} cases[] = {
    {"sha256", 16, true, false}, {"sha256", 32, false, false}, {"sha256", 48, true, true},
    {"sha384", 32, true, false}, {"sha384", 48, false, true},  {"sha384", 100, true, true},
    {"sha512", 32, true, false}, {"sha512", 64, false, false}, {"sha1", 45, true, true},
};

static struct bytes part(const uint8_t *bytes, size_t size, bool is_there)
{
    return is_there ? (struct bytes){bytes, size - 1} : (struct bytes){0};
}

static void append(struct buffer *buffer, struct bytes bytes)
{
    buffer_append(buffer, bytes.data, bytes.size);
}

static void kdf_a_is_as_defined(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct error err;
        uint8_t derived[128] = {0};
        const struct hash_algorithm *hash = hash_by_name(cases[i].hash);
        const struct bytes party_u = part(u, sizeof(u), cases[i].has_u);
        const struct bytes party_v = part(v, sizeof(v), cases[i].has_v);
        _cleanup_(buffer_clear) struct buffer expected = {0};
        for (uint32_t block = 1; expected.size < cases[i].size; block++) {
            uint8_t mac[HASH_MAX_BYTES];
            _cleanup_(buffer_clear) struct buffer input = {0};
            buffer_append_u32(&input, block);
            buffer_append(&input, "LABEL", sizeof("LABEL"));
            append(&input, party_u);
            append(&input, party_v);
            buffer_append_u32(&input, (uint32_t)cases[i].size * 8);
            assert_non_null(HMAC(hash->md(), key, sizeof(key), input.data, input.size, mac, NULL));
            buffer_append(&expected, mac, hash->size);
        }
        assert_int_equal(kdf_a(hash, (struct bytes){key, sizeof(key)}, "LABEL", party_u, party_v,
                               derived, cases[i].size, &err),
                         0);
        assert_memory_equal(derived, expected.data, cases[i].size);
        assert_int_equal(derived[cases[i].size], 0);
    }
}

static void kdf_e_is_as_defined(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct error err;
        uint8_t derived[128] = {0};
        const struct hash_algorithm *hash = hash_by_name(cases[i].hash);
        const struct bytes party_u = part(u, sizeof(u), cases[i].has_u);
        const struct bytes party_v = part(v, sizeof(v), cases[i].has_v);
        _cleanup_(buffer_clear) struct buffer expected = {0};
        for (uint8_t block = 1; expected.size < cases[i].size; block++) {
            uint8_t digest[HASH_MAX_BYTES];
            const uint8_t counter[] = {0, 0, 0, block};
            const struct bytes parts[] = {{counter, sizeof(counter)},
                                          {key, sizeof(key)},
                                          {(const uint8_t *)"LABEL", sizeof("LABEL")},
                                          party_u,
                                          party_v};
            assert_int_equal(hash_compute(hash, parts, ARRAY_SIZE(parts), digest, &err), 0);
            buffer_append(&expected, digest, hash->size);
        }
        assert_int_equal(kdf_e(hash, (struct bytes){key, sizeof(key)}, "LABEL", party_u, party_v,
                               derived, cases[i].size, &err),
                         0);
        assert_memory_equal(derived, expected.data, cases[i].size);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kdf_a_is_as_defined),
        cmocka_unit_test(kdf_e_is_as_defined),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
