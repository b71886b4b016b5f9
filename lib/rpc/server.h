/* A gRPC server over HTTP/2 on unix sockets, on a libuv loop. One thread: the loop's. It knows
 * nothing of what it serves. Everything a peer can make grow is bounded by struct rpc_limits.
 * Follows gRPC over HTTP2 (grpc/doc/PROTOCOL-HTTP2.md). */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <uv.h>

#include "lib/base/bytes.h"

struct rpc_server;
struct rpc_connection;
struct rpc_call;

struct rpc_limits {
    size_t connections;          /* at once; one more is closed at accept. 0 means 65536 */
    size_t calls_per_connection; /* HTTP/2 MAX_CONCURRENT_STREAMS. 0 means 100 */
    size_t header_bytes;  /* of one request's headers; more is answered with ResourceExhausted. 0
                             means 16 KiB */
    size_t message_bytes; /* of one request message; more is ResourceExhausted. 0 means 1 MiB */
    size_t unsent_bytes;  /* of one connection, waiting for a peer that does not read; more ends it.
                             0 means 8 MiB */
    uint64_t handshake_ms; /* from accept to the HTTP/2 preface and to the first request, and from
                              the start of each request to its end. 0 means 10000 */
    uint64_t stalled_ms; /* a connection whose peer takes nothing for this long while bytes wait is
                            ended. 0: 30000 */
};

/* A message encoded once and sent to many, reference counted. Secret ones are zeroed before they
 * are freed, live in guarded memory, and are never copied in the server but into the kernel. */
struct rpc_message;
struct rpc_message *rpc_message_new(const ProtobufCMessage *message);
int rpc_message_new_secret(const ProtobufCMessage *message, struct rpc_message **ret_message,
                           struct error *err);
struct rpc_message *rpc_message_ref(struct rpc_message *message);
void rpc_message_unref(struct rpc_message *message);
DEFINE_CLEANUP(struct rpc_message, rpc_message_unref, rpc_message_unref);

struct rpc_method {
    const char *name; /* "FetchX509SVID" */
    const ProtobufCMessageDescriptor *request;
    /* Called once the whole request has come. It answers at once or later through the call, until
     * rpc_call_finish. request is borrowed for the call of handle. NULL: the method is known and
     * answered with Unimplemented. */
    void (*handle)(struct rpc_call *call, const ProtobufCMessage *request, void *user);
};

struct rpc_service {
    const char *name; /* "grpc.health.v1.Health" */
    const struct rpc_method *methods;
    size_t method_count;
    void *user;
    /* Looks at the metadata before the request is read; an error is the call's status. NULL: all
     * may. */
    int (*admit)(struct rpc_call *call, void *user, struct error *err);
};

struct rpc_server_config {
    const struct rpc_service *services; /* borrowed as long as the server lives */
    size_t service_count;
    struct rpc_limits limits;
    void *user;
    /* A new connection: learn who it is. What it puts into ret_peer is the connection's until
     * peer_closed. An error closes the connection (after an HTTP/2 GOAWAY with the text as debug
     * data where that can be sent without waiting). NULL: no peer. */
    int (*peer_opened)(void *user, int descriptor, void **ret_peer, struct error *err);
    void (*peer_closed)(void *user, void *peer);
};

/* listener: a listening unix socket; taken, closed by rpc_server_stop (on failure it stays the
 * caller's). */
int rpc_server_new(uv_loop_t *loop, int listener, const struct rpc_server_config *config,
                   struct rpc_server **ret_server, struct error *err);
/* Ends all calls with the status (their `closed` runs), closes all connections, then calls stopped;
 * the server is freed. Called from a handler it does so when the handler has returned. status NULL
 * is Unavailable. */
void rpc_server_stop(struct rpc_server *server, const struct error *status,
                     void (*stopped)(void *user), void *user);
size_t rpc_server_connection_count(const struct rpc_server *server);
size_t rpc_server_call_count(const struct rpc_server *server);

/* The call lives until its closed callback has run, or until rpc_call_finish where none is set. */
/* closed runs exactly once, when the peer cancels, its deadline passes, the connection goes, or the
 * server stops: the last moment at which call may be used. It does not run after rpc_call_finish.
 * Of the functions here only rpc_server_stop, and this one for a call whose peer is gone, run it
 * before they return. */
void rpc_call_on_closed(struct rpc_call *call, void (*closed)(struct rpc_call *call, void *state),
                        void *state);
/* What peer_opened gave; NULL once the connection is gone. */
void *rpc_call_peer(struct rpc_call *call);
/* The n-th value of a metadata key (lower case), NULL where there are fewer. Kept until handle
 * returns or the call is finished, whichever comes first. */
const char *rpc_call_metadata(struct rpc_call *call, const char *key, size_t n);
/* Sends a message of a stream. Bounded by unsent_bytes. */
void rpc_call_send(struct rpc_call *call, struct rpc_message *message);
/* As rpc_call_send, but a message that waits behind one in progress is replaced: for streams where
 * only the newest state counts. The message is borrowed (a reference is taken). */
void rpc_call_send_latest(struct rpc_call *call, struct rpc_message *message);
/* Ends the call with OK (status NULL) or a status, after what was sent. */
void rpc_call_finish(struct rpc_call *call, const struct error *status);
/* Sends the one message of a unary call and finishes it. */
void rpc_call_reply(struct rpc_call *call, const ProtobufCMessage *message);
