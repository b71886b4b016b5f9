#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "lib/rpc/server_internal.h"
#include "lib/rpc/status.h"

struct deadline {
    uv_timer_t timer;
    struct rpc_server *server;
    struct rpc_call *call; /* NULL: cancelled */
};

struct rpc_call *call_new(struct rpc_connection *connection, int32_t stream_id)
{
    struct rpc_call *call = NEW(struct rpc_call);
    call->connection = connection;
    call->stream_id = stream_id;
    TAILQ_INIT(&call->outgoing);
    LIST_INSERT_HEAD(&connection->calls, call, link);
    connection->server->call_count++;
    call->request = request_new(call);
    return call;
}

static void free_when_let_go(struct rpc_call *call)
{
    if (!call->connection && !call->has_handler) {
        free(call->status_text);
        free(call);
    }
}

static void drop_request(struct rpc_call *call)
{
    if (call->request) {
        request_free(take_ptr(call->request));
    }
}

static void drop_outgoing(struct rpc_call *call, struct outgoing *outgoing)
{
    call->connection->queued_bytes -= message_framed(outgoing->message).size - outgoing->offset;
    TAILQ_REMOVE(&call->outgoing, outgoing, link);
    rpc_message_unref(outgoing->message);
    free(outgoing);
}

static void drop_all_outgoing(struct rpc_call *call)
{
    struct outgoing *outgoing = TAILQ_FIRST(&call->outgoing);
    while (outgoing) {
        struct outgoing *next = TAILQ_NEXT(outgoing, link);
        drop_outgoing(call, outgoing);
        outgoing = next;
    }
}

static void on_deadline_closed(uv_handle_t *handle)
{
    struct deadline *deadline = container_of((uv_timer_t *)handle, struct deadline, timer);
    server_handle_closed(deadline->server);
    free(deadline);
}

static void drop_deadline(struct rpc_call *call)
{
    if (call->deadline) {
        struct deadline *deadline = take_ptr(call->deadline);
        deadline->call = NULL;
        uv_close((uv_handle_t *)&deadline->timer, on_deadline_closed);
    }
}

static void on_deadline(uv_timer_t *timer)
{
    struct deadline *deadline = container_of(timer, struct deadline, timer);
    struct rpc_server *server = deadline->server;
    if (deadline->call) {
        struct error status;
        (void)error_set(&status, ERROR_DEADLINE_EXCEEDED,
                        "answering the call: its deadline (grpc-timeout) has passed");
        server_enter(server);
        call_abort(deadline->call, &status);
        server_leave(server);
    }
}

static void set_deadline(struct rpc_call *call, uint64_t timeout_ms)
{
    struct deadline *deadline = NEW(struct deadline);
    deadline->server = call->connection->server;
    deadline->call = call;
    call->deadline = deadline;
    deadline->server->handle_count++;
    (void)uv_timer_init(deadline->server->loop, &deadline->timer);
    (void)uv_timer_start(&deadline->timer, on_deadline, timeout_ms, 0);
}

static void set_status(struct rpc_call *call, const struct error *status)
{
    call->is_concluded = true;
    if (status) {
        struct buffer text = {0};
        rpc_status_encode_text(status->text, &text);
        buffer_append_u8(&text, 0);
        call->status_code = (uint8_t)status->code;
        call->status_text = (char *)text.data;
    }
}

static void conclude(struct rpc_call *call, const struct error *status, unsigned http_status)
{
    if (call->is_concluded) {
        return;
    }
    set_status(call, status);
    drop_request(call);
    drop_deadline(call);
    connection_has_request(call->connection);
    if (call->has_response) {
        response_resume(call);
    } else {
        response_only_status(call, http_status);
    }
    connection_mark_dirty(call->connection);
}

/* From here on the handler knows nothing of the call. */
static void tell_closed(struct rpc_call *call)
{
    if (call->has_handler && call->closed) {
        call->closed(call, call->closed_state);
        call->has_handler = false;
    }
}

void call_abort(struct rpc_call *call, const struct error *status)
{
    if (call->is_concluded) {
        return;
    }
    tell_closed(call);
    const struct outgoing *first = TAILQ_FIRST(&call->outgoing);
    if (first && first->offset > 0) {
        /* A status in the middle of a message would not be understood. */
        set_status(call, status);
        drop_deadline(call);
        (void)nghttp2_submit_rst_stream(call->connection->session, NGHTTP2_FLAG_NONE,
                                        call->stream_id, NGHTTP2_CANCEL);
        connection_mark_dirty(call->connection);
        return;
    }
    drop_all_outgoing(call);
    conclude(call, status, 200);
}

