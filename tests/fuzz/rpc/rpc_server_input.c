/* Bytes of a peer to a connection of the gRPC server: HTTP/2, headers, gRPC framing, calls of a toy
 * service. The first byte chooses the size of the pieces in which the rest comes. */
#include "tests/fuzz/fuzz.h"

#include "lib/rpc/server_internal.h"
#include "tests/unit/rpc/toy.h"

enum { PIECES_LIMIT = 512 };

/* Answers, and goes on as a stream of states. */
static void handle_watch(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
    const Health__HealthCheckRequest *check = (const Health__HealthCheckRequest *)request;
    struct toy *toy = user;
    size_t size = strlen(check->service) * 100;
    for (int i = 0; i < 3; i++) {
        _cleanup_(rpc_message_unref_cleanup) struct rpc_message *message = toy_message(size, i);
        rpc_call_send(call, message);
        rpc_call_send_latest(call, message);
    }
    (void)rpc_call_metadata(call, "x-test", 1);
    rpc_call_on_closed(call, toy_on_closed, toy);
}

static const struct rpc_method methods[] = {
    {"Check", &health__health_check_request__descriptor, toy_check},
    {"Fail", &health__health_check_request__descriptor, toy_fail},
    {"Watch", &health__health_check_request__descriptor, handle_watch},
    {"Known", &health__health_check_request__descriptor, NULL},
};

static struct toy *toy_make(void)
{
    const struct rpc_limits limits = {.message_bytes = 4096, .header_bytes = 4096};
    struct toy *toy = toy_new(&limits);
    toy->service.methods = methods;
    toy->service.method_count = ARRAY_SIZE(methods);
    (void)unlink(toy->path);
    (void)rmdir(toy->folder);
    return toy;
}

static void drain(int descriptor)
{
    static uint8_t output[65536];
    while (recv(descriptor, output, sizeof(output), MSG_DONTWAIT) > 0) {
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct toy *toy;
    int ends[2];
    struct reader reader = reader_of((struct bytes){data, size});
    size_t piece_size = (size_t)reader_u8(&reader) * 16 + 1;
    toy = toy ? toy : toy_make();
    if (reader.is_bad || reader.rest.size > PIECES_LIMIT * piece_size ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0) {
        return 0;
    }
    server_open_connection(toy->server, ends[1]);
    while (!reader_is_done(&reader)) {
        struct bytes piece = reader_bytes(&reader, MIN(piece_size, reader.rest.size));
        (void)send(ends[0], piece.data, piece.size, MSG_NOSIGNAL);
        (void)uv_run(&toy->loop, UV_RUN_NOWAIT);
        drain(ends[0]);
    }
    (void)close(ends[0]);
    while (rpc_server_connection_count(toy->server) > 0) {
        (void)uv_run(&toy->loop, UV_RUN_NOWAIT);
    }
    if (rpc_server_call_count(toy->server) > 0 || toy->opened_count != toy->gone_count) {
        abort();
    }
    return 0;
}
