/* Measures the Workload API of a running agent; tests/bench/run starts the agent and prints the
 * table. Times are in microseconds.
 *
 *     fetch SOCKET COUNT: from connect to the first SVID, and a bare round trip with the attestor's
 *         system calls, in turn; p50 p99 p50 p99
 *     rate SOCKET CLIENTS MS: fetches a second, each on a new connection
 *     issue SOCKET CLIENTS MS: JWT-SVIDs a second, each for another audience and so a new one; the
 *         clients share the identities spiffe://example.org/issue/0 to 3
 *     streams SOCKET PID COUNT: bytes of the agent's memory for each open stream
 *     rotate SOCKET PID COUNT UID: SVIDs of COUNT users from UID on are replaced at once (by SIGHUP
 *         after the rules have changed): milliseconds until all have theirs, and p50 p99 of fetches
 *         meanwhile */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "lib/base/text.h"
#include "lib/rpc/client.h"
#include "proto/workload.pb-c.h"

enum {
    CLIENT_TIMEOUT_MS = 60000,
    ANSWER_BYTES = 1200,
    REQUEST_BYTES = 200,
    PROC_FILE_LIMIT_BYTES = 65536
};

static const char method[] = "/SpiffeWorkloadAPI/FetchX509SVID";

static _Noreturn void die(const char *what, const char *why)
{
    (void)fprintf(stderr, "bench_api: %s: %s\n", what, why);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t number(const char *text)
{
    struct error err;
    uint64_t value = 0;
    if (text_parse_u64(text, 1, UINT32_MAX, &value, &err) < 0) {
        die("argument", err.text);
    }
    return value;
}

static int compare_u64(const void *a, const void *b)
{
    const uint64_t *x = a;
    const uint64_t *y = b;
    return (*x > *y) - (*x < *y);
}

static double percentile_us(uint64_t *samples, size_t count, double fraction)
{
    qsort(samples, count, sizeof(*samples), compare_u64);
    return (double)samples[(size_t)((double)(count - 1) * fraction)] / 1000.0;
}

/* A stream whose first message has come; the caller frees the client. */
static struct rpc_client *open_stream(const char *socket_path)
{
    struct rpc_client *client = NULL;
    struct error err;
    Workload__X509SVIDRequest request = WORKLOAD__X509_SVIDREQUEST__INIT;
    ProtobufCMessage *response = NULL;
    if (rpc_client_connect(socket_path, CLIENT_TIMEOUT_MS, &client, &err) < 0) {
        die("connecting", err.text);
    }
    rpc_client_set_metadata(client, "workload.spiffe.io", "true");
    if (rpc_client_stream(client, method, &request.base, &err) < 0 ||
        rpc_client_next(client, &workload__x509_svidresponse__descriptor, &response, &err) != 1) {
        die("fetching", err.text);
    }
    protobuf_c_message_free_unpacked(response, NULL);
    return client;
}

static uint64_t fetch_ns(const char *socket_path)
{
    uint64_t start = now_ns();
    struct rpc_client *client = open_stream(socket_path);
    uint64_t taken = now_ns() - start;
    rpc_client_free(client);
    return taken;
}

/* The least that any agent does for a new caller: who it is by the kernel, and what /proc says of
 * it. */
static void attest_bare(int connection)
{
    char text[4096];
    struct ucred peer;
    socklen_t size = sizeof(peer);
    if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) {
        die("SO_PEERCRED", strerror(errno));
    }
    int pidfd = (int)syscall(SYS_pidfd_open, peer.pid, 0);
    _cleanup_(free_cleanup) char *folder = text_format("/proc/%d", peer.pid);
    int proc = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    static const char *const files[] = {"stat", "status"};
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        int file = openat(proc, files[i], O_RDONLY | O_CLOEXEC);
        if (file < 0 || read(file, text, sizeof(text)) <= 0) {
            die("reading /proc", strerror(errno));
        }
        (void)close(file);
    }
    if (readlinkat(proc, "exe", text, sizeof(text)) < 0) {
        die("reading /proc/PID/exe", strerror(errno));
    }
    (void)close(proc);
    (void)close(pidfd);
}

static void *serve_bare(void *argument)
{
    int listener = *(int *)argument;
    static const char answer[ANSWER_BYTES];
    for (;;) {
        char request[REQUEST_BYTES];
        _cleanup_(file_close_cleanup) int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (connection < 0) {
            return NULL;
        }
        attest_bare(connection);
        if (recv(connection, request, sizeof(request), MSG_WAITALL) != sizeof(request) ||
            send(connection, answer, sizeof(answer), MSG_NOSIGNAL) != sizeof(answer)) {
            die("bare server", strerror(errno));
        }
    }
}

