/* What the files of the gRPC client share: client.c makes calls of what client_session.c moves over
 * the socket. */
#pragma once

#include <nghttp2/nghttp2.h>

#include "lib/base/text.h"
#include "lib/rpc/client.h"
#include "lib/rpc/framing.h"

/* Of one response message; and of the texts and headers that come with it. */
enum { CLIENT_MESSAGE_LIMIT_BYTES = 64 << 20, CLIENT_TEXT_LIMIT_BYTES = 4096 };

/* A call in progress. All zero is none. */
struct client_call {
    char *method;
    int32_t stream_id;
    struct buffer request; /* with its prefix */
    size_t request_sent;
    struct buffer body; /* of the response, not yet read as messages */
    size_t body_read;
    struct rpc_framing framing;
    struct buffer status_text;
    enum error_code status;
    uint32_t http2_error;
    unsigned http_status;
    bool is_grpc;    /* the content-type says so */
    bool has_status; /* grpc-status came */
    bool is_ended;   /* the stream is closed */
};

struct rpc_client {
    char *path;
    uint64_t timeout_ms;
    int descriptor;
    nghttp2_session *session;
    struct text_list keys; /* of metadata; values at the same places */
    struct text_list values;
    struct client_call call;
    struct buffer goodbye; /* the text of the server's GOAWAY */
    struct buffer unsent;  /* frames that the socket has not taken */
    bool is_http2;         /* the server's settings came */
};

/* UINT64_MAX: never. */
uint64_t client_deadline_ms(const struct rpc_client *client);
int client_session_open(struct rpc_client *client, struct error *err);
/* Sends the headers of client->call, whose request follows. */
int client_session_submit(struct rpc_client *client, bool has_deadline, struct error *err);
/* Writes what waits, then reads once, waiting until the deadline for either. */
int client_session_step(struct rpc_client *client, uint64_t deadline_ms, struct error *err);
/* Forgets the call; one that goes on is cancelled. */
void client_session_drop_call(struct rpc_client *client);
