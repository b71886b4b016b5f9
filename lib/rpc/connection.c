#include "lib/rpc/server_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/base/memory.h"

enum { INPUT_BYTES = 65536, GOODBYE_BYTES = 256 };

void connection_mark_dirty(struct rpc_connection *connection)
{
    if (!connection->is_dirty) {
        connection->is_dirty = true;
        TAILQ_INSERT_TAIL(&connection->server->dirty, connection, dirty_link);
    }
}

void connection_end(struct rpc_connection *connection, uint32_t http2_error, const char *reason)
{
    if (connection->is_ending) {
        return;
    }
    log_debug("ending a connection: %s", reason);
    connection->is_ending = true;
    size_t size = strlen(reason);
    (void)nghttp2_submit_goaway(connection->session, NGHTTP2_FLAG_NONE,
                                nghttp2_session_get_last_proc_stream_id(connection->session),
                                http2_error, (const uint8_t *)reason, MIN(size, GOODBYE_BYTES));
    connection_mark_dirty(connection);
}

void connection_has_request(struct rpc_connection *connection)
{
    if (connection->is_silent) {
        connection->is_silent = false;
        TAILQ_REMOVE(&connection->server->silent, connection, silent_link);
    }
}

static void watch(struct rpc_connection *connection)
{
    /* While the peer does not take what waits for it, nothing is read from it: what it can make
     * grow stays bounded. */
    uint32_t events = connection->outbound.size_bytes > 0 ? EPOLLOUT : EPOLLIN;
    if (events != connection->events) {
        struct epoll_event event = {.events = events, .data.ptr = connection};
        connection->events = events;
        if (epoll_ctl(connection->server->epoll, EPOLL_CTL_MOD, connection->descriptor, &event) <
            0) {
            connection->is_gone = true;
        }
    }
}

static void note_stalled(struct rpc_connection *connection)
{
    struct rpc_server *server = connection->server;
    bool is_waiting = connection->outbound.size_bytes + connection->queued_bytes > 0;
    if (connection->is_stalled && (!is_waiting || connection->has_progress)) {
        connection->is_stalled = false;
        TAILQ_REMOVE(&server->stalled, connection, stalled_link);
    }
    if (is_waiting && !connection->is_stalled) {
        connection->is_stalled = true;
        connection->stalled_ms = uv_now(server->loop);
        TAILQ_INSERT_TAIL(&server->stalled, connection, stalled_link);
    }
    connection->has_progress = false;
}

/* Collects frames until nghttp2 has no more or one write is full. */
static int gather_frames(struct rpc_connection *connection, struct gather *gather)
{
    for (;;) {
        const uint8_t *data;
        ssize_t size = nghttp2_session_mem_send(connection->session, &data);
        if (size <= 0) {
            return (int)size;
        }
        gather_add_bytes(gather, data, (size_t)size);
    }
}

static int write_some(struct rpc_connection *connection)
{
    struct gather *gather = &connection->server->gather;
    ssize_t sent = outbound_write(&connection->outbound, connection->descriptor);
    if (sent > 0) {
        connection->has_progress = true;
    }
    while (sent >= 0 && connection->outbound.size_bytes == 0) {
        if (gather_frames(connection, gather) < 0) {
            gather_clear(gather);
            return -1;
        }
        if (gather->count == 0) {
            break;
        }
        sent = outbound_write_gathered(&connection->outbound, connection->descriptor, gather);
    }
    return sent < 0 ? -1 : 0;
}

static bool must_close(const struct rpc_connection *connection)
{
    size_t unsent_bytes = connection->outbound.size_bytes + connection->queued_bytes;
    return connection->is_gone || connection->is_ending ||
           unsent_bytes > connection->server->config.limits.unsent_bytes ||
           (connection->outbound.size_bytes == 0 &&
            !nghttp2_session_want_read(connection->session) &&
            !nghttp2_session_want_write(connection->session));
}

void connection_settle(struct rpc_connection *connection)
{
    if (connection->is_dirty) {
        connection->is_dirty = false;
        TAILQ_REMOVE(&connection->server->dirty, connection, dirty_link);
    }
    if (!connection->is_gone && write_some(connection) < 0) {
        connection->is_gone = true;
    }
    if (must_close(connection)) {
        connection_close(connection);
        return;
    }
    note_stalled(connection);
    watch(connection);
}