static uint64_t bare_ns(const struct sockaddr_un *address, socklen_t size)
{
    char answer[ANSWER_BYTES];
    static const char request[REQUEST_BYTES];
    uint64_t start = now_ns();
    _cleanup_(file_close_cleanup) int connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(connection, (const struct sockaddr *)address, size) < 0 ||
        send(connection, request, sizeof(request), MSG_NOSIGNAL) != sizeof(request) ||
        recv(connection, answer, sizeof(answer), MSG_WAITALL) != sizeof(answer)) {
        die("bare client", strerror(errno));
    }
    return now_ns() - start;
}

static void bench_fetch(char **arguments)
{
    size_t count = number(arguments[1]);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    /* An abstract address: the kernel chooses a free one. */
    socklen_t size = sizeof(sa_family_t);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&address, size) < 0 || listen(listener, SOMAXCONN) < 0) {
        die("bare server", strerror(errno));
    }
    size = sizeof(address);
    (void)getsockname(listener, (struct sockaddr *)&address, &size);
    pthread_t thread;
    (void)pthread_create(&thread, NULL, serve_bare, &listener);
    uint64_t *fetches = memory_new_array(count, sizeof(*fetches));
    uint64_t *bares = memory_new_array(count, sizeof(*bares));
    (void)fetch_ns(arguments[0]); /* the SVID may have to be issued first */
    for (size_t i = 0; i < count; i++) {
        fetches[i] = fetch_ns(arguments[0]);
        bares[i] = bare_ns(&address, size);
    }
    (void)printf("%.0f %.0f %.0f %.0f\n", percentile_us(fetches, count, 0.5),
                 percentile_us(fetches, count, 0.99), percentile_us(bares, count, 0.5),
                 percentile_us(bares, count, 0.99));
    free(fetches);
    free(bares);
}

struct load {
    const char *socket_path;
    uint64_t end_ns;
    size_t done, index;
};

static void *fetch_until_end(void *argument)
{
    struct load *load = argument;
    while (now_ns() < load->end_ns) {
        (void)fetch_ns(load->socket_path);
        load->done++;
    }
    return NULL;
}

static void issue_one(struct rpc_client *client, size_t index, size_t number_of_it)
{
    struct error err;
    ProtobufCMessage *response = NULL;
    Workload__JWTSVIDRequest request = WORKLOAD__JWTSVIDREQUEST__INIT;
    _cleanup_(free_cleanup) char *audience = text_format("bench-%zu-%zu", index, number_of_it);
    _cleanup_(free_cleanup) char *spiffe_id =
        text_format("spiffe://example.org/issue/%zu", index % 4);
    request.audience = &audience;
    request.n_audience = 1;
    request.spiffe_id = spiffe_id;
    if (rpc_client_call(client, "/SpiffeWorkloadAPI/FetchJWTSVID", &request.base,
                        &workload__jwtsvidresponse__descriptor, &response, &err) < 0) {
        die("issuing a JWT-SVID", err.text);
    }
    protobuf_c_message_free_unpacked(response, NULL);
}

static void *issue_until_end(void *argument)
{
    struct load *load = argument;
    struct rpc_client *client = NULL;
    struct error err;
    if (rpc_client_connect(load->socket_path, CLIENT_TIMEOUT_MS, &client, &err) < 0) {
        die("connecting", err.text);
    }
    rpc_client_set_metadata(client, "workload.spiffe.io", "true");
    while (now_ns() < load->end_ns) {
        issue_one(client, load->index, load->done++);
    }
    rpc_client_free(client);
    return NULL;
}

/* Prints how often a second the clients were done. */
static void run_clients(char **arguments, void *(*work)(void *load))
{
    size_t clients = number(arguments[1]);
    uint64_t ms = number(arguments[2]);
    struct load *loads = memory_new_array(clients, sizeof(*loads));
    pthread_t *threads = memory_new_array(clients, sizeof(*threads));
    uint64_t start = now_ns();
    for (size_t i = 0; i < clients; i++) {
        loads[i] = (struct load){arguments[0], start + ms * 1000000, 0, i};
        (void)pthread_create(&threads[i], NULL, work, &loads[i]);
    }
    size_t done = 0;
    for (size_t i = 0; i < clients; i++) {
        (void)pthread_join(threads[i], NULL);
        done += loads[i].done;
    }
    (void)printf("%.0f\n", (double)done * 1e9 / (double)(now_ns() - start));
    free(loads);
    free(threads);
}

static void bench_rate(char **arguments)
{
    run_clients(arguments, fetch_until_end);
}

static void bench_issue(char **arguments)
{
    run_clients(arguments, issue_until_end);
}

