#include "tests/unit/cmocka_all.h"

#include <dirent.h>
#include <malloc.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "tests/unit/pkcs11/token/peers.h"

static void test_conversation(void **state)
{
    (void)state;
    struct place place;
    struct peer peer;
    struct token_counters counters;
    set_up(&place);
    connect_peer(&place, &peer);
    open_session(&peer);
    for (int i = 0; i < 10; i++) {
        bool is_rsa = i % 2;
        assert_int_equal(sign_init(&place, &peer, is_rsa), CKR_OK);
        assert_int_equal(sign(&peer), CKR_OK);
        assert_int_equal(reader_u8(&peer.reply.values), 1);
        assert_int_equal(reader_u32(&peer.reply.values), is_rsa ? 256 : 64);
    }
    token_server_counters(place.server, &counters);
    assert_int_equal(counters.connections, 1);
    assert_int_equal(counters.sessions, 1);
    assert_int_equal(counters.calls, 22);
    assert_int_equal(counters.signatures, 10);
    assert_int_equal(counters.refusals, 0);
    file_close_cleanup(&peer.descriptor);
    peer.descriptor = -1;
    for (uint64_t end = clock_monotonic_ms() + FIXTURE_WAIT_MS;
         peer.closed == 0 && clock_monotonic_ms() < end;) {
        struct pollfd readable = {.fd = mailbox_descriptor(place.owner), .events = POLLIN};
        assert_int_equal(poll(&readable, 1, FIXTURE_WAIT_MS), 1);
        mailbox_deliver(place.owner);
    }
    assert_int_equal(peer.closed, 1);
    token_server_counters(place.server, &counters);
    assert_int_equal(counters.connections + counters.sessions, 0);
    disconnect_peer(&peer);
    tear_down(&place);
}

static void test_bytes_come_one_by_one(void **state)
{
    (void)state;
    struct place place;
    struct peer peer;
    set_up(&place);
    connect_peer(&place, &peer);
    open_session(&peer);
    assert_int_equal(sign_init(&place, &peer, false), CKR_OK);
    _cleanup_(buffer_clear) struct buffer request = {0};
    add_sign(&request, &peer);
    for (size_t i = 0; i < request.size; i++) {
        send_bytes(&peer, (struct bytes){request.data + i, 1});
    }
    receive_reply(&peer);
    assert_int_equal(peer.reply.rv, CKR_OK);
    disconnect_peer(&peer);
    tear_down(&place);
}

/* As threads of one process may do it: the replies come in the order of the calls. */
static void test_many_calls_at_once(void **state)
{
    (void)state;
    struct place place;
    struct peer peer;
    set_up(&place);
    connect_peer(&place, &peer);
    open_session(&peer);
    _cleanup_(buffer_clear) struct buffer requests = {0};
    CK_OBJECT_HANDLE key = fixture_handle(place.generations[0], OBJECT_PRIVATE_KEY);
    for (int i = 0; i < PIPELINED; i++) {
        rpc_request(&requests, RPC_SIGN_INIT, "uMu", "uru", peer.session, sizeof(ecdsa), ecdsa,
                    key);
        add_sign(&requests, &peer);
        for (int j = 0; j < 10; j++) {
            rpc_request(&requests, RPC_GET_INFO, "", "");
        }
    }
    send_bytes(&peer, buffer_bytes(&requests));
    for (int i = 0; i < 12 * PIPELINED; i++) {
        static const uint32_t ids[] = {RPC_SIGN_INIT, RPC_SIGN, RPC_GET_INFO};
        receive_reply(&peer);
        assert_int_equal(peer.reply.rv, CKR_OK);
        assert_int_equal(peer.reply.id, ids[MIN(i % 12, 2)]);
    }
    disconnect_peer(&peer);
    tear_down(&place);
}

