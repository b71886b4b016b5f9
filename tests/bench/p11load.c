/* Load on a PKCS#11 module from many processes, as applications make it: each has a session and
 * signs in a loop.
 *
 *     bench_p11load MODULE LABEL CLIENTS MILLISECONDS [PINFILE]
 *     bench_p11load crowd MODULE LABEL CLIENTS MILLISECONDS
 *     bench_p11load idle MODULE PID COUNT
 *
 * The first prints signatures a second, and their p50 and p99 in microseconds; and the ratios of
 * the slowest client's count and of the fastest one's to the mean. The second has one client sign
 * now and then, alone and then beside CLIENTS that sign without end on the other core; it prints
 * the p50 and p99 of the one in both cases. The third opens COUNT connections and prints the bytes
 * of resident memory that each costs the process PID. */
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/macro.h"
#include "tests/signer/signer.h"

enum { SAMPLES_MAX = 20000, CLIENTS_MAX = 1024, PACE_US = 200000 };

/* Shared by the processes. */
struct client_result {
    _Atomic unsigned count, failures;
    uint32_t samples_ns[SAMPLES_MAX]; /* of the first calls */
};
struct load {
    _Atomic unsigned ready;
    _Atomic bool is_over;
    int gate[2];
    unsigned crowd_core; /* where all but the first run, if the first is paced */
    bool is_first_paced;
    struct client_result clients[];
};

static uint64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static void stay_on(unsigned core)
{
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET(core, &cores);
    (void)sched_setaffinity(0, sizeof(cores), &cores);
}

