#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "attest/hash.h"
#include "lib/base/memory.h"
#include "lib/base/text.h"

/* Of "abc" (FIPS 180-4, NIST's examples). */
static const struct {
    TPM2_ALG_ID id;
    const char *name, *digest;
} known[] = {
    {TPM2_ALG_SHA1, "sha1", "a9993e364706816aba3e25717850c26c9cd0d89d"},
    {TPM2_ALG_SHA256, "sha256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {TPM2_ALG_SHA384, "sha384",
     "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c8"
     "25a7"},
    {TPM2_ALG_SHA512, "sha512",
     "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3fe"
     "ebbd454d4423643ce80e2a9ac94fa54ca49f"},
};

static void computes_over_parts(void **state)
{
    const struct bytes parts[] = {bytes_of_text("a"), {NULL, 0}, bytes_of_text("bc")};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
        struct error err;
        uint8_t digest[HASH_MAX_BYTES];
        const struct hash_algorithm *hash = hash_by_id(known[i].id);
        assert_non_null(hash);
        assert_ptr_equal(hash, hash_by_name(known[i].name));
        assert_int_equal(hash->size * 2, strlen(known[i].digest));
        assert_int_equal(hash_compute(hash, parts, ARRAY_SIZE(parts), digest, &err), 0);
        _cleanup_(free_cleanup) char *hex = text_hex((struct bytes){digest, hash->size});
        assert_string_equal(hex, known[i].digest);
    }
}

static void knows_no_other(void **state)
{
    (void)state;
    assert_null(hash_by_id(TPM2_ALG_NULL));
    assert_null(hash_by_id(TPM2_ALG_SM3_256));
    assert_null(hash_by_id(TPM2_ALG_SHA3_256));
    assert_null(hash_by_name("SHA256"));
    assert_null(hash_by_name("sha256 "));
    assert_null(hash_by_name(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(computes_over_parts),
        cmocka_unit_test(knows_no_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