/* Byte strings after which the connection is over, without a reply. */
static void test_malformed_ends_connection(void **state)
{
    (void)state;
    static const struct {
        uint32_t options, payload, id;
    } bad[] = {
        {1, 65536, 3}, {0xffffffff, 0xffffffff, 3}, {0, 8, 999}, {0, 8, 0}, {0, 0, 3},
    };
    struct place place;
    set_up(&place);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct peer peer;
        connect_peer(&place, &peer);
        open_session(&peer);
        _cleanup_(buffer_clear) struct buffer bytes = {0};
        buffer_append_u32(&bytes, 16);
        buffer_append_u32(&bytes, bad[i].options);
        buffer_append_u32(&bytes, bad[i].payload);
        buffer_append_u32(&bytes, bad[i].id);
        buffer_append_u32(&bytes, 0);
        send_bytes(&peer, buffer_bytes(&bytes));
        size_t before = peer.received.size;
        assert_true(is_ended(&place, &peer, FIXTURE_WAIT_MS));
        assert_int_equal(peer.received.size, before);
        assert_int_equal(peer.closed, 1);
        disconnect_peer(&peer);
    }
    tear_down(&place);
}

/* The child of the process inherits the connection over exec and writes into it. */
static void test_other_writer_ends_connection(void **state)
{
    (void)state;
    struct place place;
    struct peer peer;
    set_up(&place);
    connect_peer(&place, &peer);
    open_session(&peer);
    assert_int_equal(sign_init(&place, &peer, false), CKR_OK);
    _cleanup_(buffer_clear) struct buffer request = {0};
    add_sign(&request, &peer);
    pid_t child = fork();
    if (child == 0) {
        _exit(send(peer.descriptor, request.data, request.size, MSG_NOSIGNAL) > 0 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    size_t before = peer.received.size;
    assert_true(is_ended(&place, &peer, FIXTURE_WAIT_MS));
    assert_int_equal(peer.received.size, before);
    assert_int_equal(peer.closed, 1);
    disconnect_peer(&peer);
    tear_down(&place);
}

/* What is in the socket before the server has it carries no credentials: only one byte may. */
static void test_early_bytes(void **state)
{
    (void)state;
    struct place place;
    set_up(&place);
    for (int has_call = 0; has_call < 2; has_call++) {
        struct peer peer = {0};
        int pair[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        peer.descriptor = pair[0];
        _cleanup_(buffer_clear) struct buffer early = {0};
        buffer_append_u8(&early, 0);
        if (has_call) {
            rpc_request_initialize(&early);
        }
        send_bytes(&peer, buffer_bytes(&early));
        adopt(&place, &peer, pair[1], (struct bytes){0});
        if (has_call) {
            assert_true(is_ended(&place, &peer, FIXTURE_WAIT_MS));
        } else {
            assert_int_equal(receive_some(&peer, FIXTURE_WAIT_MS), 1);
        }
        disconnect_peer(&peer);
    }
    tear_down(&place);
}

static size_t count_descriptors(void)
{
    size_t count = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (readdir(folder)) {
        count++;
    }
    (void)closedir(folder);
    return count;
}

static void test_passed_descriptors_are_dropped(void **state)
{
    (void)state;
    struct place place;
    struct peer peer;
    set_up(&place);
    connect_peer(&place, &peer);
    open_session(&peer);
    size_t before = count_descriptors();
    _cleanup_(buffer_clear) struct buffer request = {0};
    rpc_request(&request, RPC_GET_INFO, "", "");
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec vector = {request.data, request.size};
    struct msghdr message = {.msg_iov = &vector,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&control.header), &peer.descriptor, sizeof(int));
    assert_int_equal(sendmsg(peer.descriptor, &message, MSG_NOSIGNAL), request.size);
    receive_reply(&peer);
    assert_int_equal(peer.reply.rv, CKR_OK);
    assert_int_equal(count_descriptors(), before);
    disconnect_peer(&peer);
    tear_down(&place);
}

static void test_half_frame_ends_connection(void **state)
{
    (void)state;
    struct place place;
    struct peer peer;
    set_up(&place);
    connect_peer(&place, &peer);
    open_session(&peer);
    _cleanup_(buffer_clear) struct buffer request = {0};
    rpc_request(&request, RPC_GET_INFO, "", "");
    /* Slow, but each call within the time: that is a client's right. */
    for (int i = 0; i < 4; i++) {
        send_bytes(&peer, (struct bytes){request.data, 5});
        assert_int_equal(receive_some(&peer, STALL_MS / 8), -1);
        send_bytes(&peer, (struct bytes){request.data + 5, request.size - 5});
        receive_reply(&peer);
    }
    /* Nothing is owed between calls. */
    assert_int_equal(receive_some(&peer, 2 * STALL_MS), -1);
    uint64_t begin = clock_monotonic_ms();
    for (size_t i = 0; i < request.size - 1; i++) {
        struct pollfd hung_up = {.fd = peer.descriptor, .events = POLLIN};
        if (poll(&hung_up, 1, STALL_MS / 8) == 1) {
            break;
        }
        (void)send(peer.descriptor, request.data + i, 1, MSG_NOSIGNAL);
    }
    assert_true(is_ended(&place, &peer, FIXTURE_WAIT_MS));
    assert_true(clock_monotonic_ms() - begin >= STALL_MS - 1);
    assert_int_equal(peer.closed, 1);
    disconnect_peer(&peer);
    tear_down(&place);
}

static uint64_t processor_ms(void)
{
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000 +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1000;
}

/* Asks for much and never reads: others are served, nothing spins, memory is bounded. */
static void test_peer_that_does_not_read(void **state)
{
    (void)state;
    struct place place;
    struct peer deaf;
    struct peer other;
    set_up(&place);
    connect_peer(&place, &deaf);
    connect_peer(&place, &other);
    open_session(&deaf);
    open_session(&other);
    _cleanup_(buffer_clear) struct buffer request = {0};
    rpc_request(&request, RPC_GENERATE_RANDOM, "ufy", "uf", deaf.session, 60 * 1024);
    size_t sent = 0;
    while (send(deaf.descriptor, request.data, request.size, MSG_NOSIGNAL | MSG_DONTWAIT) ==
               (ssize_t)request.size &&
           sent < MANY) {
        sent++;
    }
    uint64_t before = processor_ms();
    assert_int_equal(call(&other, RPC_GET_INFO, "", ""), CKR_OK);
    struct pollfd closed = {.fd = mailbox_descriptor(place.owner), .events = POLLIN};
    assert_int_equal(poll(&closed, 1, FIXTURE_WAIT_MS), 1);
    mailbox_deliver(place.owner);
    assert_int_equal(deaf.closed, 1);
    assert_true(processor_ms() - before < STALL_MS / 2);
    assert_int_equal(call(&other, RPC_GET_INFO, "", ""), CKR_OK);
    disconnect_peer(&deaf);
    disconnect_peer(&other);
    tear_down(&place);
}

static void test_new_view(void **state)
{
    (void)state;
    struct place place;
    struct peer peer;
    struct token_counters counters;
    set_up(&place);
    connect_peer(&place, &peer);
    open_session(&peer);
    assert_int_equal(sign_init(&place, &peer, false), CKR_OK);
    token_connection_publish(peer.connection, place.empty, NULL);
    assert_int_equal(sign(&peer), CKR_KEY_FUNCTION_NOT_PERMITTED);
    assert_int_equal(sign_init(&place, &peer, false), CKR_KEY_FUNCTION_NOT_PERMITTED);
    token_connection_publish(peer.connection, NULL, NULL);
    assert_int_equal(sign_init(&place, &peer, false), CKR_KEY_FUNCTION_NOT_PERMITTED);
    token_server_counters(place.server, &counters);
    assert_int_equal(counters.refusals, 3);
    /* No call overtakes it. */
    for (int i = 0; i < MANY; i++) {
        token_connection_publish(peer.connection, i % 2 ? place.view : place.empty, NULL);
        assert_int_equal(sign_init(&place, &peer, false),
                         i % 2 ? CKR_OK : CKR_KEY_FUNCTION_NOT_PERMITTED);
        assert_int_equal(sign(&peer), i % 2 ? CKR_OK : CKR_OPERATION_NOT_INITIALIZED);
    }
    disconnect_peer(&peer);
    tear_down(&place);
}

/* The owner ends connections, and the server, while keys are at work. */
static void test_ends_while_signing(void **state)
{
    (void)state;
    enum { PEERS = 32 };
    struct place place;
    static struct peer peers[PEERS];
    set_up(&place);
    for (int i = 0; i < PEERS; i++) {
        connect_peer(&place, &peers[i]);
        open_session(&peers[i]);
        assert_int_equal(sign_init(&place, &peers[i], true), CKR_OK);
    }
    for (int i = 0; i < PEERS; i++) {
        _cleanup_(buffer_clear) struct buffer request = {0};
        add_sign(&request, &peers[i]);
        send_bytes(&peers[i], buffer_bytes(&request));
    }
    for (int i = 0; i < PEERS; i++) {
        if (i % 4 == 0) {
            token_connection_close(take_ptr(peers[i].connection));
        } else if (i % 4 == 1) {
            file_close_cleanup(&peers[i].descriptor);
            peers[i].descriptor = -1;
        } else if (i % 4 == 2) {
            token_connection_publish(peers[i].connection, place.empty, NULL);
        }
    }
    token_server_free(take_ptr(place.server));
    for (int i = 0; i < PEERS; i++) {
        peers[i].connection = NULL;
        disconnect_peer(&peers[i]);
    }
    tear_down(&place);
}

/* A closed callback frees the server, which must then be quiet. */
struct fatal {
    struct place *place;
    unsigned calls;
};

static void free_the_server(void *user)
{
    struct fatal *fatal = user;
    fatal->calls++;
    token_server_free(take_ptr(fatal->place->server));
}

static void test_callback_frees_server(void **state)
{
    (void)state;
    struct place place;
    set_up(&place);
    struct fatal fatal = {.place = &place};
    for (int i = 0; i < 3; i++) {
        int pair[2];
        struct token_connection *connection;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        const struct token_connection_config config = {
            .descriptor = pair[1], .pid = getpid(), .closed = free_the_server, .user = &fatal};
        assert_int_equal(token_server_adopt(place.server, &config, &connection, NULL), 0);
        (void)close(pair[0]);
    }
    struct token_counters counters;
    do {
        (void)sched_yield();
        token_server_counters(place.server, &counters);
    } while (counters.connections > 0);
    struct pollfd readable = {.fd = mailbox_descriptor(place.owner), .events = POLLIN};
    assert_int_equal(poll(&readable, 1, FIXTURE_WAIT_MS), 1);
    mailbox_deliver(place.owner);
    assert_int_equal(fatal.calls, 1);
    tear_down(&place);
}

static void test_hand_over(void **state)
{
    (void)state;
    struct place place;
    struct peer peer;
    struct token_counters counters;
    set_up(&place);
    connect_peer(&place, &peer);
    open_session(&peer);
    assert_int_equal(sign_init(&place, &peer, false), CKR_OK);
    /* Half a call. */
    _cleanup_(buffer_clear) struct buffer request = {0};
    add_sign(&request, &peer);
    send_bytes(&peer, (struct bytes){request.data, 30});
    hand_over(&place, &peer);
    token_server_counters(place.server, &counters);
    assert_int_equal(counters.connections, 1);
    send_bytes(&peer, (struct bytes){request.data + 30, request.size - 30});
    receive_reply(&peer);
    assert_int_equal(peer.reply.rv, CKR_OK);
    assert_int_equal(peer.reply.id, RPC_SIGN);
    /* In the middle of a signature, and with calls behind it. */
    assert_int_equal(sign_init(&place, &peer, true), CKR_OK);
    rpc_request(&request, RPC_GET_INFO, "", "");
    send_bytes(&peer, buffer_bytes(&request));
    hand_over(&place, &peer);
    receive_reply(&peer);
    assert_int_equal(peer.reply.id, RPC_SIGN);
    receive_reply(&peer);
    assert_int_equal(peer.reply.id, RPC_GET_INFO);
    hand_over(&place, &peer);
    assert_int_equal(sign_init(&place, &peer, false), CKR_OK);
    assert_int_equal(sign(&peer), CKR_OK);
    token_server_counters(place.server, &counters);
    assert_int_equal(counters.sessions, 1);
    assert_int_equal(peer.closed, 0);
    disconnect_peer(&peer);
    tear_down(&place);
}

/* Keeps the keystore's workers from everything else. */
struct hang {
    struct keystore_job job;
    sem_t begun, end;
};

static void run_hang(struct keystore_job *job)
{
    struct hang *hang = container_of(job, struct hang, job);
    (void)sem_post(&hang->begun);
    (void)sem_wait(&hang->end);
}

static void hang_workers(struct place *place, struct hang *hangs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        hangs[i] = (struct hang){.job = {.run = run_hang, .flow = MANY + i}};
        assert_int_equal(sem_init(&hangs[i].begun, 0, 0), 0);
        assert_int_equal(sem_init(&hangs[i].end, 0, 0), 0);
        assert_int_equal(keystore_submit(place->fixture.keystore, &hangs[i].job, NULL), 0);
    }
    assert_int_equal(sem_wait(&hangs[0].begun), 0);
}

/* The clients are told that the device failed, and keep their connections. */
static void test_hand_over_while_keys_hang(void **state)
{
    (void)state;
    enum { PEERS = 4, WORKERS_MAX = 16, CALLS = 4 * PEERS };
    struct place place;
    struct peer peers[PEERS];
    int descriptors[PEERS];
    struct buffer saved[PEERS] = {0};
    struct hang hangs[WORKERS_MAX];
    set_up(&place);
    for (int i = 0; i < PEERS; i++) {
        connect_peer(&place, &peers[i]);
        open_session(&peers[i]);
        assert_int_equal(sign_init(&place, &peers[i], true), CKR_OK);
    }
    hang_workers(&place, hangs, WORKERS_MAX);
    for (int i = 0; i < PEERS; i++) {
        _cleanup_(buffer_clear) struct buffer request = {0};
        add_sign(&request, &peers[i]);
        send_bytes(&peers[i], buffer_bytes(&request));
    }
    uint64_t begin = clock_monotonic_ms();
    struct token_counters counters;
    do {
        (void)sched_yield();
        token_server_counters(place.server, &counters);
    } while (counters.calls < CALLS && clock_monotonic_ms() - begin < FIXTURE_WAIT_MS);
    for (int i = 0; i < PEERS; i++) {
        assert_int_equal(
            token_connection_save(peers[i].connection, &descriptors[i], &saved[i], NULL), 0);
    }
    assert_true(clock_monotonic_ms() - begin < (uint64_t)PEERS * STALL_MS);
    for (int i = 0; i < PEERS; i++) {
        adopt(&place, &peers[i], descriptors[i], buffer_bytes(&saved[i]));
        receive_reply(&peers[i]);
        assert_int_equal(peers[i].reply.rv, CKR_DEVICE_ERROR);
        buffer_clear(&saved[i]);
    }
    for (size_t i = 0; i < WORKERS_MAX; i++) {
        (void)sem_post(&hangs[i].end);
    }
    for (int i = 0; i < PEERS; i++) {
        assert_int_equal(sign_init(&place, &peers[i], true), CKR_OK);
        assert_int_equal(sign(&peers[i]), CKR_OK);
        disconnect_peer(&peers[i]);
    }
    tear_down(&place);
}

/* Replies that the client has not read yet go on from where they stopped. */
static void test_hand_over_of_replies(void **state)
{
    (void)state;
    enum { CALLS = 20, RANDOM_BYTES = 60 * 1024 };
    struct place place;
    struct peer peer;
    set_up(&place);
    connect_peer(&place, &peer);
    open_session(&peer);
    _cleanup_(buffer_clear) struct buffer requests = {0};
    for (int i = 0; i < CALLS; i++) {
        rpc_request(&requests, RPC_GENERATE_RANDOM, "ufy", "uf", peer.session, RANDOM_BYTES);
    }
    send_bytes(&peer, buffer_bytes(&requests));
    receive_reply(&peer);
    hand_over(&place, &peer);
    for (int i = 1; i < CALLS; i++) {
        receive_reply(&peer);
        assert_int_equal(peer.reply.id, RPC_GENERATE_RANDOM);
        assert_int_equal(peer.reply.values.rest.size, RANDOM_BYTES + 5);
    }
    disconnect_peer(&peer);
    tear_down(&place);
}

static void test_save_of_what_is_over(void **state)
{
    (void)state;
    struct place place;
    struct peer peer;
    set_up(&place);
    connect_peer(&place, &peer);
    file_close_cleanup(&peer.descriptor);
    peer.descriptor = -1;
    struct token_counters counters;
    do {
        (void)sched_yield();
        token_server_counters(place.server, &counters);
    } while (counters.connections > 0);
    int descriptor = -1;
    _cleanup_(buffer_clear) struct buffer saved = {0};
    struct error err = {0};
    assert_int_equal(token_connection_save(peer.connection, &descriptor, &saved, &err), -1);
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    mailbox_deliver(place.owner);
    assert_int_equal(peer.closed, 0);
    tear_down(&place);
}

static void test_saved_state_is_checked(void **state)
{
    (void)state;
    struct place place;
    struct peer peer;
    set_up(&place);
    connect_peer(&place, &peer);
    open_session(&peer);
    int descriptor = -1;
    _cleanup_(buffer_clear) struct buffer saved = {0};
    assert_int_equal(token_connection_save(peer.connection, &descriptor, &saved, NULL), 0);
    peer.connection = NULL;
    size_t before = count_descriptors();
    for (size_t size = 1; size < saved.size; size++) {
        struct error err = {0};
        const struct token_connection_config config = {
            .descriptor = dup(descriptor), .pid = getpid(), .saved = {saved.data, size}};
        assert_int_equal(token_server_adopt(place.server, &config, &peer.connection, &err), -1);
        assert_int_equal(err.code, ERROR_DATA_LOSS);
    }
    assert_int_equal(count_descriptors(), before);
    (void)close(descriptor);
    peer.connection = NULL;
    disconnect_peer(&peer);
    tear_down(&place);
}

static void test_process_must_be_known(void **state)
{
    (void)state;
    struct place place;
    set_up(&place);
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    struct error err = {0};
    struct token_connection *connection;
    const struct token_connection_config config = {.descriptor = pair[1]};
    assert_int_equal(token_server_adopt(place.server, &config, &connection, &err), -1);
    assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
    (void)close(pair[0]);
    tear_down(&place);
}

/* After its calls a connection owns no buffers. */
static void test_idle_memory(void **state)
{
    (void)state;
    enum { IDLE_LIMIT_BYTES = 4096 };
    struct place place;
    static struct peer peers[MANY];
    /* Else what the server's thread has is not counted. */
    (void)mallopt(M_ARENA_MAX, 1);
    set_up(&place);
    connect_peer(&place, &peers[0]);
    open_session(&peers[0]);
    size_t before = mallinfo2().uordblks;
    for (int i = 1; i < MANY; i++) {
        connect_peer(&place, &peers[i]);
        open_session(&peers[i]);
        assert_int_equal(sign_init(&place, &peers[i], false), CKR_OK);
        assert_int_equal(sign(&peers[i]), CKR_OK);
        buffer_clear(&peers[i].received);
        peers[i].reply.size = 0;
    }
    size_t each = (mallinfo2().uordblks - before) / (MANY - 1);
    print_message("an idle connection with a session: %zu bytes\n", each);
    assert_true(each < IDLE_LIMIT_BYTES);
    for (int i = 0; i < MANY; i++) {
        disconnect_peer(&peers[i]);
    }
    tear_down(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conversation),
        cmocka_unit_test(test_bytes_come_one_by_one),
        cmocka_unit_test(test_many_calls_at_once),
        cmocka_unit_test(test_malformed_ends_connection),
        cmocka_unit_test(test_other_writer_ends_connection),
        cmocka_unit_test(test_early_bytes),
        cmocka_unit_test(test_passed_descriptors_are_dropped),
        cmocka_unit_test(test_half_frame_ends_connection),
        cmocka_unit_test(test_peer_that_does_not_read),
        cmocka_unit_test(test_new_view),
        cmocka_unit_test(test_ends_while_signing),
        cmocka_unit_test(test_callback_frees_server),
        cmocka_unit_test(test_hand_over),
        cmocka_unit_test(test_hand_over_while_keys_hang),
        cmocka_unit_test(test_hand_over_of_replies),
        cmocka_unit_test(test_save_of_what_is_over),
        cmocka_unit_test(test_saved_state_is_checked),
        cmocka_unit_test(test_process_must_be_known),
        cmocka_unit_test(test_idle_memory),
    };
    return cmocka_run_group_tests_name("server", tests, NULL, NULL);
}
