/* A guard at work on the server's thread. */
#include "tests/unit/cmocka_all.h"

#include "tests/unit/pkcs11/token/peers.h"
#include "tests/unit/pkcs11/token/watchman.h"

struct guarded {
    struct place place;
    struct watchman watchman;
};

static void guard(struct guarded *guarded)
{
    set_up(&guarded->place);
    watchman_init(&guarded->watchman);
    guarded->place.guard = &guarded->watchman.guard;
}

static void leave(struct guarded *guarded)
{
    tear_down(&guarded->place);
    watchman_leave(&guarded->watchman);
}

static void connect_and_begin(struct guarded *guarded, struct peer *peer)
{
    connect_peer(&guarded->place, peer);
    open_session(peer);
    assert_int_equal(sign_init(&guarded->place, peer, false), CKR_OK);
}

static void wait_until_asked(struct guarded *guarded, unsigned admits)
{
    uint64_t end = clock_monotonic_ms() + FIXTURE_WAIT_MS;
    while (atomic_load(&guarded->watchman.admits) < admits) {
        assert_true(clock_monotonic_ms() < end);
        (void)sched_yield();
    }
}

/* Without waiting for the reply. */
static void ask(struct guarded *guarded, struct peer *peer, unsigned admits)
{
    _cleanup_(buffer_clear) struct buffer request = {0};
    add_sign(&request, peer);
    send_bytes(peer, buffer_bytes(&request));
    wait_until_asked(guarded, admits);
}

static void test_comes_with_the_view(void **state)
{
    (void)state;
    struct guarded guarded;
    struct watchman second;
    struct peer peer;
    guard(&guarded);
    watchman_init(&second);
    second.rv = CKR_DEVICE_MEMORY;
    connect_and_begin(&guarded, &peer);
    assert_int_equal(sign(&peer), CKR_OK);
    assert_int_equal(atomic_load(&guarded.watchman.uses), 1);
    assert_int_equal(sign_init(&guarded.place, &peer, false), CKR_OK);
    token_connection_publish(peer.connection, guarded.place.view, &second.guard);
    assert_int_equal(sign(&peer), CKR_DEVICE_MEMORY);
    token_connection_publish(peer.connection, guarded.place.view, NULL);
    assert_int_equal(sign_init(&guarded.place, &peer, false), CKR_OK);
    assert_int_equal(sign(&peer), CKR_OK);
    assert_int_equal(atomic_load(&guarded.watchman.admits), 1);
    assert_int_equal(atomic_load(&second.admits), 1);
    assert_int_equal(atomic_load(&second.uses), 0);
    disconnect_peer(&peer);
    leave(&guarded);
    watchman_leave(&second);
}

/* One waits for the guard, the others do not. */
static void test_late(void **state)
{
    (void)state;
    struct guarded guarded;
    struct peer peer;
    struct peer other;
    guard(&guarded);
    guarded.watchman.is_late = true;
    connect_and_begin(&guarded, &peer);
    guarded.place.guard = NULL;
    connect_and_begin(&guarded, &other);
    ask(&guarded, &peer, 1);
    assert_int_equal(sign(&other), CKR_OK);
    watchman_answer(&guarded.watchman, CKR_OK);
    receive_reply(&peer);
    assert_int_equal(peer.reply.rv, CKR_OK);
    assert_int_equal(sign_init(&guarded.place, &peer, false), CKR_OK);
    ask(&guarded, &peer, 2);
    watchman_answer(&guarded.watchman, CKR_KEY_FUNCTION_NOT_PERMITTED);
    receive_reply(&peer);
    assert_int_equal(peer.reply.rv, CKR_KEY_FUNCTION_NOT_PERMITTED);
    disconnect_peer(&peer);
    disconnect_peer(&other);
    leave(&guarded);
}

/* Who answers may be the owner itself, which waits for the server's end: that must not depend on
 * answers. */