static void read_some(struct rpc_connection *connection)
{
    uint8_t *input = connection->server->input;
    ssize_t size = recv(connection->descriptor, input, INPUT_BYTES, MSG_DONTWAIT);
    if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
        return;
    }
    if (size <= 0) {
        connection->is_gone = true;
        return;
    }
    session_spend_frame(connection);
    ssize_t taken = nghttp2_session_mem_recv(connection->session, input, (size_t)size);
    if (taken < 0) {
        connection_end(connection, NGHTTP2_PROTOCOL_ERROR, nghttp2_strerror((int)taken));
    }
}

void connection_on_events(struct rpc_connection *connection, uint32_t events)
{
    if (connection->is_gone) {
        return;
    }
    if (events & EPOLLIN) {
        read_some(connection);
    } else if (events & (EPOLLHUP | EPOLLERR)) {
        connection->is_gone = true;
    }
    connection_settle(connection);
}

/* Tells a peer that is not let in why, as far as that can be sent at once. */
static void refuse(struct rpc_connection *connection, const struct error *reason)
{
    connection_end(connection, NGHTTP2_ENHANCE_YOUR_CALM, reason->text);
    /* What it has sent is read first: closing before would have it see a reset, not the reason. */
    (void)recv(connection->descriptor, connection->server->input, INPUT_BYTES, MSG_DONTWAIT);
    connection_settle(connection);
}

static struct rpc_connection *connection_new(struct rpc_server *server, int descriptor)
{
    struct rpc_connection *connection = NEW(struct rpc_connection);
    connection->server = server;
    connection->descriptor = descriptor;
    connection->opened_ms = uv_now(server->loop);
    connection->events = EPOLLIN;
    LIST_INIT(&connection->calls);
    outbound_init(&connection->outbound);
    TAILQ_INSERT_TAIL(&server->connections, connection, link);
    connection->is_silent = true;
    TAILQ_INSERT_TAIL(&server->silent, connection, silent_link);
    server->connection_count++;
    return connection;
}

int connection_open(struct rpc_server *server, int descriptor, struct error *err)
{
    struct rpc_connection *connection = connection_new(server, descriptor);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    if (session_open(connection, err) < 0) {
        connection_close(connection);
        return -1;
    }
    if (server->config.peer_opened &&
        server->config.peer_opened(server->config.user, descriptor, &connection->peer, err) < 0) {
        connection->peer = NULL;
        refuse(connection, err);
        return -1;
    }
    connection->has_peer = server->config.peer_opened != NULL;
    if (epoll_ctl(server->epoll, EPOLL_CTL_ADD, descriptor, &event) < 0) {
        (void)error_set_errno(err, errno, "watching a connection");
        connection_close(connection);
        return -1;
    }
    /* Most clients have said something by now; answer it together with our settings. */
    read_some(connection);
    connection_settle(connection);
    return 0;
}

void connection_close(struct rpc_connection *connection)
{
    struct rpc_server *server = connection->server;
    connection->is_gone = true;
    while (!LIST_EMPTY(&connection->calls)) {
        call_on_stream_closed(LIST_FIRST(&connection->calls));
    }
    connection_has_request(connection);
    if (connection->is_dirty) {
        TAILQ_REMOVE(&server->dirty, connection, dirty_link);
    }
    if (connection->is_stalled) {
        TAILQ_REMOVE(&server->stalled, connection, stalled_link);
    }
    nghttp2_session_del(connection->session);
    outbound_clear(&connection->outbound);
    /* Closing alone does not do it while a process that is being started has the socket too. */
    (void)epoll_ctl(connection->server->epoll, EPOLL_CTL_DEL, connection->descriptor, NULL);
    (void)close(connection->descriptor);
    if (connection->has_peer && server->config.peer_closed) {
        server->config.peer_closed(server->config.user, connection->peer);
    }
    server->connection_count--;
    TAILQ_REMOVE(&server->connections, connection, link);
    TAILQ_INSERT_TAIL(&server->closed, connection, link);
}
