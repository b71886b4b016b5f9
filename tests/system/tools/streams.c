/* Many open streams of the Workload API in one process:
 *
 *     streams SOCKET COUNT
 *
 * opens them, prints "ready" once each has told of an SVID, and when all have ended
 * "ended COUNT denied COUNT NS": how many, how many of them with PermissionDenied, and when the
 * last end was seen (nanoseconds since 1970). */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/memory.h"
#include "lib/rpc/client.h"
#include "proto/workload.pb-c.h"

enum { STREAMS_MAX = 20000, TIMEOUT_MS = 60000, PATIENCE_S = 240, DESCRIPTORS_KEPT = 64 };

static unsigned long long now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (unsigned long long)now.tv_sec * 1000000000U + (unsigned long long)now.tv_nsec;
}

_Noreturn static void die(const struct error *error)
{
    (void)fprintf(stderr, "streams: %s\n", error->text);
    exit(1);
}

/* Its first message has been read. */
static struct rpc_client *begin(const char *socket)
{
    const Workload__X509SVIDRequest request = WORKLOAD__X509_SVIDREQUEST__INIT;
    struct rpc_client *client = NULL;
    struct error error = {0};
    ProtobufCMessage *response = NULL;
    if (rpc_client_connect(socket, TIMEOUT_MS, &client, &error) < 0) {
        die(&error);
    }
    rpc_client_set_metadata(client, "workload.spiffe.io", "true");
    if (rpc_client_stream(client, "/SpiffeWorkloadAPI/FetchX509SVID", &request.base, &error) < 0 ||
        rpc_client_next(client, &workload__x509_svidresponse__descriptor, &response, &error) < 1) {
        die(&error);
    }
    protobuf_c_message_free_unpacked(response, NULL);
    return client;
}

/* Reads to its end; returns whether that is a refusal. */
static bool is_denied_at_end(struct rpc_client *client)
{
    struct error error = {0};
    int result;
    do {
        ProtobufCMessage *response = NULL;
        result =
            rpc_client_next(client, &workload__x509_svidresponse__descriptor, &response, &error);
        if (result > 0) {
            protobuf_c_message_free_unpacked(response, NULL);
        }
    } while (result > 0);
    return result < 0 && error.code == ERROR_PERMISSION_DENIED;
}

int main(int argc, char **argv)
{
    size_t count = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
    size_t denied = 0;
    if (count == 0 || count > STREAMS_MAX) {
        (void)fputs("usage: streams SOCKET COUNT\n", stderr);
        return 2;
    }
    const struct rlimit limit = {count + DESCRIPTORS_KEPT, count + DESCRIPTORS_KEPT};
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    (void)alarm(PATIENCE_S);
    struct rpc_client **clients = memory_new_array(count, sizeof(struct rpc_client *));
    for (size_t i = 0; i < count; i++) {
        clients[i] = begin(argv[1]);
    }
    (void)puts("ready");
    (void)fflush(stdout);
    for (size_t i = 0; i < count; i++) {
        denied += is_denied_at_end(clients[i]) ? 1 : 0;
    }
    printf("ended %zu denied %zu %llu\n", count, denied, now_ns());
    for (size_t i = 0; i < count; i++) {
        rpc_client_free(clients[i]);
    }
    free(clients);
    return 0;
}
