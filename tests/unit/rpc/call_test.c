#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/rpc/raw_http2.h"

struct waiting {
    struct toy *toy;
    struct raw *raw;
    size_t count;
};

static bool has_handled(void *state)
{
    struct waiting *waiting = state;
    return waiting->toy->handled_count >= waiting->count;
}

static bool has_closed(void *state)
{
    struct waiting *waiting = state;
    return waiting->toy->closed_count >= waiting->count;
}

static bool has_lost_peers(void *state)
{
    struct waiting *waiting = state;
    return waiting->toy->gone_count >= waiting->count;
}

static bool has_data(void *state)
{
    struct waiting *waiting = state;
    raw_read(waiting->raw);
    return waiting->raw->is_eof || waiting->raw->data.size >= waiting->count;
}

static bool wait_for(struct toy *toy, struct raw *raw, bool (*condition)(void *state), size_t count)
{
    struct waiting waiting = {toy, raw, count};
    return toy_run_until(toy, condition, &waiting);
}

/* A connection with one call of the method, handled. */
static struct raw *open_call(struct toy *toy, const char *path, const struct raw_field *fields)
{
    struct raw *raw = raw_open(toy);
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    size_t handled = toy->handled_count;
    raw_preface(&bytes);
    raw_request(&bytes, 1, path, "", fields);
    assert_true(raw_write(raw, &bytes));
    assert_true(wait_for(toy, raw, has_handled, handled + 1));
    return raw;
}

static void send_filled(struct rpc_call *call, size_t size, int byte, bool is_latest)
{
    _cleanup_(rpc_message_unref_cleanup) struct rpc_message *message = toy_message(size, byte);
    if (is_latest) {
        rpc_call_send_latest(call, message);
    } else {
        rpc_call_send(call, message);
    }
}

/* What toy_message adds to the bytes it was asked for: gRPC's prefix, and protobuf's. */
static size_t framed_size(size_t size)
{
    return 5U + 1U + (size < 128 ? 1U : size < 16384 ? 2U : 3U) + size;
}

static void grant(struct raw *raw, uint32_t stream_id, uint32_t size)
{
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    _cleanup_(buffer_clear) struct buffer payload = {0};
    buffer_append_u32(&payload, size);
    raw_frame(&bytes, FRAME_WINDOW_UPDATE, 0, stream_id, payload.data, payload.size);
    assert_true(raw_write(raw, &bytes));
}

static void test_stream_of_messages(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    _cleanup_(raw_close_cleanup) struct raw *raw = open_call(toy, "/toy.Toy/Hold", NULL);
    size_t total = 0;
    assert_ptr_equal(rpc_call_peer(toy->calls[0]), toy);
    assert_int_equal(rpc_server_call_count(toy->server), 1);
    assert_int_equal(rpc_server_connection_count(toy->server), 1);
    for (size_t i = 0; i < 3; i++) {
        send_filled(toy->calls[0], 100 * i + 1, 'a', false);
        total += framed_size(100 * i + 1);
        assert_true(wait_for(toy, raw, has_data, total));
    }
    assert_int_equal(raw->data.size, total);
    rpc_call_finish(toy->calls[0], NULL);
    assert_true(raw_wait_status(raw));
    assert_string_equal(raw->status, "0");
    assert_int_equal(toy->closed_count, 0);
    assert_int_equal(rpc_server_call_count(toy->server), 0);
}

/* Larger than a frame, than the windows, and than what one write can hold. */
static void test_big_messages(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    _cleanup_(raw_close_cleanup) struct raw *raw = raw_open(toy);
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    toy->big_bytes = 300000;
    toy->big_count = 9;
    raw_preface(&bytes);
    raw_request(&bytes, 1, "/toy.Toy/Big", "", NULL);
    assert_true(raw_write(raw, &bytes));
    grant(raw, 0, 16 << 20);
    grant(raw, 1, 16 << 20);
    assert_true(raw_wait_status(raw));
    assert_string_equal(raw->status, "0");
    assert_int_equal(raw->data.size, 9 * framed_size(300000));
    for (size_t i = 0; i < 9; i++) {
        const uint8_t *message = raw->data.data + i * framed_size(300000);
        assert_int_equal(message[0], 0);
        for (size_t j = 0; j + 1 < 300000; j++) {
            if (message[9 + j] != toy_byte(j)) {
                fail_msg("message %zu differs at %zu", i, j);
            }
        }
        assert_int_equal(message[framed_size(300000) - 1], 'a' + i);
    }
}