void call_on_stream_closed(struct rpc_call *call)
{
    tell_closed(call);
    drop_request(call);
    drop_deadline(call);
    drop_all_outgoing(call);
    LIST_REMOVE(call, link);
    call->connection->server->call_count--;
    call->connection = NULL;
    free_when_let_go(call);
}

void call_on_headers(struct rpc_call *call)
{
    struct request *request = call->request;
    uint64_t timeout_ms;
    unsigned http_status;
    struct error err;
    if (request->is_malformed) {
        (void)nghttp2_submit_rst_stream(call->connection->session, NGHTTP2_FLAG_NONE,
                                        call->stream_id, NGHTTP2_PROTOCOL_ERROR);
        return;
    }
    if (request_judge(request, &timeout_ms, &http_status, &err) < 0) {
        conclude(call, &err, http_status);
        return;
    }
    if (timeout_ms != UINT64_MAX) {
        set_deadline(call, timeout_ms);
    }
    const struct rpc_service *service = request->service;
    if (service->admit && service->admit(call, service->user, &err) < 0) {
        conclude(call, &err, http_status);
    }
}

void call_on_body(struct rpc_call *call, struct bytes body)
{
    struct error err;
    if (call->request && call->request->status == REQUEST_IS_BODY &&
        request_add_body(call->request, body, &err) < 0) {
        conclude(call, &err, 200);
    }
}

static void free_request_message(ProtobufCMessage **message)
{
    if (*message) {
        protobuf_c_message_free_unpacked(*message, NULL);
    }
}

void call_on_request_end(struct rpc_call *call)
{
    _cleanup_(free_request_message) ProtobufCMessage *message = NULL;
    struct error err;
    if (!call->request || call->request->status != REQUEST_IS_BODY) {
        return;
    }
    connection_has_request(call->connection);
    if (request_unpack(call->request, &message, &err) < 0) {
        conclude(call, &err, 200);
        return;
    }
    call->has_handler = true;
    call->request->method->handle(call, message, call->request->service->user);
    drop_request(call);
}

void rpc_call_on_closed(struct rpc_call *call, void (*closed)(struct rpc_call *call, void *state),
                        void *state)
{
    call->closed = closed;
    call->closed_state = state;
    if (!call->connection) {
        tell_closed(call);
        free_when_let_go(call);
    }
}

void *rpc_call_peer(struct rpc_call *call)
{
    return call->connection ? call->connection->peer : NULL;
}

const char *rpc_call_metadata(struct rpc_call *call, const char *key, size_t n)
{
    return call->request ? request_metadata(call->request, key, n) : NULL;
}

static void enqueue(struct rpc_call *call, struct rpc_message *message, bool may_be_replaced)
{
    if (!call->connection || call->is_concluded) {
        return;
    }
    struct outgoing *outgoing = NEW(struct outgoing);
    outgoing->message = rpc_message_ref(message);
    outgoing->may_be_replaced = may_be_replaced;
    TAILQ_INSERT_TAIL(&call->outgoing, outgoing, link);
    call->connection->queued_bytes += message_framed(message).size;
    if (call->has_response) {
        response_resume(call);
    } else {
        response_begin(call);
    }
    connection_mark_dirty(call->connection);
}

void rpc_call_send(struct rpc_call *call, struct rpc_message *message)
{
    enqueue(call, message, false);
}

void rpc_call_send_latest(struct rpc_call *call, struct rpc_message *message)
{
    struct outgoing *last = TAILQ_LAST(&call->outgoing, outgoing_list);
    if (!last || !last->may_be_replaced || last->offset > 0 || call->is_concluded) {
        enqueue(call, message, true);
        return;
    }
    call->connection->queued_bytes -= message_framed(last->message).size;
    call->connection->queued_bytes += message_framed(message).size;
    struct rpc_message *replaced = last->message;
    last->message = rpc_message_ref(message);
    rpc_message_unref(replaced);
}

void call_outgoing_sent(struct rpc_call *call, size_t size)
{
    struct outgoing *outgoing = TAILQ_FIRST(&call->outgoing);
    outgoing->offset += size;
    call->connection->queued_bytes -= size;
    if (outgoing->offset == message_framed(outgoing->message).size) {
        drop_outgoing(call, outgoing);
    }
}

void rpc_call_finish(struct rpc_call *call, const struct error *status)
{
    call->has_handler = false;
    call->closed = NULL;
    if (call->connection) {
        conclude(call, status, 200);
    }
    free_when_let_go(call);
}

void rpc_call_reply(struct rpc_call *call, const ProtobufCMessage *message)
{
    _cleanup_(rpc_message_unref_cleanup) struct rpc_message *framed = rpc_message_new(message);
    rpc_call_send(call, framed);
    rpc_call_finish(call, NULL);
}
