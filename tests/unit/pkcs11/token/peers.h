/* A server of tokens in its thread, and processes that speak with it, all of which are this one. */
#pragma once

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "pkcs11/token/server.h"
#include "tests/unit/pkcs11/token/fixture.h"
#include "tests/unit/pkcs11/token/rpc.h"

enum { STALL_MS = 1000, MANY = 500, PIPELINED = 50 };

struct place {
    struct fixture fixture;
    struct mailbox *owner;
    struct token_server *server;
    struct token_generation *generations[2]; /* EC, RSA */
    struct token_view *view, *empty;
    struct token_guard *guard; /* of new connections; NULL: none */
};

/* The process on the other side, which is this one. */
struct peer {
    struct token_connection *connection;
    int descriptor;
    unsigned closed;
    struct buffer received;
    struct rpc_reply reply;
    CK_SESSION_HANDLE session;
};

static inline void set_up(struct place *place)
{
    *place = (struct place){0};
    fixture_set_up(&place->fixture);
    place->generations[0] =
        fixture_generation(&place->fixture, "ec", KEY_TYPE_EC_P256, (struct bytes){0});
    place->generations[1] =
        fixture_generation(&place->fixture, "rsa", KEY_TYPE_RSA_2048, (struct bytes){0});
    place->view = token_view_new(place->generations, 2, NULL, 0, NULL);
    place->empty = token_view_new(NULL, 0, NULL, 0, NULL);
    assert_int_equal(mailbox_new(&place->owner, NULL), 0);
    const struct token_server_config config = {.mailbox = place->owner, .stall_ms = STALL_MS};
    assert_int_equal(token_server_new(&config, &place->server, NULL), 0);
}

static inline void tear_down(struct place *place)
{
    if (place->server) {
        token_server_free(place->server);
    }
    mailbox_deliver(place->owner);
    mailbox_free(place->owner);
    token_view_unref(place->view);
    token_view_unref(place->empty);
    token_generation_unref(place->generations[0]);
    token_generation_unref(place->generations[1]);
    fixture_tear_down(&place->fixture);
}

static inline void note_closed(void *user)
{
    struct peer *peer = user;
    peer->closed++;
}

static inline void adopt(struct place *place, struct peer *peer, int descriptor, struct bytes saved)
{
    struct error err = {0};
    const struct token_connection_config config = {
        .descriptor = descriptor,
        .pid = getpid(),
        .flow = (uint64_t)descriptor,
        .view = place->view,
        .guard = place->guard,
        .saved = saved,
        .closed = note_closed,
        .user = peer,
    };
    if (token_server_adopt(place->server, &config, &peer->connection, &err) < 0) {
        fail_msg("%s", err.text);
    }
}

static inline void connect_peer(struct place *place, struct peer *peer)
{
    int pair[2];
    *peer = (struct peer){0};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    peer->descriptor = pair[0];
    adopt(place, peer, pair[1], (struct bytes){0});
}

static inline void disconnect_peer(struct peer *peer)
{
    if (peer->connection) {
        token_connection_close(take_ptr(peer->connection));
    }
    file_close_cleanup(&peer->descriptor);
    buffer_clear(&peer->received);
}

static inline void send_bytes(struct peer *peer, struct bytes bytes)
{
    while (bytes.size > 0) {
        ssize_t sent = send(peer->descriptor, bytes.data, bytes.size, MSG_NOSIGNAL);
        assert_true(sent > 0);
        bytes.data += sent;
        bytes.size -= (size_t)sent;
    }
}

/* What there is within the time; 0: the other side has closed, -1: nothing. */
static inline ssize_t receive_some(struct peer *peer, int wait_ms)
{
    struct pollfd readable = {.fd = peer->descriptor, .events = POLLIN};
    if (poll(&readable, 1, wait_ms) != 1) {
        return -1;
    }
    enum { CHUNK_BYTES = 65536 };
    uint8_t *room = buffer_extend(&peer->received, CHUNK_BYTES);
    ssize_t count = recv(peer->descriptor, room, CHUNK_BYTES, 0);
    peer->received.size -= CHUNK_BYTES - (size_t)MAX(count, 0);
    return MAX(count, 0);
}

