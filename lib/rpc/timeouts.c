#include "lib/rpc/server_internal.h"

/* Each list is in order of its times, and its limit is the same for all: only the first counts. */
static uint64_t silent_due(const struct rpc_server *server)
{
    const struct rpc_connection *first = TAILQ_FIRST(&server->silent);
    return first ? first->opened_ms + server->config.limits.handshake_ms : UINT64_MAX;
}

static uint64_t stalled_due(const struct rpc_server *server)
{
    const struct rpc_connection *first = TAILQ_FIRST(&server->stalled);
    return first ? first->stalled_ms + server->config.limits.stalled_ms : UINT64_MAX;
}

static uint64_t partial_due(const struct rpc_server *server)
{
    const struct request *first = TAILQ_FIRST(&server->partial);
    return first ? first->begun_ms + server->config.limits.handshake_ms : UINT64_MAX;
}

static uint64_t accept_due(const struct rpc_server *server)
{
    return server->accept_again_ms ? server->accept_again_ms : UINT64_MAX;
}

static void end_silent(struct rpc_server *server)
{
    struct rpc_connection *connection = TAILQ_FIRST(&server->silent);
    TAILQ_REMOVE(&server->silent, connection, silent_link);
    connection->is_silent = false;
    connection_end(connection, NGHTTP2_NO_ERROR, "no request came in time");
}

static void end_stalled(struct rpc_server *server)
{
    struct rpc_connection *connection = TAILQ_FIRST(&server->stalled);
    TAILQ_REMOVE(&server->stalled, connection, stalled_link);
    connection->is_stalled = false;
    connection_end(connection, NGHTTP2_ENHANCE_YOUR_CALM, "what was sent is not read");
}

static void end_partial(struct rpc_server *server)
{
    struct request *request = TAILQ_FIRST(&server->partial);
    struct rpc_call *call = request->call;
    if (request->status == REQUEST_IS_HEADERS) {
        /* In the middle of headers no stream can be answered. */
        TAILQ_REMOVE(&server->partial, request, link);
        request->status = REQUEST_IS_WHOLE;
        connection_end(call->connection, NGHTTP2_ENHANCE_YOUR_CALM, "headers do not end");
        return;
    }
    struct error status;
    (void)error_set(&status, ERROR_DEADLINE_EXCEEDED,
                    "reading the request: it did not come within %llu ms",
                    (unsigned long long)server->config.limits.handshake_ms);
    call_abort(call, &status);
}

static void run(struct rpc_server *server)
{
    uint64_t now_ms = uv_now(server->loop);
    while (silent_due(server) <= now_ms) {
        end_silent(server);
    }
    while (stalled_due(server) <= now_ms) {
        end_stalled(server);
    }
    while (partial_due(server) <= now_ms) {
        end_partial(server);
    }
    if (accept_due(server) <= now_ms) {
        listener_resume(server);
    }
}

static void start_timer(struct rpc_server *server, uint64_t due_ms);

static void on_timer(uv_timer_t *timer)
{
    struct rpc_server *server = container_of(timer, struct rpc_server, timer);
    server->timer_due_ms = UINT64_MAX;
    /* It may be this process that did not run: what has come by now is read first. */
    server->has_looked = !server->has_looked;
    if (server->has_looked) {
        start_timer(server, uv_now(server->loop) + 1);
        return;
    }
    server_enter(server);
    run(server);
    server_leave(server);
}

static void start_timer(struct rpc_server *server, uint64_t due_ms)
{
    uint64_t now_ms = uv_now(server->loop);
    server->timer_due_ms = due_ms;
    (void)uv_timer_start(&server->timer, on_timer, due_ms > now_ms ? due_ms - now_ms : 0, 0);
}

void timeouts_schedule(struct rpc_server *server)
{
    uint64_t due_ms = MIN(MIN(silent_due(server), stalled_due(server)),
                          MIN(partial_due(server), accept_due(server)));
    /* A timer that fires too early finds nothing and is set again: cheaper than moving it each
     * time that the first of a list goes. */
    if (due_ms >= server->timer_due_ms) {
        return;
    }
    start_timer(server, due_ms);
}
