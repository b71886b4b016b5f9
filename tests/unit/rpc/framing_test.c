#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "lib/rpc/framing.h"

enum { LIMIT_BYTES = 10 };

/* Two messages, "abc" and an empty one. */
static const uint8_t two_messages[] = {0, 0, 0, 0, 3, 'a', 'b', 'c', 0, 0, 0, 0, 0};

/* Fed in pieces of every size. */
static void test_messages_in_pieces(void **state)
{
    (void)state;
    for (size_t piece = 1; piece <= sizeof(two_messages); piece++) {
        struct rpc_framing framing = {0};
        size_t complete = 0;
        for (size_t at = 0; at < sizeof(two_messages); at += piece) {
            struct bytes input = {two_messages + at, MIN(piece, sizeof(two_messages) - at)};
            while (input.size > 0) {
                int result = rpc_framing_feed(&framing, &input, LIMIT_BYTES, NULL);
                assert_true(result >= 0);
                if (result == 1) {
                    assert_true(bytes_is_equal(buffer_bytes(&framing.message),
                                               bytes_of_text(complete == 0 ? "abc" : "")));
                    assert_false(rpc_framing_is_partial(&framing));
                    rpc_framing_clear(&framing);
                    complete++;
                }
            }
        }
        assert_int_equal(complete, 2);
        assert_false(rpc_framing_is_partial(&framing));
    }
}

static const struct {
    uint8_t prefix[RPC_FRAMING_PREFIX_BYTES];
    enum error_code code;
} refused[] = {
    {{1, 0, 0, 0, 3}, ERROR_UNIMPLEMENTED},
    {{255, 0, 0, 0, 3}, ERROR_UNIMPLEMENTED},
    {{0, 0, 0, 0, LIMIT_BYTES + 1}, ERROR_RESOURCE_EXHAUSTED},
    {{0, 255, 255, 255, 255}, ERROR_RESOURCE_EXHAUSTED},
};

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
        struct rpc_framing framing = {0};
        struct error err;
        struct bytes input = {refused[i].prefix, RPC_FRAMING_PREFIX_BYTES};
        assert_int_equal(rpc_framing_feed(&framing, &input, LIMIT_BYTES, &err), -1);
        assert_int_equal(err.code, refused[i].code);
        rpc_framing_clear(&framing);
    }
}

static void test_memory_follows_what_came_not_what_was_promised(void **state)
{
    static const uint8_t promise[] = {0, 0x7f, 0, 0, 0, 'x'};
    struct rpc_framing framing = {0};
    struct bytes input = {promise, sizeof(promise)};
    (void)state;
    assert_int_equal(rpc_framing_feed(&framing, &input, SIZE_MAX, NULL), 0);
    assert_true(rpc_framing_is_partial(&framing));
    assert_true(framing.message.capacity < 4096);
    rpc_framing_clear(&framing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages_in_pieces),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_memory_follows_what_came_not_what_was_promised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
