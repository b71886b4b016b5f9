/* How long a lock takes to be felt: processes sign in a loop, the identity is locked, and the last
 * signature that anybody got is compared with the moment at which the lock command returned.
 *
 *     bench_locklag MODULE LABEL SPIFFE-ID ADMIN-SOCKET CLIENTS TRIALS
 *
 * Prints the p50, p99 and the most, in microseconds after the return; negative: before it. */
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/rpc/client.h"
#include "proto/admin.pb-c.h"
#include "tests/signer/signer.h"

enum { CLIENTS_MAX = 256, TRIALS_MAX = 10000, SETTLE_US = 20000, TIMEOUT_MS = 20000 };

/* Shared by the processes. */
struct shared {
    _Atomic unsigned ready;
    _Atomic uint64_t last_ns[CLIENTS_MAX]; /* of each client's last success */
    _Atomic uint64_t successes[CLIENTS_MAX];
};

_Noreturn static void die(const char *what, const char *why)
{
    (void)fprintf(stderr, "bench_locklag: %s: %s\n", what, why);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

_Noreturn static void run_client(struct shared *shared, size_t index, const char *module,
                                 const char *label)
{
    struct signer signer = {0};
    signer_open(&signer, module);
    signer_find_key(&signer, label);
    shared->ready++;
    for (;;) {
        if (signer_sign(&signer) == CKR_OK) {
            atomic_store(&shared->last_ns[index], now_ns());
            (void)atomic_fetch_add(&shared->successes[index], 1);
        } else {
            (void)usleep(500); /* locked: leave the cores to what is measured */
        }
    }
}

static void call(struct rpc_client *client, const char *method, const ProtobufCMessage *request,
                 const ProtobufCMessageDescriptor *response)
{
    struct error err;
    ProtobufCMessage *message = NULL;
    if (rpc_client_call(client, method, request, response, &message, &err) < 0) {
        die(method, err.text);
    }
    protobuf_c_message_free_unpacked(message, NULL);
}

static void set_lock(struct rpc_client *client, char *spiffe_id)
{
    Admin__LockRequest request = ADMIN__LOCK_REQUEST__INIT;
    request.kind = (char *)"spiffe_id";
    request.what = spiffe_id;
    request.reason = (char *)"bench";
    call(client, "/signet.admin.v1.Admin/Lock", &request.base, &admin__lock_response__descriptor);
}

static void unlock(struct rpc_client *client, char *spiffe_id)
{
    Admin__UnlockRequest request = ADMIN__UNLOCK_REQUEST__INIT;
    request.kind = (char *)"spiffe_id";
    request.what = spiffe_id;
    request.reason = (char *)"bench";
    call(client, "/signet.admin.v1.Admin/Unlock", &request.base,
         &admin__unlock_response__descriptor);
}

/* All clients have signed since. */
static void wait_for_work(const struct shared *shared, size_t clients)
{
    uint64_t before[CLIENTS_MAX];
    for (size_t i = 0; i < clients; i++) {
        before[i] = atomic_load(&shared->successes[i]);
    }
    for (size_t i = 0; i < clients; i++) {
        while (atomic_load(&shared->successes[i]) == before[i]) {
            (void)usleep(200);
        }
    }
}

static int64_t newest_after(const struct shared *shared, size_t clients, uint64_t returned_ns)
{
    int64_t newest = INT64_MIN;
    for (size_t i = 0; i < clients; i++) {
        int64_t after = (int64_t)(atomic_load(&shared->last_ns[i]) - returned_ns);
        newest = after > newest ? after : newest;
    }
    return newest;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    static int64_t lags[TRIALS_MAX];
    struct error err;
    struct rpc_client *client = NULL;
    pid_t children[CLIENTS_MAX];
    size_t clients = argc == 7 ? strtoul(argv[5], NULL, 10) : 0;
    size_t trials = argc == 7 ? strtoul(argv[6], NULL, 10) : 0;
    if (clients == 0 || clients > CLIENTS_MAX || trials == 0 || trials > TRIALS_MAX) {
        die("usage", "bench_locklag MODULE LABEL SPIFFE-ID ADMIN-SOCKET CLIENTS TRIALS");
    }
    struct shared *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        die("mmap", "no memory");
    }
    for (size_t i = 0; i < clients; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            run_client(shared, i, argv[1], argv[2]);
        }
        while (shared->ready <= i) {
            if (waitpid(children[i], NULL, WNOHANG) > 0) {
                die("a client", "did not start");
            }
            (void)usleep(200);
        }
    }
    if (rpc_client_connect(argv[4], TIMEOUT_MS, &client, &err) < 0) {
        die("connecting", err.text);
    }
    for (size_t trial = 0; trial < trials; trial++) {
        wait_for_work(shared, clients);
        set_lock(client, argv[3]);
        uint64_t returned_ns = now_ns();
        (void)usleep(SETTLE_US);
        lags[trial] = newest_after(shared, clients, returned_ns);
        unlock(client, argv[3]);
    }
    for (size_t i = 0; i < clients; i++) {
        (void)kill(children[i], SIGKILL);
    }
    rpc_client_free(client);
    qsort(lags, trials, sizeof(*lags), compare);
    printf("%.0f %.0f %.0f\n", (double)lags[trials / 2] / 1e3,
           (double)lags[trials * 99 / 100] / 1e3, (double)lags[trials - 1] / 1e3);
    return 0;
}