static void test_many_messages_in_one_turn(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    _cleanup_(raw_close_cleanup) struct raw *raw = raw_open(toy);
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    toy->big_bytes = 10;
    toy->big_count = 500;
    raw_preface(&bytes);
    raw_request(&bytes, 1, "/toy.Toy/Big", "", NULL);
    assert_true(raw_write(raw, &bytes));
    assert_true(raw_wait_status(raw));
    assert_int_equal(raw->data.size, 500 * framed_size(10));
}

static void test_secret_message(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    _cleanup_(raw_close_cleanup) struct raw *raw = raw_open(toy);
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    raw_preface(&bytes);
    raw_request(&bytes, 1, "/toy.Toy/Secret", "", NULL);
    assert_true(raw_write(raw, &bytes));
    assert_true(raw_wait_status(raw));
    assert_string_equal(raw->status, "0");
    assert_non_null(memmem(raw->data.data, raw->data.size, "very secret", 11));
}

/* With its window closed the peer takes nothing; of ten states only the newest comes. */
static void test_send_latest_replaces_what_waits(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    _cleanup_(raw_close_cleanup) struct raw *raw = open_call(toy, "/toy.Toy/Hold", NULL);
    send_filled(toy->calls[0], 70000, 'a', true);
    assert_true(wait_for(toy, raw, has_data, 65535));
    for (int i = 0; i < 10; i++) {
        send_filled(toy->calls[0], 100, 'b' + i, true);
    }
    grant(raw, 0, 1 << 20);
    grant(raw, 1, 1 << 20);
    size_t total = framed_size(70000) + framed_size(100);
    assert_true(wait_for(toy, raw, has_data, total));
    rpc_call_finish(toy->calls[0], NULL);
    assert_true(raw_wait_status(raw));
    assert_int_equal(raw->data.size, total);
    assert_int_equal(raw->data.data[framed_size(70000) - 1], 'a');
    assert_int_equal(raw->data.data[total - 1], 'k');
}

/* The same where the socket, and not a window, is full. */
static void test_send_latest_to_a_peer_that_does_not_read(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    _cleanup_(raw_close_cleanup) struct raw *raw = open_call(toy, "/toy.Toy/Hold", NULL);
    grant(raw, 0, 1 << 30);
    grant(raw, 1, 1 << 30);
    for (int i = 0; i < 400; i++) {
        send_filled(toy->calls[0], 10000, 'a' + i % 26, true);
        (void)uv_run(&toy->loop, UV_RUN_NOWAIT);
    }
    rpc_call_finish(toy->calls[0], NULL);
    assert_true(raw_wait_status(raw));
    assert_string_equal(raw->status, "0");
    assert_int_equal(raw->data.size % framed_size(10000), 0);
    assert_true(raw->data.size < 50 * framed_size(10000));
    assert_int_equal(raw->data.data[raw->data.size - 1], 'a' + 399 % 26);
}

/* A message of send is not lost to one of send_latest. */
static void test_send_is_not_replaced(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    _cleanup_(raw_close_cleanup) struct raw *raw = open_call(toy, "/toy.Toy/Hold", NULL);
    send_filled(toy->calls[0], 10, 'a', false);
    send_filled(toy->calls[0], 10, 'b', true);
    send_filled(toy->calls[0], 10, 'c', true);
    send_filled(toy->calls[0], 10, 'd', false);
    rpc_call_finish(toy->calls[0], NULL);
    assert_true(raw_wait_status(raw));
    assert_int_equal(raw->data.size, 3 * framed_size(10));
    assert_int_equal(raw->data.data[framed_size(10) - 1], 'a');
    assert_int_equal(raw->data.data[2 * framed_size(10) - 1], 'c');
    assert_int_equal(raw->data.data[3 * framed_size(10) - 1], 'd');
}

static void test_cancel(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    _cleanup_(raw_close_cleanup) struct raw *raw = open_call(toy, "/toy.Toy/Hold", NULL);
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    raw_frame(&bytes, FRAME_RST_STREAM, 0, 1, "\0\0\0\x8", 4);
    assert_true(raw_write(raw, &bytes));
    assert_true(wait_for(toy, raw, has_closed, 1));
    assert_int_equal(rpc_server_call_count(toy->server), 0);
    assert_int_equal(rpc_server_connection_count(toy->server), 1);
    assert_null(toy->calls[0]);
}

