#include "tests/unit/cmocka_all.h"

#include <semaphore.h>

#include "pkcs11/token/connection.h"
#include "tests/unit/pkcs11/token/peers.h"

enum { BUSY = 40, STEPS = 2 * ROUNDS_LEAD };

struct crowd;

/* The guard of one connection. Its questions show when the server came to it. */
struct doorman {
    struct token_guard guard;
    struct crowd *crowd;
    size_t index;
};

/* One that signs now and then, and many that always do. */
struct crowd {
    struct place place;
    struct doorman doormen[BUSY + 1];
    struct peer peers[BUSY + 1]; /* the last one seldom comes */
    struct buffer request;       /* its signature */
    size_t send_at;              /* after how many of the others it asks for that */
    sem_t stopped, go;
    size_t order[BUSY + 1]; /* in which they were come to; the server's thread */
    size_t count;
    unsigned frees;
};

/* The first one is held until all the others have asked as well. */
static CK_RV doorman_admit(struct token_guard *guard, uint64_t tag, struct token_question *question,
                           bool *ret_is_late)
{
    (void)tag;
    (void)question;
    (void)ret_is_late;
    const struct doorman *doorman = container_of(guard, struct doorman, guard);
    struct crowd *crowd = doorman->crowd;
    if (crowd->count == 0) {
        (void)sem_post(&crowd->stopped);
        (void)sem_wait(&crowd->go);
    }
    crowd->order[crowd->count++] = doorman->index;
    if (crowd->count == crowd->send_at) {
        send_bytes(&crowd->peers[BUSY], buffer_bytes(&crowd->request));
    }
    return CKR_OK;
}

static void doorman_used(struct token_guard *guard, uint64_t tag, CK_RV rv)
{
    (void)guard;
    (void)tag;
    (void)rv;
}

/* Its memory is the crowd's. */
static void doorman_free(struct token_guard *guard)
{
    container_of(guard, struct doorman, guard)->crowd->frees++;
}

static const struct token_guard_operations doorman_operations = {
    .admit = doorman_admit, .used = doorman_used, .free = doorman_free};

static void set_up_crowd(struct crowd *crowd)
{
    set_up(&crowd->place);
    assert_int_equal(sem_init(&crowd->stopped, 0, 0), 0);
    assert_int_equal(sem_init(&crowd->go, 0, 0), 0);
    for (size_t i = 0; i <= BUSY; i++) {
        struct doorman *doorman = &crowd->doormen[i];
        *doorman =
            (struct doorman){.guard.operations = &doorman_operations, .crowd = crowd, .index = i};
        atomic_init(&doorman->guard.references, 1);
        crowd->place.guard = &doorman->guard;
        connect_peer(&crowd->place, &crowd->peers[i]);
        open_session(&crowd->peers[i]);
        assert_int_equal(sign_init(&crowd->place, &crowd->peers[i], false), CKR_OK);
    }
    add_sign(&crowd->request, &crowd->peers[BUSY]);
}

/* Those that are busy have as many turns as there are, the same number each. */
static void keep_busy(struct crowd *crowd)
{
    _cleanup_(buffer_clear) struct buffer request = {0};
    rpc_request(&request, RPC_GET_INFO, "", "");
    for (size_t step = 0; step < STEPS; step++) {
        for (size_t i = 0; i < BUSY; i++) {
            send_bytes(&crowd->peers[i], buffer_bytes(&request));
        }
        for (size_t i = 0; i < BUSY; i++) {
            receive_reply(&crowd->peers[i]);
        }
    }
}

static void sign_all(struct crowd *crowd)
{
    for (size_t i = 0; i < BUSY; i++) {
        _cleanup_(buffer_clear) struct buffer request = {0};
        add_sign(&request, &crowd->peers[i]);
        send_bytes(&crowd->peers[i], buffer_bytes(&request));
        while (i == 0 && sem_wait(&crowd->stopped) < 0) {
        }
    }
    if (crowd->send_at == 0) {
        send_bytes(&crowd->peers[BUSY], buffer_bytes(&crowd->request));
    }
    (void)sem_post(&crowd->go);
    for (size_t i = 0; i <= BUSY; i++) {
        receive_reply(&crowd->peers[i]);
        assert_int_equal(crowd->peers[i].reply.rv, CKR_OK);
    }
}

