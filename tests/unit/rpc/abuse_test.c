#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <sys/resource.h>

#include "tests/unit/rpc/raw_http2.h"

/* Short times, so that the tests do not wait for long ones. */
static const struct rpc_limits hasty = {
    .handshake_ms = 500, .stalled_ms = 500, .unsent_bytes = 1 << 20};

/* Each makes the bytes of a flood after a first request on stream 1. */
static void flood_ping(struct buffer *bytes)
{
    for (size_t i = 0; i < 20000; i++) {
        raw_frame(bytes, FRAME_PING, 0, 0, "12345678", 8);
    }
}

static void flood_settings(struct buffer *bytes)
{
    for (size_t i = 0; i < 20000; i++) {
        raw_frame(bytes, FRAME_SETTINGS, 0, 0, NULL, 0);
    }
}

static void flood_settings_entries(struct buffer *bytes)
{
    static const uint8_t entries[6 * 2000];
    raw_frame(bytes, FRAME_SETTINGS, 0, 0, entries, sizeof(entries));
}

static void flood_window_updates(struct buffer *bytes)
{
    for (size_t i = 0; i < 20000; i++) {
        raw_frame(bytes, FRAME_WINDOW_UPDATE, 0, 0, "\0\0\0\1", 4);
    }
}

static void flood_priority(struct buffer *bytes)
{
    for (uint32_t i = 0; i < 20000; i++) {
        raw_frame(bytes, FRAME_PRIORITY, 0, 2 * i + 3, "\0\0\0\1\1", 5);
    }
}

static void flood_empty_data(struct buffer *bytes)
{
    raw_headers(bytes, 3, 0, "/toy.Toy/Check", NULL);
    for (size_t i = 0; i < 20000; i++) {
        raw_frame(bytes, FRAME_DATA, 0, 3, NULL, 0);
    }
}

static void flood_trailers(struct buffer *bytes)
{
    raw_headers(bytes, 3, 0, "/toy.Toy/Check", NULL);
    for (size_t i = 0; i < 20000; i++) {
        raw_frame(bytes, FRAME_HEADERS, FLAG_END_HEADERS, 3, NULL, 0);
    }
}

static void flood_continuation(struct buffer *bytes)
{
    raw_frame(bytes, FRAME_HEADERS, 0, 3, NULL, 0);
    for (size_t i = 0; i < 20000; i++) {
        raw_frame(bytes, FRAME_CONTINUATION, 0, 3, NULL, 0);
    }
}

/* Headers without an end, each frame full. */
static void flood_headers(struct buffer *bytes)
{
    _cleanup_(buffer_clear) struct buffer block = {0};
    while (block.size < 16000) {
        raw_header(&block, "x-more", "and more, and more, and more, and more, and more");
    }
    raw_frame(bytes, FRAME_HEADERS, 0, 3, block.data, block.size);
    for (size_t i = 0; i < 1000; i++) {
        raw_frame(bytes, FRAME_CONTINUATION, 0, 3, block.data, block.size);
    }
}

/* CVE-2023-44487. */
static void flood_rapid_reset(struct buffer *bytes)
{
    for (uint32_t i = 0; i < 20000; i++) {
        raw_headers(bytes, 2 * i + 3, 0, "/toy.Toy/Check", NULL);
        raw_frame(bytes, FRAME_RST_STREAM, 0, 2 * i + 3, "\0\0\0\x8", 4);
    }
}

/* CVE-2025-8671: the server is made to reset. */
static void flood_made_you_reset(struct buffer *bytes)
{
    for (uint32_t i = 0; i < 20000; i++) {
        raw_request(bytes, 2 * i + 3, "/toy.Toy/Hold", "", NULL);
        raw_frame(bytes, FRAME_WINDOW_UPDATE, 0, 2 * i + 3, "\0\0\0\0", 4);
    }
}

static void flood_malformed_requests(struct buffer *bytes)
{
    static const struct raw_field fields[] = {{"connection", "close"}, {NULL, NULL}};
    for (uint32_t i = 0; i < 20000; i++) {
        raw_headers(bytes, 2 * i + 3, FLAG_END_STREAM, "/toy.Toy/Check", fields);
    }
}

/* Streams over the limit: each is refused, none is kept. */
static void flood_streams(struct buffer *bytes)
{
    for (uint32_t i = 0; i < 100; i++) {
        raw_request(bytes, 2 * i + 3, "/toy.Toy/Hold", "", NULL);
    }
    for (uint32_t i = 100; i < 20000; i++) {
        raw_headers(bytes, 2 * i + 3, FLAG_END_STREAM, "/toy.Toy/Hold", NULL);
    }
}