static uint64_t resident_bytes(const char *pid)
{
    _cleanup_(free_cleanup) char *path = text_format("/proc/%s/statm", pid);
    _cleanup_(buffer_clear) struct buffer contents = {0};
    struct error err;
    if (buffer_read_file(path, PROC_FILE_LIMIT_BYTES, &contents, &err) < 0) {
        die("reading the agent's memory", err.text);
    }
    struct reader reader = reader_of(buffer_bytes(&contents));
    (void)reader_until(&reader, ' ');
    struct bytes field = reader_until(&reader, ' ');
    _cleanup_(free_cleanup) char *pages =
        text_format("%.*s", (int)field.size, (const char *)field.data);
    return number(pages) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void bench_streams(char **arguments)
{
    size_t count = number(arguments[2]);
    struct rpc_client **clients = memory_new_array(count, sizeof(struct rpc_client *));
    rpc_client_free(open_stream(arguments[0]));
    uint64_t before = resident_bytes(arguments[1]);
    for (size_t i = 0; i < count; i++) {
        clients[i] = open_stream(arguments[0]);
    }
    (void)printf("%.0f\n", (double)(resident_bytes(arguments[1]) - before) / (double)count);
    for (size_t i = 0; i < count; i++) {
        rpc_client_free(clients[i]);
    }
    free(clients);
}

/* A process of another user: tells once when it has its SVID, and once when it has the next. */
static _Noreturn void watch_as(const char *socket_path, uid_t uid, int told)
{
    struct error err = {0};
    ProtobufCMessage *response = NULL;
    if (setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0) {
        die("becoming another user", strerror(errno));
    }
    struct rpc_client *client = open_stream(socket_path);
    (void)!write(told, "1", 1);
    if (rpc_client_next(client, &workload__x509_svidresponse__descriptor, &response, &err) != 1) {
        die("waiting for the next SVID", err.text);
    }
    (void)!write(told, "2", 1);
    _exit(0);
}

static bool has_told(int told, size_t *count, int timeout_ms)
{
    char text[4096];
    struct pollfd wait = {.fd = told, .events = POLLIN};
    if (poll(&wait, 1, timeout_ms) <= 0) {
        return false;
    }
    ssize_t size = read(told, text, sizeof(text));
    *count += (size_t)MAX(size, 0);
    return size > 0;
}

static void bench_rotate(char **arguments)
{
    size_t count = number(arguments[2]);
    uid_t first = (uid_t)number(arguments[3]);
    int told[2];
    if (pipe2(told, O_CLOEXEC) < 0) {
        die("pipe", strerror(errno));
    }
    for (size_t i = 0; i < count; i++) {
        pid_t child = fork();
        if (child == 0) {
            watch_as(arguments[0], first + (uid_t)i, told[1]);
        } else if (child < 0) {
            die("fork", strerror(errno));
        }
    }
    size_t heard = 0;
    while (heard < count) {
        if (!has_told(told[0], &heard, CLIENT_TIMEOUT_MS)) {
            die("waiting for the first SVIDs", "not all came in time");
        }
    }
    enum { SAMPLES_MAX = 1 << 20 };
    uint64_t *fetches = memory_new_array(SAMPLES_MAX, sizeof(*fetches));
    size_t samples = 0;
    uint64_t start = now_ns();
    if (kill((pid_t)number(arguments[1]), SIGHUP) < 0) {
        die("reloading the agent", strerror(errno));
    }
    while (heard < 2 * count && now_ns() - start < (uint64_t)CLIENT_TIMEOUT_MS * 10 * 1000000) {
        fetches[samples] = fetch_ns(arguments[0]);
        samples += samples + 1 < SAMPLES_MAX;
        (void)has_told(told[0], &heard, 0);
    }
    double taken_ms = (double)(now_ns() - start) / 1e6;
    if (heard < 2 * count) {
        die("waiting for the next SVIDs", "not all came in time");
    }
    (void)printf("%.0f %.0f %.0f\n", taken_ms, percentile_us(fetches, samples, 0.5),
                 percentile_us(fetches, samples, 0.99));
    free(fetches);
    while (wait(NULL) > 0) {
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int arguments;
        void (*run)(char **arguments);
    } commands[] = {
        {"fetch", 2, bench_fetch},     {"rate", 3, bench_rate},     {"issue", 3, bench_issue},
        {"streams", 3, bench_streams}, {"rotate", 4, bench_rotate},
    };
    for (size_t i = 0; i < ARRAY_SIZE(commands) && argc > 1; i++) {
        if (strcmp(argv[1], commands[i].name) == 0 && argc - 2 == commands[i].arguments) {
            commands[i].run(argv + 2);
            return 0;
        }
    }
    (void)fprintf(stderr,
                  "usage: see the head of tests/bench/api.c; tests/bench/run runs all of it\n");
    return 2;
}
