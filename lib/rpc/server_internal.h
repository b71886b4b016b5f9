/* What the files of the gRPC server share. A server has one epoll set of its own, seen by libuv as
 * one uv_poll_t: a connection then costs no libuv handle (160 bytes and three more system calls at
 * its start), and one pass over its events writes each reply with one system call.
 *
 * Nothing is freed inside a callback of nghttp2 or a handler: a connection that must go is marked,
 * and goes in connection_settle. */
#pragma once

#include <nghttp2/nghttp2.h>
#include <sys/queue.h>

#include "lib/rpc/framing.h"
#include "lib/rpc/server.h"

/* message.c: the bytes of the message with its gRPC prefix, borrowed. */
struct bytes message_framed(const struct rpc_message *message);

/* budget.c: a bucket of tokens that fills with time, up to burst. */
struct budget {
    uint32_t tokens;
    uint64_t filled_ms;
};
struct budget_rate {
    uint32_t burst;
    uint32_t per_second;
};
void budget_init(struct budget *budget, const struct budget_rate *rate, uint64_t now_ms);
void budget_earn(struct budget *budget, const struct budget_rate *rate, uint32_t tokens);
/* False when none is left. */
bool budget_spend(struct budget *budget, const struct budget_rate *rate, uint64_t now_ms);

/* outbound.c: what goes into one sendmsg: frames that nghttp2 made, and messages by reference. */
enum { GATHER_SEGMENTS = 64 };
struct segment {
    struct rpc_message *message; /* a reference; NULL: bytes of the gather */
    size_t offset;
    size_t size;
};
struct gather {
    struct buffer bytes;
    struct segment segments[GATHER_SEGMENTS];
    size_t count;
};
void gather_clear(struct gather *gather);
void gather_add_bytes(struct gather *gather, const uint8_t *data, size_t size);
/* Takes a reference. */
void gather_add_message(struct gather *gather, struct rpc_message *message, size_t offset,
                        size_t size);
/* Whether the next DATA frame has to wait until this was written. */
bool gather_is_full(const struct gather *gather);

/* What the socket did not take, in order. */
struct chunk;
struct outbound {
    STAILQ_HEAD(, chunk) chunks;
    size_t size_bytes;
};
void outbound_init(struct outbound *outbound);
void outbound_clear(struct outbound *outbound);
/* Write as much as the socket takes; the rest is in outbound. Return how much was written, or -1
 * with errno when the socket is gone. */
ssize_t outbound_write(struct outbound *outbound, int descriptor);
ssize_t outbound_write_gathered(struct outbound *outbound, int descriptor, struct gather *gather);

/* session_memory.c: what the sessions of a server share. */
struct session_memory {
    nghttp2_mem mem;
    uint8_t *frame;
    bool is_opening; /* a session is being made */
};
void session_memory_init(struct session_memory *session_memory);
void session_memory_clear(struct session_memory *session_memory);
/* As nghttp2_session_server_new3. */
int session_memory_open(struct session_memory *session_memory,
                        const nghttp2_session_callbacks *callbacks, const nghttp2_option *options,
                        void *user, nghttp2_session **ret_session);

TAILQ_HEAD(connection_list, rpc_connection);
TAILQ_HEAD(request_list, request);

struct rpc_server {
    uv_loop_t *loop;
    struct rpc_server_config config; /* limits without zeros */
    int listener;
    int epoll;
    uv_poll_t poll;
    uv_prepare_t prepare; /* runs before the loop waits: settles what handlers left to do */
    uv_timer_t timer;     /* for the earliest of the lists below */
    uint64_t timer_due_ms;
    bool has_looked; /* since the timer first fired: at what the sockets have */
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *options;
    struct session_memory session_memory;
    uint8_t *input; /* one for all connections: it is empty again before the next one reads */
    struct gather gather;
    struct connection_list connections;
    struct connection_list dirty;   /* have something to write, or to end */
    struct connection_list closed;  /* to be freed when no event can name them any more */
    struct connection_list silent;  /* without a request yet, in order of opened_ms */
    struct connection_list stalled; /* with bytes that the peer does not take, by stalled_ms */
    struct request_list partial;    /* requests that have not wholly come, in order of begun_ms */
    size_t connection_count;
    size_t connection_peak; /* since memory was last given back to the system */
    size_t call_count;
    size_t handle_count;      /* of libuv, that are open */
    uint64_t accept_again_ms; /* accepting pauses until then; 0: it does not */
    uint64_t complained_ms;   /* when it was last logged that connections cannot be accepted */
    unsigned depth;           /* of callbacks in progress: rpc_server_stop waits for zero */
    bool is_stopping;
    bool is_stop_wanted; /* as soon as depth is zero */
    struct error stop_status;
    void (*stopped)(void *user);
    void *stopped_user;
};

struct rpc_connection {
    struct rpc_server *server;
    nghttp2_session *session;
    void *peer;
    LIST_HEAD(, rpc_call) calls;
    TAILQ_ENTRY(rpc_connection) link; /* in connections or closed */
    TAILQ_ENTRY(rpc_connection) dirty_link;
    TAILQ_ENTRY(rpc_connection) silent_link;
    TAILQ_ENTRY(rpc_connection) stalled_link;
    struct outbound outbound;
    size_t queued_bytes;  /* of messages that wait in calls */
    size_t request_bytes; /* of messages that have not wholly come */
    uint64_t opened_ms;
    uint64_t stalled_ms;
    struct budget frames;
    struct budget resets;
    int descriptor;
    uint32_t events; /* what epoll watches for */
    bool has_peer : 1;
    bool is_dirty : 1;
    bool is_silent : 1;
    bool is_stalled : 1;
    bool has_progress : 1; /* since the last settling, the peer took something */
    bool is_ending : 1;    /* closes after what can be written at once */
    bool is_gone : 1;      /* closes at once */
};

