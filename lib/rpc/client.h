/* A gRPC client over a unix socket for commands: blocking, one thread, one call at a time. */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "lib/base/error.h"

struct rpc_client;

/* path: of a unix socket. timeout_ms: for connecting and for each step of a call; 0 waits without
 * end. The error says what to check (is signetd running, which socket). */
int rpc_client_connect(const char *path, uint64_t timeout_ms, struct rpc_client **ret_client,
                       struct error *err);
void rpc_client_free(struct rpc_client *client);
DEFINE_CLEANUP(struct rpc_client, rpc_client_free, rpc_client_free);

/* Metadata sent with each later call. Both borrowed for the call; key lower case. */
void rpc_client_set_metadata(struct rpc_client *client, const char *key, const char *value);

/* A unary call: method is "/package.Service/Method". *ret_response is freed with
 * protobuf_c_message_free_unpacked. A status other than OK is an error with its code and text. */
int rpc_client_call(struct rpc_client *client, const char *method, const ProtobufCMessage *request,
                    const ProtobufCMessageDescriptor *response, ProtobufCMessage **ret_response,
                    struct error *err);

/* Starts a server-streaming call; one at a time on a client. */
int rpc_client_stream(struct rpc_client *client, const char *method,
                      const ProtobufCMessage *request, struct error *err);
/* Waits for its next message. Returns 1 with a message, 0 at an end with OK, -1 with an error. */
int rpc_client_next(struct rpc_client *client, const ProtobufCMessageDescriptor *response,
                    ProtobufCMessage **ret_response, struct error *err);