static void test_ends_before_the_answer(void **state)
{
    (void)state;
    enum { PEERS = 12 };
    struct guarded guarded;
    struct peer peers[PEERS];
    guard(&guarded);
    guarded.watchman.is_late = true;
    for (unsigned i = 0; i < PEERS; i++) {
        connect_and_begin(&guarded, &peers[i]);
        ask(&guarded, &peers[i], i + 1);
        if (i % 3 == 0) {
            token_connection_close(take_ptr(peers[i].connection));
        } else if (i % 3 == 1) {
            file_close_cleanup(&peers[i].descriptor);
            peers[i].descriptor = -1;
        }
    }
    token_question_answer(guarded.watchman.questions[0], CKR_OK);
    token_question_answer(guarded.watchman.questions[PEERS - 1], CKR_OK);
    token_server_free(take_ptr(guarded.place.server));
    for (unsigned i = 0; i < PEERS; i++) {
        peers[i].connection = NULL;
        disconnect_peer(&peers[i]);
    }
    tear_down(&guarded.place);
    token_guard_unref(&guarded.watchman.guard);
    for (unsigned i = 1; i < PEERS - 1; i++) {
        assert_int_equal(atomic_load(&guarded.watchman.frees), 0);
        token_question_answer(guarded.watchman.questions[i], i % 2 ? CKR_OK : CKR_DEVICE_ERROR);
    }
    assert_int_equal(atomic_load(&guarded.watchman.frees), 1);
}

/* The next process asks its own guard: no client is kept waiting for an answer that may never come,
 * and none notices. */
static void test_hand_over_before_the_answer(void **state)
{
    (void)state;
    struct guarded guarded;
    struct peer peer;
    _cleanup_(buffer_clear) struct buffer behind = {0};
    guard(&guarded);
    guarded.watchman.is_late = true;
    connect_and_begin(&guarded, &peer);
    ask(&guarded, &peer, 1);
    rpc_request(&behind, RPC_GET_INFO, "", "");
    send_bytes(&peer, buffer_bytes(&behind));
    for (unsigned i = 2; i <= 4; i++) {
        hand_over(&guarded.place, &peer);
        wait_until_asked(&guarded, i);
        token_question_answer(guarded.watchman.questions[i - 2], CKR_OK);
    }
    watchman_answer(&guarded.watchman, CKR_OK);
    receive_reply(&peer);
    assert_int_equal(peer.reply.id, RPC_SIGN);
    assert_int_equal(peer.reply.rv, CKR_OK);
    receive_reply(&peer);
    assert_int_equal(peer.reply.id, RPC_GET_INFO);
    assert_int_equal(atomic_load(&guarded.watchman.uses), 1);
    disconnect_peer(&peer);
    leave(&guarded);
}

/* What cannot be asked again is waited for as the hardware is: not for long. */
static void test_hand_over_of_hashed_data(void **state)
{
    (void)state;
    static const uint8_t sha256[] = {0, 0, 0x10, 0x44, 0xff, 0xff, 0xff, 0xff};
    static const uint8_t much[TOKEN_SIGN_DATA_MAX + 1];
    struct guarded guarded;
    struct peer peer;
    _cleanup_(buffer_clear) struct buffer request = {0};
    guard(&guarded);
    guarded.watchman.is_late = true;
    connect_peer(&guarded.place, &peer);
    open_session(&peer);
    assert_int_equal(call(&peer, RPC_SIGN_INIT, "uMu", "uru", peer.session, sizeof(sha256), sha256,
                          fixture_handle(guarded.place.generations[0], OBJECT_PRIVATE_KEY)),
                     CKR_OK);
    assert_int_equal(call(&peer, RPC_SIGN_UPDATE, "uay", "ua", peer.session, sizeof(much), much),
                     CKR_OK);
    rpc_request(&request, RPC_SIGN_FINAL, "ufy", "uf", peer.session, 512);
    send_bytes(&peer, buffer_bytes(&request));
    wait_until_asked(&guarded, 1);
    hand_over(&guarded.place, &peer);
    receive_reply(&peer);
    assert_int_equal(peer.reply.rv, CKR_DEVICE_ERROR);
    watchman_answer(&guarded.watchman, CKR_OK);
    assert_int_equal(atomic_load(&guarded.watchman.uses), 0);
    disconnect_peer(&peer);
    leave(&guarded);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_comes_with_the_view),
        cmocka_unit_test(test_late),
        cmocka_unit_test(test_ends_before_the_answer),
        cmocka_unit_test(test_hand_over_before_the_answer),
        cmocka_unit_test(test_hand_over_of_hashed_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