static void send_garbage(struct buffer *bytes)
{
    for (size_t i = 0; i < 100000; i++) {
        buffer_append_u8(bytes, (uint8_t)(i * 2654435761U >> 13));
    }
}

static void send_frame_too_large(struct buffer *bytes)
{
    static const uint8_t zeros[20000];
    raw_headers(bytes, 3, 0, "/toy.Toy/Check", NULL);
    raw_frame(bytes, FRAME_DATA, 0, 3, zeros, sizeof(zeros));
}

static void send_data_on_no_stream(struct buffer *bytes)
{
    raw_frame(bytes, FRAME_DATA, 0, 3, "x", 1);
}

static void send_bad_hpack(struct buffer *bytes)
{
    raw_frame(bytes, FRAME_HEADERS, FLAG_END_HEADERS, 3, "\xff\xff\xff\xff\xff\xff\xff\xff", 8);
}

static void send_window_overflow(struct buffer *bytes)
{
    raw_frame(bytes, FRAME_WINDOW_UPDATE, 0, 0, "\x7f\xff\xff\xff", 4);
    raw_frame(bytes, FRAME_WINDOW_UPDATE, 0, 0, "\x7f\xff\xff\xff", 4);
}

static const struct {
    const char *name;
    void (*make)(struct buffer *bytes);
} floods[] = {
    {"PING", flood_ping},
    {"SETTINGS", flood_settings},
    {"SETTINGS with many entries", flood_settings_entries},
    {"WINDOW_UPDATE", flood_window_updates},
    {"PRIORITY", flood_priority},
    {"empty DATA", flood_empty_data},
    {"trailers", flood_trailers},
    {"empty CONTINUATION", flood_continuation},
    {"full CONTINUATION", flood_headers},
    {"rapid reset", flood_rapid_reset},
    {"made you reset", flood_made_you_reset},
    {"malformed requests", flood_malformed_requests},
    {"streams over the limit", flood_streams},
    {"garbage", send_garbage},
    {"frame too large", send_frame_too_large},
    {"DATA on no stream", send_data_on_no_stream},
    {"bad HPACK", send_bad_hpack},
    {"window overflow", send_window_overflow},
};

/* Sends the flood while the server takes it, reading what comes back or not. */
static void send_flood(struct raw *raw, const struct buffer *bytes, bool is_reading)
{
    size_t sent = 0;
    bool is_open = true;
    uint64_t end_ms = clock_monotonic_ms() + TOY_WAIT_MS;
    while (is_open && sent < bytes->size && clock_monotonic_ms() < end_ms) {
        ssize_t count = send(raw->descriptor, bytes->data + sent, bytes->size - sent,
                             MSG_NOSIGNAL | MSG_DONTWAIT);
        is_open = count > 0 || errno == EAGAIN;
        sent += count > 0 ? (size_t)count : 0;
        (void)uv_run(&raw->toy->loop, UV_RUN_NOWAIT);
        is_open = is_open && !(is_reading && raw_is_closed(raw));
    }
}

/* The connection ends, and it alone. Where the peer reads, it is for the flood and not for a time
 * that is over. */
static void check_flood(const char *name, void (*make)(struct buffer *bytes), bool is_reading)
{
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(is_reading ? NULL : &hasty);
    _cleanup_(raw_close_cleanup) struct raw *raw = raw_open(toy);
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    uint64_t start_ms = clock_monotonic_ms();
    raw_preface(&bytes);
    raw_request(&bytes, 1, "/toy.Toy/Check", "", NULL);
    make(&bytes);
    send_flood(raw, &bytes, is_reading);
    if (!raw_wait_closed(raw) || clock_monotonic_ms() - start_ms > 5000) {
        fail_msg("%s: the connection stays", name);
    }
    assert_int_equal(rpc_server_connection_count(toy->server), 0);
    assert_int_equal(rpc_server_call_count(toy->server), 0);
    assert_true(toy->call_count <= 2100);
    assert_serves_others(toy);
}

static void test_floods(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(floods); i++) {
        check_flood(floods[i].name, floods[i].make, true);
        check_flood(floods[i].name, floods[i].make, false);
    }
}

