#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "lib/rpc/server_internal.h"

enum { INPUT_BYTES = 65536, EVENTS_PER_TURN = 64 };

static void stop_now(struct rpc_server *server);

void server_enter(struct rpc_server *server)
{
    server->depth++;
}

/* The C library keeps what it is given back; after a crowd has gone, most of it would stay resident
 * for nothing. */
static void give_memory_back(struct rpc_server *server)
{
    enum { CROWD = 1024, FALL = 4 };
    server->connection_peak = MAX(server->connection_peak, server->connection_count);
    if (server->connection_peak >= CROWD &&
        server->connection_count <= server->connection_peak / FALL) {
        server->connection_peak = server->connection_count;
        (void)malloc_trim(0);
    }
}

void server_leave(struct rpc_server *server)
{
    if (--server->depth > 0) {
        return;
    }
    struct rpc_connection *connection = TAILQ_FIRST(&server->closed);
    while (connection) {
        struct rpc_connection *next = TAILQ_NEXT(connection, link);
        free(connection);
        connection = next;
    }
    TAILQ_INIT(&server->closed);
    give_memory_back(server);
    if (server->is_stop_wanted) {
        server->is_stop_wanted = false;
        stop_now(server);
    }
}

void server_open_connection(struct rpc_server *server, int descriptor)
{
    struct error err;
    server_enter(server);
    if (connection_open(server, descriptor, &err) < 0) {
        log_debug("refused a connection: %s", err.text);
    }
    server_leave(server);
}

static void on_epoll(uv_poll_t *poll, int status, int uv_events)
{
    struct rpc_server *server = container_of(poll, struct rpc_server, poll);
    struct epoll_event events[EVENTS_PER_TURN];
    (void)uv_events;
    int count = status < 0 ? 0 : epoll_wait(server->epoll, events, EVENTS_PER_TURN, 0);
    server_enter(server);
    for (int i = 0; i < count; i++) {
        if (events[i].data.ptr == server) {
            listener_accept(server);
        } else {
            connection_on_events(events[i].data.ptr, events[i].events);
        }
    }
    server_leave(server);
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct rpc_server *server = container_of(prepare, struct rpc_server, prepare);
    server_enter(server);
    while (!TAILQ_EMPTY(&server->dirty)) {
        connection_settle(TAILQ_FIRST(&server->dirty));
    }
    timeouts_schedule(server);
    server_leave(server);
}

static void limits_fill(struct rpc_limits *limits)
{
    limits->connections = limits->connections ? limits->connections : 65536;
    limits->calls_per_connection =
        limits->calls_per_connection ? limits->calls_per_connection : 100;
    limits->header_bytes = limits->header_bytes ? limits->header_bytes : 16 << 10;
    limits->message_bytes = limits->message_bytes ? limits->message_bytes : 1 << 20;
    limits->unsent_bytes = limits->unsent_bytes ? limits->unsent_bytes : 8 << 20;
    limits->handshake_ms = limits->handshake_ms ? limits->handshake_ms : 10000;
    limits->stalled_ms = limits->stalled_ms ? limits->stalled_ms : 30000;
}

static void server_free(struct rpc_server *server)
{
    file_close_cleanup(&server->epoll);
    nghttp2_session_callbacks_del(server->callbacks);
    nghttp2_option_del(server->options);
    session_memory_clear(&server->session_memory);
    buffer_clear(&server->gather.bytes);
    free(server->input);
    free(server);
}
DEFINE_CLEANUP(struct rpc_server, server_free, server_free);

void server_handle_closed(struct rpc_server *server)
{
    if (--server->handle_count > 0) {
        return;
    }
    void (*stopped)(void *user) = server->stopped;
    void *user = server->stopped_user;
    server_free(server);
    if (stopped) {
        stopped(user);
    }
}

static void on_handle_closed(uv_handle_t *handle)
{
    server_handle_closed(handle->data);
}