static void test_peer_goes(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    raw_close(open_call(toy, "/toy.Toy/Hold", NULL));
    assert_true(wait_for(toy, NULL, has_closed, 1));
    assert_true(wait_for(toy, NULL, has_lost_peers, 1));
    assert_int_equal(rpc_server_connection_count(toy->server), 0);
}

/* The peer goes in the middle of a large answer. */
static void test_peer_goes_while_sending(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    struct raw *raw = open_call(toy, "/toy.Toy/Hold", NULL);
    grant(raw, 0, 1 << 30);
    grant(raw, 1, 1 << 30);
    send_filled(toy->calls[0], 4 << 20, 'a', false);
    (void)uv_run(&toy->loop, UV_RUN_NOWAIT);
    raw_close(raw);
    assert_true(wait_for(toy, NULL, has_closed, 1));
    assert_int_equal(rpc_server_connection_count(toy->server), 0);
}

/* A handler without closed keeps its call, whatever became of the peer. */
static void test_call_outlives_its_peer(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    raw_close(open_call(toy, "/toy.Toy/Keep", NULL));
    assert_true(wait_for(toy, NULL, has_lost_peers, 1));
    assert_null(rpc_call_peer(toy->calls[0]));
    assert_null(rpc_call_metadata(toy->calls[0], "x-test", 0));
    send_filled(toy->calls[0], 10, 'a', false);
    send_filled(toy->calls[0], 10, 'a', true);
    rpc_call_finish(toy->calls[0], NULL);
}

/* Asked to say when the peer goes, of a call whose peer has gone: at once. */
static void test_closed_is_told_late(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    raw_close(open_call(toy, "/toy.Toy/Keep", NULL));
    assert_true(wait_for(toy, NULL, has_lost_peers, 1));
    rpc_call_on_closed(toy->calls[0], toy_on_closed, toy);
    assert_int_equal(toy->closed_count, 1);
}

static const struct raw_field soon[] = {{"grpc-timeout", "20m"}, {NULL, NULL}};

static void test_deadline(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    _cleanup_(raw_close_cleanup) struct raw *raw = open_call(toy, "/toy.Toy/Hold", soon);
    assert_true(raw_wait_status(raw));
    assert_string_equal(raw->status, "4");
    assert_int_equal(toy->closed_count, 1);
    assert_int_equal(rpc_server_call_count(toy->server), 0);
}

static void test_deadline_of_a_kept_call(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    _cleanup_(raw_close_cleanup) struct raw *raw = open_call(toy, "/toy.Toy/Keep", soon);
    assert_true(raw_wait_status(raw));
    assert_string_equal(raw->status, "4");
    send_filled(toy->calls[0], 10, 'a', false);
    rpc_call_finish(toy->calls[0], NULL);
    assert_int_equal(raw->data.size, 0);
}

/* After messages the status comes as trailers; in the middle of one, the stream is reset. */
static void test_deadline_of_a_stream(void **state)
{
    (void)state;
    for (size_t size = 10; size <= 100000; size += 99990) {
        _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
        _cleanup_(raw_close_cleanup) struct raw *raw = open_call(toy, "/toy.Toy/Hold", soon);
        send_filled(toy->calls[0], size, 'a', false);
        assert_true(wait_for(toy, raw, has_closed, 1));
        if (size == 10) {
            assert_true(raw_wait_status(raw));
            assert_string_equal(raw->status, "4");
            assert_int_equal(raw->frame_counts[FRAME_HEADERS], 2);
        } else {
            while (raw->reset_stream == 0 && !raw->is_eof) {
                assert_true(wait_for(toy, raw, has_data, raw->data.size));
            }
            assert_int_equal(raw->reset_code, NGHTTP2_CANCEL);
        }
    }
}

static void test_deadline_of_zero(void **state)
{
    (void)state;
    static const struct raw_field now[] = {{"grpc-timeout", "0n"}, {NULL, NULL}};
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    _cleanup_(raw_close_cleanup) struct raw *raw = open_call(toy, "/toy.Toy/Hold", now);
    assert_true(raw_wait_status(raw));
    assert_string_equal(raw->status, "4");
}