/* They mean nothing and do no harm (RFC 9113 5.5). */
static void test_unknown_frames_are_ignored(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    _cleanup_(raw_close_cleanup) struct raw *raw = raw_open(toy);
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    raw_preface(&bytes);
    for (uint32_t i = 0; i < 1000; i++) {
        raw_frame(&bytes, (uint8_t)(0x20 + i % 200), 0xff, i, "payload", i % 8);
    }
    raw_request(&bytes, 1, "/toy.Toy/Check", "", NULL);
    assert_true(raw_write(raw, &bytes));
    assert_true(raw_wait_status(raw));
    assert_string_equal(raw->status, "0");
}

/* What a connection may say before it falls silent without a request. */
static void test_silence(void **state)
{
    (void)state;
    for (size_t cut = 0; cut < 4; cut++) {
        _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(&hasty);
        _cleanup_(raw_close_cleanup) struct raw *raw = raw_open(toy);
        _cleanup_(buffer_clear) struct buffer bytes = {0};
        if (cut > 0) {
            raw_preface(&bytes);
        }
        if (cut == 1) {
            bytes.size = 10;
        }
        if (cut == 3) {
            raw_headers(&bytes, 1, 0, "/toy.Toy/Check", NULL);
        }
        assert_true(raw_write(raw, &bytes));
        assert_true(raw_wait_closed(raw));
        assert_serves_others(toy);
    }
}

/* After a first request a connection may be idle; a request that is begun has to end. */
static void test_slow_requests(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(&hasty);
    _cleanup_(raw_close_cleanup) struct raw *raw = raw_open(toy);
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    raw_preface(&bytes);
    raw_request(&bytes, 1, "/toy.Toy/Check", "", NULL);
    raw_headers(&bytes, 3, 0, "/toy.Toy/Check", NULL);
    raw_frame(&bytes, FRAME_DATA, 0, 3, "\0\0\0\0\5ab", 7);
    assert_true(raw_write(raw, &bytes));
    assert_true(raw_wait_status(raw));
    if (raw->status[0] == '0') {
        assert_true(raw_wait_status(raw));
    }
    assert_string_equal(raw->status, "4");
    assert_int_equal(rpc_server_connection_count(toy->server), 1);

    buffer_reset(&bytes);
    raw_frame(&bytes, FRAME_HEADERS, 0, 5, NULL, 0);
    assert_true(raw_write(raw, &bytes));
    assert_true(raw_wait_closed(raw));
    assert_serves_others(toy);
}

struct idle {
    struct raw *raw;
    uint64_t end_ms;
    size_t turns;
};

static bool has_idled(void *state)
{
    struct idle *idle = state;
    idle->turns++;
    return raw_is_closed(idle->raw) || clock_monotonic_ms() >= idle->end_ms;
}

static void test_idle_after_a_request_is_fine(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(&hasty);
    _cleanup_(raw_close_cleanup) struct raw *raw = raw_open(toy);
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    raw_preface(&bytes);
    raw_request(&bytes, 1, "/toy.Toy/Hold", "", NULL);
    assert_true(raw_write(raw, &bytes));
    struct idle idle = {raw, clock_monotonic_ms() + 4 * hasty.handshake_ms, 0};
    assert_true(toy_run_until(toy, has_idled, &idle));
    assert_false(raw->is_eof);
    assert_int_equal(rpc_server_call_count(toy->server), 1);
}

static bool has_connection(void *state)
{
    const struct toy *toy = state;
    return rpc_server_connection_count(toy->server) > 0;
}

/* Of a request that is whole, but came when the loop did not run for longer than a peer has. */
static void test_who_waits_for_the_loop_is_not_late(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(&hasty);
    _cleanup_(raw_close_cleanup) struct raw *raw = raw_open(toy);
    _cleanup_(buffer_clear) struct buffer begin = {0};
    _cleanup_(buffer_clear) struct buffer rest = {0};
    raw_preface(&begin);
    assert_true(raw_write(raw, &begin));
    assert_true(toy_run_until(toy, has_connection, toy));
    assert_int_equal(poll(NULL, 0, (int)(2 * hasty.handshake_ms)), 0);
    raw_request(&rest, 1, "/toy.Toy/Check", "", NULL);
    assert_true(raw_write(raw, &rest));
    assert_true(raw_wait_status(raw));
    assert_string_equal(raw->status, "0");
}

static bool has_lost_a_peer(void *state)
{
    return ((const struct toy *)state)->gone_count > 0;
}