/* server.c */
/* Around everything that runs handlers: a handler may stop the server, and what is closed meanwhile
 * is freed at the end. */
void server_enter(struct rpc_server *server);
void server_leave(struct rpc_server *server);
/* One of handle_count is closed; the last one frees the server. */
void server_handle_closed(struct rpc_server *server);
/* The server takes the descriptor of a connected socket and serves it. */
void server_open_connection(struct rpc_server *server, int descriptor);

/* listener.c: the listening socket became readable; accepts a bounded number. */
void listener_accept(struct rpc_server *server);
/* Accepting goes on when its pause is over. */
void listener_resume(struct rpc_server *server);

/* timeouts.c: sets the timer that ends what waits for too long. */
void timeouts_schedule(struct rpc_server *server);

/* session.c: nghttp2's callbacks, which find the connection and the call. */
int session_setup(struct rpc_server *server, struct error *err);
int session_open(struct rpc_connection *connection, struct error *err);
/* Counts something that the peer sent and that is no request; ends the connection when it is too
 * much. */
void session_spend_frame(struct rpc_connection *connection);

/* connection.c */
int connection_open(struct rpc_server *server, int descriptor, struct error *err);
void connection_on_events(struct rpc_connection *connection, uint32_t events);
/* Has connection_settle run soon. */
void connection_mark_dirty(struct rpc_connection *connection);
/* Says goodbye with the reason and closes, soon. */
void connection_end(struct rpc_connection *connection, uint32_t http2_error, const char *reason);
/* Writes what there is to write; closes what has to be closed. */
void connection_settle(struct rpc_connection *connection);
void connection_close(struct rpc_connection *connection);
/* The peer sent a request: it is not silent any more. */
void connection_has_request(struct rpc_connection *connection);

/* request.c: a request while it comes; gone as soon as its handler has run. */
enum request_status { REQUEST_IS_HEADERS, REQUEST_IS_BODY, REQUEST_IS_WHOLE };
struct request {
    struct rpc_call *call;
    TAILQ_ENTRY(request) link; /* in the server's partial */
    uint64_t begun_ms;
    enum request_status status;
    const struct rpc_service *service;
    const struct rpc_method *method;
    char *path;
    char *content_type;
    char *http_method;
    char *timeout;
    struct buffer metadata; /* key NUL value NUL, and so on */
    struct rpc_framing framing;
    size_t header_bytes;
    bool has_message : 1;
    bool has_regular_header : 1;
    bool is_malformed : 1; /* not HTTP/2 */
    bool is_compressed : 1;
    bool has_bad_te : 1;
};
struct request *request_new(struct rpc_call *call);
void request_free(struct request *request);
void request_add_header(struct request *request, struct bytes name, struct bytes value);
/* Judges the headers: 0 with method and the timeout in milliseconds (UINT64_MAX: none), or -1 with
 * the gRPC status and the HTTP status that says the same. */
int request_judge(struct request *request, uint64_t *ret_timeout_ms, unsigned *ret_http_status,
                  struct error *err);
/* Bytes of the body. */
int request_add_body(struct request *request, struct bytes body, struct error *err);
/* The whole body has come: its one message, to be freed by the caller. */
int request_unpack(struct request *request, ProtobufCMessage **ret_message, struct error *err);
const char *request_metadata(const struct request *request, const char *key, size_t n);

/* call.c */
struct outgoing {
    TAILQ_ENTRY(outgoing) link;
    struct rpc_message *message;
    size_t offset; /* what has been handed to the socket */
    bool may_be_replaced;
};

TAILQ_HEAD(outgoing_list, outgoing);

struct deadline; /* a timer of libuv, which outlives the call until libuv lets go of it */

/* A call has two owners: its stream, and its handler from the start of handle until
 * rpc_call_finish or closed. It is freed when both have let go. */
struct rpc_call {
    struct rpc_connection *connection; /* NULL: the stream has let go */
    struct request *request;           /* NULL: handled or answered */
    LIST_ENTRY(rpc_call) link;         /* in the connection's calls */
    struct outgoing_list outgoing;
    void (*closed)(struct rpc_call *call, void *state);
    void *closed_state;
    struct deadline *deadline;
    char *status_text; /* encoded for grpc-message; NULL: none */
    int32_t stream_id;
    uint8_t status_code;
    bool has_handler : 1;      /* the handler has not let go */
    bool has_response : 1;     /* HEADERS were submitted */
    bool is_waiting : 1;       /* nghttp2 waits for more to send */
    bool is_concluded : 1;     /* the status is set, no more messages come */
    bool is_request_ended : 1; /* the peer has said all */
};

struct rpc_call *call_new(struct rpc_connection *connection, int32_t stream_id);
/* The request's headers, or all of it, have come. */
void call_on_headers(struct rpc_call *call);
void call_on_request_end(struct rpc_call *call);
void call_on_body(struct rpc_call *call, struct bytes body);
/* The stream is gone. */
void call_on_stream_closed(struct rpc_call *call);
/* Ends the call for a reason that is not its handler's. */
void call_abort(struct rpc_call *call, const struct error *status);
/* size bytes of the first outgoing message are on their way. */
void call_outgoing_sent(struct rpc_call *call, size_t size);

/* response.c: a call's answer as nghttp2 wants it. */
void response_begin(struct rpc_call *call);
void response_resume(struct rpc_call *call);
/* Headers and status in one, for a call that sends no message. */
void response_only_status(struct rpc_call *call, unsigned http_status);
int response_on_send_data(struct rpc_call *call, struct gather *gather, const uint8_t *frame_header,
                          size_t size);
