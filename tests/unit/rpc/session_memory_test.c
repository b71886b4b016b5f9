#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "lib/rpc/server_internal.h"

/* The size of nghttp2's buffer for frames, and sizes beside it. */
static const size_t sizes[] = {16383, 16384, 16394, 16448, 16449};

struct sessions {
    struct session_memory memory;
    nghttp2_session_callbacks *callbacks;
    nghttp2_session *session[2];
};

static int setup(void **state)
{
    static struct sessions sessions;
    session_memory_init(&sessions.memory);
    assert_int_equal(nghttp2_session_callbacks_new(&sessions.callbacks), 0);
    for (size_t i = 0; i < ARRAY_SIZE(sessions.session); i++) {
        assert_int_equal(session_memory_open(&sessions.memory, sessions.callbacks, NULL, NULL,
                                             &sessions.session[i]),
                         0);
    }
    *state = &sessions;
    return 0;
}

static int teardown(void **state)
{
    struct sessions *sessions = *state;
    for (size_t i = 0; i < ARRAY_SIZE(sessions->session); i++) {
        nghttp2_session_del(sessions->session[i]);
    }
    nghttp2_session_callbacks_del(sessions->callbacks);
    session_memory_clear(&sessions->memory);
    return 0;
}

/* What nghttp2 writes lies in the shared buffer: the saving is real with this nghttp2. */
static void test_frames_lie_in_the_shared_buffer(void **state)
{
    const struct sessions *sessions = *state;
    for (size_t i = 0; i < ARRAY_SIZE(sessions->session); i++) {
        const uint8_t *data;
        assert_int_equal(nghttp2_submit_settings(sessions->session[i], NGHTTP2_FLAG_NONE, NULL, 0),
                         0);
        assert_int_equal(nghttp2_session_mem_send(sessions->session[i], &data), 9);
        assert_true(data >= sessions->memory.frame && data < sessions->memory.frame + 16384);
        assert_int_equal(nghttp2_session_mem_send(sessions->session[i], &data), 0);
    }
}

/* Frames of two sessions that take turns are those of each. */
static void test_sessions_take_turns(void **state)
{
    static const uint8_t payloads[2][8] = {"session0", "session1"};
    const struct sessions *sessions = *state;
    for (size_t round = 0; round < 10; round++) {
        for (size_t i = 0; i < ARRAY_SIZE(sessions->session); i++) {
            assert_int_equal(
                nghttp2_submit_ping(sessions->session[i], NGHTTP2_FLAG_NONE, payloads[i]), 0);
        }
        for (size_t i = 0; i < ARRAY_SIZE(sessions->session); i++) {
            const uint8_t *data;
            ssize_t size;
            bool is_seen = false;
            while ((size = nghttp2_session_mem_send(sessions->session[i], &data)) > 0) {
                is_seen |= size == 17 && memcmp(data + 9, payloads[i], 8) == 0;
            }
            assert_true(is_seen);
        }
    }
}

/* Nothing that a peer makes nghttp2 ask for later gets the buffer. */
static void test_nobody_else_gets_the_buffer(void **state)
{
    struct sessions *sessions = *state;
    const nghttp2_mem *mem = &sessions->memory.mem;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        void *memories[] = {
            mem->malloc(sizes[i], mem->mem_user_data),
            mem->calloc(1, sizes[i], mem->mem_user_data),
            mem->realloc(NULL, sizes[i], mem->mem_user_data),
        };
        for (size_t j = 0; j < ARRAY_SIZE(memories); j++) {
            assert_non_null(memories[j]);
            assert_ptr_not_equal(memories[j], sessions->memory.frame);
            mem->free(memories[j], mem->mem_user_data);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frames_lie_in_the_shared_buffer),
        cmocka_unit_test(test_sessions_take_turns),
        cmocka_unit_test(test_nobody_else_gets_the_buffer),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