/* Asks for a lot and reads nothing: ended for the bytes that wait, or for the time they do. */
static void test_peer_that_does_not_read(void **state)
{
    (void)state;
    static const struct {
        size_t count;
        bool has_window;
    } rows[] = {{3, true}, {30, true}, {3, false}, {30, false}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(&hasty);
        _cleanup_(raw_close_cleanup) struct raw *raw = raw_open(toy);
        _cleanup_(buffer_clear) struct buffer bytes = {0};
        toy->big_bytes = 250000;
        toy->big_count = rows[i].count;
        raw_preface(&bytes);
        if (rows[i].has_window) {
            raw_frame(&bytes, FRAME_WINDOW_UPDATE, 0, 0, "\x10\0\0\0", 4);
            raw_frame(&bytes, FRAME_SETTINGS, 0, 0, "\0\4\x10\0\0\0", 6);
        }
        raw_request(&bytes, 1, "/toy.Toy/Big", "", NULL);
        assert_true(raw_write(raw, &bytes));
        assert_true(toy_run_until(toy, has_lost_a_peer, toy));
        assert_serves_others(toy);
    }
}

/* Many large messages begun at once on one connection. */
static void test_messages_in_progress_are_bounded(void **state)
{
    (void)state;
    enum { CALLS = 50 };
    const struct rpc_limits limits = {.message_bytes = 100000};
    static const uint8_t piece[16000];
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(&limits);
    _cleanup_(raw_close_cleanup) struct raw *raw = raw_open(toy);
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    raw_preface(&bytes);
    for (uint32_t i = 0; i < CALLS; i++) {
        raw_headers(&bytes, 2 * i + 1, 0, "/toy.Toy/Check", NULL);
        raw_frame(&bytes, FRAME_DATA, 0, 2 * i + 1, "\0\0\1\x86\xa0", 5);
    }
    assert_true(raw_write(raw, &bytes));
    for (uint32_t i = 0; i < CALLS; i++) {
        buffer_reset(&bytes);
        raw_frame(&bytes, FRAME_DATA, 0, 2 * i + 1, piece, sizeof(piece));
        assert_true(raw_write(raw, &bytes));
    }
    assert_true(raw_wait_status(raw));
    assert_string_equal(raw->status, "8");
    assert_true(rpc_server_call_count(toy->server) <= 400000 / sizeof(piece) + 1);
}

/* Without a free descriptor the server waits, without spinning, and goes on. */
static void test_out_of_descriptors(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    _cleanup_(raw_close_cleanup) struct raw *raw = raw_open(toy);
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    const struct rlimit none = {(rlim_t)raw->descriptor + 1, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    raw_preface(&bytes);
    raw_request(&bytes, 1, "/toy.Toy/Check", "", NULL);
    assert_int_equal(send(raw->descriptor, bytes.data, bytes.size, MSG_NOSIGNAL), bytes.size);
    struct idle idle = {raw, clock_monotonic_ms() + 300, 0};
    assert_true(toy_run_until(toy, has_idled, &idle));
    assert_int_equal(toy->opened_count, 0);
    /* The wait itself wakes up every 5 ms. */
    assert_true(idle.turns < 100);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_true(raw_wait_status(raw));
    assert_string_equal(raw->status, "0");
}

static bool has_lost_all_peers(void *state)
{
    const struct toy *toy = state;
    return toy->gone_count == toy->opened_count;
}

/* Connections that come and go without a word. */
static void test_churn(void **state)
{
    (void)state;
    enum { ROUNDS = 500 };
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    for (size_t i = 0; i < ROUNDS; i++) {
        raw_close(raw_open(toy));
        struct raw *half = raw_open(toy);
        _cleanup_(buffer_clear) struct buffer bytes = {0};
        raw_preface(&bytes);
        raw_request(&bytes, 1, "/toy.Toy/Hold", "", NULL);
        bytes.size = i * bytes.size / ROUNDS;
        assert_true(raw_write(half, &bytes));
        raw_close(half);
    }
    assert_serves_others(toy);
    assert_true(toy_run_until(toy, has_lost_all_peers, toy));
    assert_int_equal(rpc_server_connection_count(toy->server), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_floods),
        cmocka_unit_test(test_unknown_frames_are_ignored),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_slow_requests),
        cmocka_unit_test(test_idle_after_a_request_is_fine),
        cmocka_unit_test(test_who_waits_for_the_loop_is_not_late),
        cmocka_unit_test(test_peer_that_does_not_read),
        cmocka_unit_test(test_messages_in_progress_are_bounded),
        cmocka_unit_test(test_out_of_descriptors),
        cmocka_unit_test(test_churn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
