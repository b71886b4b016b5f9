/* What an answer that waits for its audit record costs, on an event loop as the agent has it.
 *
 *     bench_auditcommit [FOLDER [MS]]     commits a second with 1 and with 64 waiters, each of
 * which writes a record and commits again once it was answered: with the audit log in a new folder
 * below FOLDER (default: the current one), and without any; latency p50 and p99 in microseconds;
 * the time that one record takes on the loop, of which its body; and how often the disk answers a
 * bare fdatasync. MS: how long each is measured */
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "agent/audit/audit.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

enum {
    WAITERS_MAX = 64,
    SAMPLES_MAX = 1 << 22,
    DEFAULT_MS = 2000,
    BODIES = 200000,
    RECORDS = 20000
};

static _Noreturn void die(const char *what, const char *why)
{
    (void)fprintf(stderr, "bench_auditcommit: %s: %s\n", what, why);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static const struct audit_event *example_event(void)
{
    static char *items[] = {(char *)"unix:uid:1000", (char *)"unix:gid:1000",
                            (char *)"unix:user:payments", (char *)"unix:path:/usr/bin/payments"};
    static const struct text_list selectors = {items, ARRAY_SIZE(items)};
    static const struct audit_process process = {
        .pid = 4711,
        .uid = 1000,
        .gid = 1000,
        .start_time = 123456789,
        .started_at_ms = 1700000000000,
        .executable = "/usr/bin/payments",
        .sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        .unit = "payments.service",
        .selectors = &selectors,
    };
    static const struct audit_credential credential = {
        .kind = "x509-svid",
        .serial = "7f3a1b2c4d5e6f708192a3b4c5d6e7f8",
        .fingerprint = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        .key_id = "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        .protection = "hardware",
        .expires_at_s = 1700003600,
    };
    static const struct audit_event event = {
        .action = AUDIT_ISSUED,
        .spiffe_id = "spiffe://example.org/payments/api",
        .process = &process,
        .asked = "FetchX509SVID",
        .decider = AUDIT_DECIDER_ENTRY,
        .decider_id = "5c9f7f2e",
        .credential = &credential,
    };
    return &event;
}

struct bench {
    uv_loop_t loop;
    uv_check_t check; /* answers where there is no audit log */
    uv_idle_t idle;
    struct audit *audit; /* NULL: none */
    struct client {
        struct audit_wait wait;
        struct bench *bench;
        uint64_t start_ns;
    } clients[WAITERS_MAX];
    size_t client_count;
    uint32_t *samples_ns;
    uint64_t count, end_ns;
    size_t waiting;
    bool is_stopped;
};

static void ask(struct client *client)
{
    struct bench *bench = client->bench;
    client->start_ns = now_ns();
    bench->waiting++;
    if (bench->audit) {
        audit_write(bench->audit, example_event());
        audit_commit(bench->audit, &client->wait);
    }
}

static void answered(struct audit_wait *wait, const struct error *failure)
{
    struct client *client = container_of(wait, struct client, wait);
    struct bench *bench = client->bench;
    uint64_t now = now_ns();
    if (failure) {
        die("committing", failure->text);
    }
    bench->waiting--;
    if (bench->count < SAMPLES_MAX) {
        bench->samples_ns[bench->count] =
            (uint32_t)MIN(now - client->start_ns, (uint64_t)UINT32_MAX);
    }
    bench->count++;
    if (now < bench->end_ns) {
        ask(client);
    }
}

/* Without a log: the next turn of the loop answers all. */
static void answer_all(uv_check_t *check)
{
    struct bench *bench = check->data;
    if (bench->audit) {
        return;
    }
    for (size_t i = 0; i < bench->client_count && bench->waiting > 0; i++) {
        answered(&bench->clients[i].wait, NULL);
    }
}

static void do_nothing(uv_idle_t *idle)
{
    (void)idle;
}

static int compare(const void *a, const void *b)
{
    const uint32_t *x = a;
    const uint32_t *y = b;
    return (*x > *y) - (*x < *y);
}

static double percentile_us(struct bench *bench, double fraction)
{
    size_t count = MIN(bench->count, (uint64_t)SAMPLES_MAX);
    qsort(bench->samples_ns, count, sizeof(*bench->samples_ns), compare);
    return bench->samples_ns[(size_t)((double)(count - 1) * fraction)] / 1000.0;
}

static double measure(struct bench *bench, struct audit *audit, size_t clients, uint64_t ms)
{
    uint64_t start = now_ns();
    bench->audit = audit;
    bench->client_count = clients;
    bench->count = 0;
    bench->waiting = 0;
    bench->end_ns = start + ms * 1000000;
    if (!audit) {
        (void)uv_idle_start(&bench->idle, do_nothing);
    }
    for (size_t i = 0; i < clients; i++) {
        bench->clients[i] = (struct client){.wait.done = answered, .bench = bench};
        ask(&bench->clients[i]);
    }
    while (bench->waiting > 0) {
        (void)uv_run(&bench->loop, UV_RUN_ONCE);
    }
    (void)uv_idle_stop(&bench->idle);
    double rate = (double)bench->count * 1e9 / (double)(now_ns() - start);
    (void)printf("%s clients=%zu commits/s=%.0f p50_us=%.1f p99_us=%.1f\n",
                 audit ? "with-audit" : "without", clients, rate, percentile_us(bench, 0.5),
                 percentile_us(bench, 0.99));
    return rate;
}

static void measure_body(void)
{
    _cleanup_(buffer_clear) struct buffer body = {0};
    uint64_t start = now_ns();
    for (unsigned i = 0; i < BODIES; i++) {
        buffer_reset(&body);
        audit_event_body(example_event(), &body);
    }
    (void)printf("body us=%.2f bytes=%zu\n", (double)(now_ns() - start) / BODIES / 1000.0,
                 body.size);
}

/* All that the loop does for a record that nobody waits for. */
static void measure_record(struct audit *audit)
{
    uint64_t start = now_ns();
    for (unsigned i = 0; i < RECORDS; i++) {
        audit_write(audit, example_event());
    }
    (void)printf("record us=%.2f\n", (double)(now_ns() - start) / RECORDS / 1000.0);
}

/* What the disk can do at best. */
static void measure_disk(const char *folder, uint64_t ms)
{
    static const char block[1200] = "x";
    _cleanup_(free_cleanup) char *path = file_join(folder, "bare");
    _cleanup_(file_close_cleanup) int file =
        open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    uint64_t start = now_ns();
    uint64_t count = 0;
    while (now_ns() - start < ms * 1000000) {
        if (write(file, block, sizeof(block)) < 0 || fdatasync(file) < 0) {
            die("writing", path);
        }
        count++;
    }
    (void)printf("disk fdatasync/s=%.0f us=%.1f\n",
                 (double)count * 1e9 / (double)(now_ns() - start),
                 (double)(now_ns() - start) / (double)count / 1000.0);
}

static void stopped(void *user)
{
    ((struct bench *)user)->is_stopped = true;
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    return remove(path);
}

static void run(struct bench *bench, const char *folder, uint64_t ms)
{
    struct error err;
    struct audit *audit = NULL;
    _cleanup_(free_cleanup) char *log_folder = file_join(folder, "audit");
    const struct audit_config config = {.log = {.folder = log_folder, .file_max_bytes = 64 << 20}};
    if (audit_new(&bench->loop, &config, &audit, &err) < 0) {
        die("opening", err.text);
    }
    measure_body();
    measure_record(audit);
    measure_disk(folder, ms / 4);
    static const size_t clients[] = {1, WAITERS_MAX};
    for (size_t i = 0; i < ARRAY_SIZE(clients); i++) {
        (void)measure(bench, NULL, clients[i], ms / 4);
        (void)measure(bench, audit, clients[i], ms);
    }
    audit_stop(audit, stopped, bench);
    while (!bench->is_stopped) {
        (void)uv_run(&bench->loop, UV_RUN_ONCE);
    }
}

int main(int argc, char **argv)
{
    struct bench *bench = NEW(struct bench);
    _cleanup_(free_cleanup) char *folder =
        file_join(argc > 1 ? argv[1] : ".", "signet-bench-XXXXXX");
    uint64_t ms = argc > 2 ? strtoull(argv[2], NULL, 10) : DEFAULT_MS;
    if (!mkdtemp(folder)) {
        die("making a folder", folder);
    }
    bench->samples_ns = memory_new_array(SAMPLES_MAX, sizeof(*bench->samples_ns));
    (void)uv_loop_init(&bench->loop);
    (void)uv_check_init(&bench->loop, &bench->check);
    (void)uv_idle_init(&bench->loop, &bench->idle);
    bench->check.data = bench;
    (void)uv_check_start(&bench->check, answer_all);
    run(bench, folder, MAX(ms, (uint64_t)4));
    uv_close((uv_handle_t *)&bench->check, NULL);
    uv_close((uv_handle_t *)&bench->idle, NULL);
    (void)uv_run(&bench->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&bench->loop);
    (void)nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(bench->samples_ns);
    free(bench);
    return 0;
}