static void run_client(struct load *load, struct client_result *result, const char *module,
                       const char *label, const char *pin_path)
{
    struct signer signer = {0};
    bool is_paced = load->is_first_paced && result == &load->clients[0];
    if (load->is_first_paced) {
        stay_on(is_paced ? 1 - load->crowd_core : load->crowd_core);
    }
    if (is_paced) {
        /* A service of its own: the kernel's scheduler shares the host out by sessions. */
        (void)setsid();
    }
    signer_open(&signer, module);
    if (pin_path) {
        signer_login(&signer, pin_path);
    }
    signer_find_key(&signer, label);
    for (int i = 0; i < 3; i++) {
        (void)signer_sign(&signer);
    }
    load->ready++;
    char ignored;
    (void)close(load->gate[1]);
    (void)!read(load->gate[0], &ignored, 1); /* ends when the gate is closed: begin */
    unsigned count = 0;
    while (!load->is_over) {
        uint64_t start = now_ns();
        if (signer_sign(&signer) != CKR_OK) {
            result->failures++;
            break;
        }
        if (count < SAMPLES_MAX) {
            result->samples_ns[count] = (uint32_t)(now_ns() - start);
        }
        count++;
        if (is_paced) {
            (void)usleep(PACE_US);
        }
    }
    result->count = count;
    _exit(0);
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void report(const struct load *load, unsigned clients, double seconds)
{
    unsigned total = 0;
    unsigned least = UINT32_MAX;
    unsigned most = 0;
    size_t samples = 0;
    uint32_t *all = calloc((size_t)clients * SAMPLES_MAX, sizeof(*all));
    if (!all) {
        signer_die("memory", CKR_HOST_MEMORY);
    }
    for (unsigned i = 0; i < clients; i++) {
        const struct client_result *result = &load->clients[i];
        if (result->failures > 0 || result->count == 0) {
            signer_die("a client failed", CKR_FUNCTION_FAILED);
        }
        total += result->count;
        least = MIN(least, result->count);
        most = MAX(most, result->count);
        unsigned taken = MIN(result->count, SAMPLES_MAX);
        memcpy(all + samples, result->samples_ns, taken * sizeof(*all));
        samples += taken;
    }
    qsort(all, samples, sizeof(*all), compare);
    printf("%.0f %.0f %.0f %.2f %.2f\n", total / seconds, all[samples / 2] / 1e3,
           all[samples * 99 / 100] / 1e3, (double)least * clients / total,
           (double)most * clients / total);
    free(all);
}

static struct load *load_new(unsigned clients)
{
    struct load *load = clients == 0 || clients > CLIENTS_MAX
                            ? MAP_FAILED
                            : mmap(NULL, sizeof(*load) + clients * sizeof(struct client_result),
                                   PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (load == MAP_FAILED) {
        signer_die("CLIENTS", CKR_ARGUMENTS_BAD);
    }
    return load;
}

/* Runs the clients for that long; returns the seconds that it took. */
static double run(struct load *load, unsigned clients, unsigned long limit_ms, const char *module,
                  const char *label, const char *pin_path)
{
    if (pipe(load->gate) < 0) {
        signer_die("pipe", CKR_HOST_MEMORY);
    }
    for (unsigned i = 0; i < clients; i++) {
        if (fork() == 0) {
            run_client(load, &load->clients[i], module, label, pin_path);
        }
        /* One after the other: some modules cannot start many times at once. */
        while (load->ready <= i) {
            if (waitpid(-1, NULL, WNOHANG) > 0) {
                signer_die("a client did not start", CKR_FUNCTION_FAILED);
            }
            (void)usleep(200);
        }
    }
    uint64_t start = now_ns();
    (void)close(load->gate[1]);
    (void)usleep((useconds_t)limit_ms * 1000);
    load->is_over = true;
    double seconds = (double)(now_ns() - start) / 1e9;
    while (wait(NULL) > 0) {
    }
    return seconds;
}

static int measure(char **arguments, int count)
{
    unsigned clients = (unsigned)strtoul(arguments[2], NULL, 10);
    struct load *load = load_new(clients);
    double seconds = run(load, clients, strtoul(arguments[3], NULL, 10), arguments[0], arguments[1],
                         count > 4 ? arguments[4] : NULL);
    report(load, clients, seconds);
    return 0;
}

static void print_first(struct load *load, const char *end)
{
    struct client_result *first = &load->clients[0];
    unsigned taken = MIN(first->count, SAMPLES_MAX);
    if (first->failures > 0 || taken == 0) {
        signer_die("the one client failed", CKR_FUNCTION_FAILED);
    }
    qsort(first->samples_ns, taken, sizeof(first->samples_ns[0]), compare);
    printf("%.0f %.0f%s", first->samples_ns[taken / 2] / 1e3,
           first->samples_ns[taken * 99 / 100] / 1e3, end);
}

static int measure_crowd(char **arguments)
{
    unsigned crowd = (unsigned)strtoul(arguments[2], NULL, 10);
    for (int round = 0; round < 2; round++) {
        unsigned clients = round == 0 ? 1 : crowd + 1;
        struct load *load = load_new(clients);
        load->is_first_paced = true;
        (void)run(load, clients, strtoul(arguments[3], NULL, 10), arguments[0], arguments[1], NULL);
        print_first(load, round == 0 ? " " : "\n");
    }
    return 0;
}

static unsigned long resident_kib(const char *pid)
{
    char path[64];
    char line[256];
    unsigned long kib = 0;
    (void)snprintf(path, sizeof(path), "/proc/%s/status", pid);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof(line), file)) {
        if (sscanf(line, "VmRSS: %lu", &kib) == 1) {
            break;
        }
    }
    if (file) {
        (void)fclose(file);
    }
    return kib;
}

static int measure_idle(char **arguments)
{
    unsigned count = (unsigned)strtoul(arguments[2], NULL, 10);
    int ready[2];
    char byte = 0;
    if (count == 0 || pipe(ready) < 0) {
        signer_die("COUNT", CKR_ARGUMENTS_BAD);
    }
    unsigned long before = resident_kib(arguments[1]);
    for (unsigned i = 0; i < count; i++) {
        if (fork() == 0) {
            struct signer signer = {0};
            signer_open(&signer, arguments[0]);
            (void)!write(ready[1], &byte, 1);
            (void)pause();
            _exit(0);
        }
        (void)!read(ready[0], &byte, 1);
    }
    printf("%lu\n", (resident_kib(arguments[1]) - before) * 1024 / count);
    (void)fflush(stdout);
    (void)kill(0, SIGTERM);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "idle") == 0) {
        (void)setpgid(0, 0);
        (void)signal(SIGTERM, SIG_DFL);
        return measure_idle(argv + 2);
    }
    if (argc == 6 && strcmp(argv[1], "crowd") == 0) {
        return measure_crowd(argv + 2);
    }
    if (argc < 5) {
        (void)fprintf(stderr, "usage: bench_p11load MODULE LABEL CLIENTS MILLISECONDS [PINFILE]\n"
                              "       bench_p11load crowd MODULE LABEL CLIENTS MILLISECONDS\n"
                              "       bench_p11load idle MODULE PID COUNT\n");
        return 2;
    }
    return measure(argv + 1, argc - 1);
}