static void on_stopped(void *user)
{
    ((struct toy *)user)->is_stopped = true;
}

static bool is_stopped(void *state)
{
    return ((struct toy *)state)->is_stopped;
}

static void test_stop_with_open_streams(void **state)
{
    (void)state;
    enum { STREAMS = 5 };
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    struct raw *raws[STREAMS];
    struct error status;
    for (size_t i = 0; i < STREAMS; i++) {
        raws[i] = open_call(toy, i == 0 ? "/toy.Toy/Keep" : "/toy.Toy/Hold", i == 1 ? soon : NULL);
    }
    send_filled(toy->calls[2], 10, 'a', false);
    send_filled(toy->calls[3], 100000, 'a', false);
    struct rpc_call *kept = toy->calls[0];
    (void)error_set(&status, ERROR_UNAVAILABLE, "signetd stops");
    rpc_server_stop(toy->server, &status, on_stopped, toy);
    assert_true(toy_run_until(toy, is_stopped, toy));
    assert_int_equal(toy->closed_count, STREAMS - 1);
    assert_int_equal(toy->gone_count, STREAMS);
    for (size_t i = 0; i < STREAMS; i++) {
        assert_true(raw_wait_closed(raws[i]));
        if (i != 3) {
            assert_string_equal(raws[i]->status, "14");
            assert_string_equal(raws[i]->message, "signetd stops");
        }
        assert_string_equal(raws[i]->goaway_text, "signetd stops");
        raw_close(raws[i]);
    }
    rpc_call_finish(kept, &status);
}

static void test_stop_from_inside_a_handler(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    _cleanup_(raw_close_cleanup) struct raw *raw = raw_open(toy);
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    raw_preface(&bytes);
    raw_request(&bytes, 1, "/toy.Toy/Stop", "", NULL);
    raw_request(&bytes, 3, "/toy.Toy/Check", "", NULL);
    (void)raw_write(raw, &bytes);
    assert_true(toy_run_until(toy, is_stopped, toy));
    assert_true(raw_wait_closed(raw));
    assert_int_equal(toy->closed_count, 1);
    assert_int_equal(raw->frame_counts[FRAME_GOAWAY], 1);
}

/* A hundred calls at once on one connection, finished in another order. */
static void test_many_calls_on_a_connection(void **state)
{
    (void)state;
    enum { CALLS = 100 };
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    _cleanup_(raw_close_cleanup) struct raw *raw = raw_open(toy);
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    raw_preface(&bytes);
    for (uint32_t i = 0; i < CALLS; i++) {
        raw_request(&bytes, 2 * i + 1, "/toy.Toy/Hold", "", NULL);
    }
    assert_true(raw_write(raw, &bytes));
    assert_true(wait_for(toy, raw, has_handled, CALLS));
    assert_int_equal(rpc_server_call_count(toy->server), CALLS);
    for (size_t i = CALLS; i-- > 0;) {
        send_filled(toy->calls[i], 10, 'a', false);
        rpc_call_finish(toy->calls[i], NULL);
    }
    assert_true(raw_wait_status(raw));
    assert_true(wait_for(toy, raw, has_data, CALLS * framed_size(10)));
    assert_int_equal(rpc_server_call_count(toy->server), 0);
    assert_int_equal(toy->closed_count, 0);
}

static int setup(void **state)
{
    (void)state;
    return secret_init(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stream_of_messages),
        cmocka_unit_test(test_big_messages),
        cmocka_unit_test(test_many_messages_in_one_turn),
        cmocka_unit_test(test_secret_message),
        cmocka_unit_test(test_send_latest_replaces_what_waits),
        cmocka_unit_test(test_send_latest_to_a_peer_that_does_not_read),
        cmocka_unit_test(test_send_is_not_replaced),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_peer_goes),
        cmocka_unit_test(test_peer_goes_while_sending),
        cmocka_unit_test(test_call_outlives_its_peer),
        cmocka_unit_test(test_closed_is_told_late),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_deadline_of_a_kept_call),
        cmocka_unit_test(test_deadline_of_a_stream),
        cmocka_unit_test(test_deadline_of_zero),
        cmocka_unit_test(test_stop_with_open_streams),
        cmocka_unit_test(test_stop_from_inside_a_handler),
        cmocka_unit_test(test_many_calls_on_a_connection),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