/* Nothing fails after the first handle: a handle can only be closed by the loop. */
static int watch_listener(struct rpc_server *server, struct error *err)
{
    int flags = fcntl(server->listener, F_GETFL);
    if (flags < 0 || fcntl(server->listener, F_SETFL, flags | O_NONBLOCK) < 0) {
        return error_set_errno(err, errno, "preparing the listening socket");
    }
    server->epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = server};
    if (server->epoll < 0 ||
        epoll_ctl(server->epoll, EPOLL_CTL_ADD, server->listener, &event) < 0) {
        return error_set_errno(err, errno, "watching the listening socket");
    }
    int code = uv_poll_init(server->loop, &server->poll, server->epoll);
    if (code < 0) {
        return error_set(err, ERROR_UNAVAILABLE, "adding the server to the event loop: %s",
                         uv_strerror(code));
    }
    return 0;
}

static void start_handles(struct rpc_server *server)
{
    (void)uv_prepare_init(server->loop, &server->prepare);
    (void)uv_timer_init(server->loop, &server->timer);
    server->poll.data = server->prepare.data = server->timer.data = server;
    server->handle_count = 3;
    (void)uv_poll_start(&server->poll, UV_READABLE, on_epoll);
    (void)uv_prepare_start(&server->prepare, on_prepare);
}

int rpc_server_new(uv_loop_t *loop, int listener, const struct rpc_server_config *config,
                   struct rpc_server **ret_server, struct error *err)
{
    _cleanup_(server_free_cleanup) struct rpc_server *server = NEW(struct rpc_server);
    server->loop = loop;
    server->config = *config;
    limits_fill(&server->config.limits);
    server->listener = listener;
    server->epoll = -1;
    server->timer_due_ms = UINT64_MAX;
    server->input = memory_new(INPUT_BYTES);
    TAILQ_INIT(&server->connections);
    TAILQ_INIT(&server->dirty);
    TAILQ_INIT(&server->closed);
    TAILQ_INIT(&server->silent);
    TAILQ_INIT(&server->stalled);
    TAILQ_INIT(&server->partial);
    TRY(session_setup(server, err));
    TRY(watch_listener(server, err));
    start_handles(server);
    *ret_server = take_ptr(server);
    return 0;
}

static void stop_connection(struct rpc_connection *connection, const struct error *status)
{
    struct rpc_call *call = LIST_FIRST(&connection->calls);
    while (call) {
        struct rpc_call *next = LIST_NEXT(call, link);
        call_abort(call, status);
        call = next;
    }
    connection_end(connection, NGHTTP2_NO_ERROR, status->text);
    connection_settle(connection);
}

static void stop_now(struct rpc_server *server)
{
    server_enter(server);
    while (!TAILQ_EMPTY(&server->connections)) {
        stop_connection(TAILQ_FIRST(&server->connections), &server->stop_status);
    }
    server_leave(server);
    file_close_cleanup(&server->listener);
    uv_close((uv_handle_t *)&server->poll, on_handle_closed);
    uv_close((uv_handle_t *)&server->prepare, on_handle_closed);
    uv_close((uv_handle_t *)&server->timer, on_handle_closed);
}

void rpc_server_stop(struct rpc_server *server, const struct error *status,
                     void (*stopped)(void *user), void *user)
{
    if (server->is_stopping) {
        return;
    }
    server->is_stopping = true;
    if (status) {
        server->stop_status = *status;
    } else {
        (void)error_set(&server->stop_status, ERROR_UNAVAILABLE, "the server stops");
    }
    server->stopped = stopped;
    server->stopped_user = user;
    if (server->depth > 0) {
        server->is_stop_wanted = true;
    } else {
        stop_now(server);
    }
}

size_t rpc_server_connection_count(const struct rpc_server *server)
{
    return server->connection_count;
}

size_t rpc_server_call_count(const struct rpc_server *server)
{
    return server->call_count;
}
