#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "lib/base/ecdsa.h"

/* Numbers are positive and as short as can be in DER, whatever the length of the plain form. */
static const struct {
    uint8_t r[2], s[2];
    uint8_t der[12];
    size_t size;
} cases[] = {
    {{0x01, 0x02}, {0x03, 0x04}, {0x30, 8, 2, 2, 1, 2, 2, 2, 3, 4}, 10},
    {{0x00, 0x02}, {0x00, 0x7f}, {0x30, 6, 2, 1, 2, 2, 1, 0x7f}, 8},
    {{0x00, 0x80}, {0xff, 0x00}, {0x30, 9, 2, 2, 0, 0x80, 2, 3, 0, 0xff, 0}, 11},
};

static void numbers_become_der(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const uint8_t pair[] = {cases[i].r[0], cases[i].r[1], cases[i].s[0], cases[i].s[1]};
        const struct bytes expected = {cases[i].der, cases[i].size};
        _cleanup_(buffer_clear) struct buffer apart = {0};
        _cleanup_(buffer_clear) struct buffer together = {0};
        assert_true(
            ecdsa_encode((struct bytes){cases[i].r, 2}, (struct bytes){cases[i].s, 2}, &apart));
        assert_true(bytes_is_equal(buffer_bytes(&apart), expected));
        assert_true(ecdsa_encode_pair((struct bytes){pair, sizeof(pair)}, &together));
        assert_true(bytes_is_equal(buffer_bytes(&together), expected));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(numbers_become_der)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