static void tear_down_crowd(struct crowd *crowd)
{
    for (size_t i = 0; i <= BUSY; i++) {
        disconnect_peer(&crowd->peers[i]);
    }
    tear_down(&crowd->place);
    for (size_t i = 0; i <= BUSY; i++) {
        token_guard_unref(&crowd->doormen[i].guard);
    }
    assert_int_equal(crowd->frees, BUSY + 1);
    buffer_clear(&crowd->request);
    (void)sem_destroy(&crowd->stopped);
    (void)sem_destroy(&crowd->go);
}

/* It asks after all of them, or when the server has come to some of them already. */
static void test_who_comes_now_and_then_is_served_before_the_busy(void **state)
{
    (void)state;
    static const size_t sent_at[] = {0, 1, 2, 7, 20};
    for (size_t i = 0; i < ARRAY_SIZE(sent_at); i++) {
        struct crowd crowd = {.send_at = sent_at[i]};
        set_up_crowd(&crowd);
        keep_busy(&crowd);
        sign_all(&crowd);
        assert_int_equal(crowd.count, BUSY + 1);
        size_t place = 0;
        while (crowd.order[place] != BUSY) {
            place++;
        }
        /* The one that was held had begun before. */
        assert_in_range(place, 1, MAX(sent_at[i], 1) + CONNECTION_TURNS_PER_LOOK - 1);
        tear_down_crowd(&crowd);
    }
}

/* None of those who are busy has its turn twice, or not at all. */
static void test_the_busy_have_their_turns_in_order(void **state)
{
    (void)state;
    struct crowd crowd = {.send_at = BUSY};
    set_up_crowd(&crowd);
    keep_busy(&crowd);
    sign_all(&crowd);
    for (size_t i = 0; i <= BUSY; i++) {
        assert_int_equal(crowd.order[i], i);
    }
    tear_down_crowd(&crowd);
}

/* Of a call that is whole, but came when the server could not look for longer than a peer has. */
static void test_who_waits_for_the_server_is_not_late(void **state)
{
    (void)state;
    enum { BEGIN_BYTES = 5 };
    struct crowd crowd = {.send_at = BUSY};
    set_up_crowd(&crowd);
    struct peer *late = &crowd.peers[1];
    struct peer *other = &crowd.peers[0];
    _cleanup_(buffer_clear) struct buffer request = {0};
    rpc_request(&request, RPC_GET_INFO, "", "");
    send_bytes(late, (struct bytes){request.data, BEGIN_BYTES});
    /* Answered: what came before it has been looked at. */
    send_bytes(other, buffer_bytes(&request));
    receive_reply(other);
    _cleanup_(buffer_clear) struct buffer holds = {0};
    add_sign(&holds, other);
    send_bytes(other, buffer_bytes(&holds));
    while (sem_wait(&crowd.stopped) < 0) {
    }
    send_bytes(late, (struct bytes){request.data + BEGIN_BYTES, request.size - BEGIN_BYTES});
    assert_int_equal(receive_some(late, 2 * STALL_MS), -1);
    (void)sem_post(&crowd.go);
    receive_reply(late);
    assert_int_equal(late->reply.rv, CKR_OK);
    receive_reply(other);
    tear_down_crowd(&crowd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_comes_now_and_then_is_served_before_the_busy),
        cmocka_unit_test(test_the_busy_have_their_turns_in_order),
        cmocka_unit_test(test_who_waits_for_the_server_is_not_late),
    };
    return cmocka_run_group_tests_name("connection_place", tests, NULL, NULL);
}
