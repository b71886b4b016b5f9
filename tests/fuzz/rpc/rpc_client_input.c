/* Bytes of a server to the gRPC client, which makes a unary call and reads a stream. */
#include "tests/fuzz/fuzz.h"

#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/memory.h"
#include "lib/rpc/client_internal.h"
#include "proto/health.pb-c.h"
#include "proto/workload.pb-c.h"

/* A client at one end of a socket pair, with the input at the other, which stays open for what the
 * client writes; NULL when the input does not fit. */
static struct rpc_client *client_of(const uint8_t *data, size_t size, int *ret_other_end)
{
    struct rpc_client *client = NEW(struct rpc_client);
    int ends[2];
    client->path = memory_copy_text("input");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0) {
        abort();
    }
    client->descriptor = ends[0];
    bool is_sent = send(ends[1], data, size, MSG_NOSIGNAL) == (ssize_t)size;
    (void)shutdown(ends[1], SHUT_WR);
    if (!is_sent || client_session_open(client, NULL) < 0) {
        (void)close(ends[1]);
        rpc_client_free(client);
        return NULL;
    }
    *ret_other_end = ends[1];
    return client;
}

static void call(struct rpc_client *client)
{
    Health__HealthCheckRequest request = HEALTH__HEALTH_CHECK_REQUEST__INIT;
    ProtobufCMessage *message;
    struct error err;
    if (rpc_client_call(client, "/toy.Toy/Check", &request.base,
                        &health__health_check_response__descriptor, &message, &err) == 0) {
        protobuf_c_message_free_unpacked(message, NULL);
    }
}

static void stream(struct rpc_client *client)
{
    Health__HealthCheckRequest request = HEALTH__HEALTH_CHECK_REQUEST__INIT;
    ProtobufCMessage *message;
    struct error err;
    if (rpc_client_stream(client, "/toy.Toy/Watch", &request.base, &err) < 0) {
        return;
    }
    while (rpc_client_next(client, &workload__x509_svidresponse__descriptor, &message, &err) == 1) {
        protobuf_c_message_free_unpacked(message, NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (int is_stream = 0; is_stream <= 1; is_stream++) {
        int other_end;
        struct rpc_client *client = client_of(data, size, &other_end);
        if (!client) {
            return 0;
        }
        if (is_stream) {
            stream(client);
        }
        call(client);
        rpc_client_free(client);
        (void)close(other_end);
    }
    return 0;
}