static inline void receive_reply(struct peer *peer)
{
    buffer_consume(&peer->received, peer->reply.size);
    while (!rpc_read_reply(buffer_bytes(&peer->received), &peer->reply)) {
        if (receive_some(peer, FIXTURE_WAIT_MS) <= 0) {
            fail_msg("no reply");
        }
    }
}

static inline CK_RV call(struct peer *peer, uint32_t id, const char *signature, const char *kinds,
                         ...)
{
    _cleanup_(buffer_clear) struct buffer request = {0};
    va_list arguments;
    va_start(arguments, kinds);
    rpc_request_of(&request, id, signature, kinds, arguments);
    va_end(arguments);
    send_bytes(peer, buffer_bytes(&request));
    receive_reply(peer);
    assert_int_equal(peer->reply.code, RPC_CODE + id);
    return peer->reply.rv;
}

/* As far as a client goes before its first call: the byte that offers a version, and its answer. */
static inline void greet(struct peer *peer, uint8_t version)
{
    send_bytes(peer, (struct bytes){&version, 1});
    assert_int_equal(receive_some(peer, FIXTURE_WAIT_MS), 1);
    assert_int_equal(peer->received.data[0], 0);
    buffer_consume(&peer->received, 1);
}

static inline void open_session(struct peer *peer)
{
    _cleanup_(buffer_clear) struct buffer request = {0};
    greet(peer, 0);
    rpc_request_initialize(&request);
    send_bytes(peer, buffer_bytes(&request));
    receive_reply(peer);
    assert_int_equal(peer->reply.rv, CKR_OK);
    assert_int_equal(call(peer, RPC_OPEN_SESSION, "uu", "uu", (CK_ULONG)TOKEN_SLOT_ID,
                          (CK_ULONG)CKF_SERIAL_SESSION),
                     CKR_OK);
    peer->session = reader_u64(&peer->reply.values);
}

static const uint8_t ecdsa[] = {0, 0, 0x10, 0x41, 0xff, 0xff, 0xff, 0xff};
static const uint8_t pkcs1_sha256[] = {0, 0, 0, 0x40};
static const uint8_t digest[32] = {7};

static inline CK_RV sign_init(struct place *place, struct peer *peer, bool is_rsa)
{
    CK_OBJECT_HANDLE key = fixture_handle(place->generations[is_rsa], OBJECT_PRIVATE_KEY);
    return is_rsa
               ? call(peer, RPC_SIGN_INIT, "uMu", "uru", peer->session, sizeof(pkcs1_sha256),
                      pkcs1_sha256, key)
               : call(peer, RPC_SIGN_INIT, "uMu", "uru", peer->session, sizeof(ecdsa), ecdsa, key);
}

static inline void add_sign(struct buffer *request, const struct peer *peer)
{
    rpc_request(request, RPC_SIGN, "uayfy", "uaf", peer->session, sizeof(digest), digest, 512);
}

static inline CK_RV sign(struct peer *peer)
{
    return call(peer, RPC_SIGN, "uayfy", "uaf", peer->session, sizeof(digest), digest, 512);
}

/* Waits for the server to end the connection; what it sent before stays in received. */
static inline bool is_ended(struct place *place, struct peer *peer, int wait_ms)
{
    uint64_t end = clock_monotonic_ms() + (uint64_t)wait_ms;
    ssize_t count;
    do {
        count = receive_some(peer, (int)(MAX(end, clock_monotonic_ms()) - clock_monotonic_ms()));
    } while (count > 0);
    while (count == 0 && peer->closed == 0 && clock_monotonic_ms() < end) {
        struct pollfd readable = {.fd = mailbox_descriptor(place->owner), .events = POLLIN};
        (void)poll(&readable, 1, wait_ms);
        mailbox_deliver(place->owner);
    }
    return count == 0;
}

/* Gives the connection to another server, as a restart of the agent does. */
static inline void hand_over(struct place *place, struct peer *peer)
{
    int descriptor = -1;
    _cleanup_(buffer_clear) struct buffer saved = {0};
    struct error err = {0};
    if (token_connection_save(peer->connection, &descriptor, &saved, &err) < 0) {
        fail_msg("%s", err.text);
    }
    token_server_free(place->server);
    const struct token_server_config config = {.mailbox = place->owner, .stall_ms = STALL_MS};
    assert_int_equal(token_server_new(&config, &place->server, NULL), 0);
    adopt(place, peer, descriptor, buffer_bytes(&saved));
}
