/* Load on a PKCS#11 module from many processes, as applications make it: each has a session and
 * signs in a loop.
 *
 *     bench_p11load MODULE LABEL CLIENTS MILLISECONDS [PINFILE]
 *     bench_p11load crowd MODULE LABEL CLIENTS MILLISECONDS
 *     bench_p11load idle MODULE PID COUNT
 *
 * The first prints signatures a second, and their p50 and p99 in microseconds; and the ratio of the
 * slowest client's count to the mean. The second has one client sign now and
 * then, alone and then beside CLIENTS that sign without end on the other core; it prints the p50
 * and p99 of the one in both cases. The third opens COUNT connections and prints the bytes of
 * resident memory that each costs the process PID. */
#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
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

enum { SAMPLES_MAX = 20000, CLIENTS_MAX = 1024, DIGEST_BYTES = 32, PACE_US = 200000 };

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

struct application {
    CK_FUNCTION_LIST *p11;
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE key;
    CK_KEY_TYPE type;
};

_Noreturn static void die(const char *what, CK_RV rv)
{
    (void)fprintf(stderr, "bench_p11load: %s: 0x%lx\n", what, rv);
    exit(1);
}

static void check(const char *what, CK_RV rv)
{
    if (rv != CKR_OK) {
        die(what, rv);
    }
}

static uint64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static CK_FUNCTION_LIST *load_module(const char *path)
{
    CK_FUNCTION_LIST *p11 = NULL;
    CK_C_GetFunctionList get_list = NULL;
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (module) {
        *(void **)&get_list = dlsym(module, "C_GetFunctionList");
    }
    if (!get_list) {
        die(path, CKR_GENERAL_ERROR);
    }
    check("C_GetFunctionList", get_list(&p11));
    return p11;
}

static void login(struct application *application, const char *pin_path)
{
    CK_UTF8CHAR pin[64];
    FILE *file = fopen(pin_path, "r");
    size_t size = file ? fread(pin, 1, sizeof(pin), file) : 0;
    if (file) {
        (void)fclose(file);
    }
    CK_RV rv = application->p11->C_Login(application->session, CKU_USER, pin, size);
    if (rv != CKR_USER_ALREADY_LOGGED_IN) {
        check("C_Login", rv);
    }
}

static void find_key(struct application *application, const char *label)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_ATTRIBUTE wanted[] = {{CKA_CLASS, &class, sizeof(class)},
                             {CKA_LABEL, (void *)label, strlen(label)}};
    CK_ATTRIBUTE type = {CKA_KEY_TYPE, &application->type, sizeof(application->type)};
    CK_ULONG count = 0;
    CK_FUNCTION_LIST *p11 = application->p11;
    check("C_FindObjectsInit", p11->C_FindObjectsInit(application->session, wanted, 2));
    check("C_FindObjects", p11->C_FindObjects(application->session, &application->key, 1, &count));
    check("C_FindObjectsFinal", p11->C_FindObjectsFinal(application->session));
    if (count != 1) {
        die(label, CKR_KEY_HANDLE_INVALID);
    }
    check("C_GetAttributeValue",
          p11->C_GetAttributeValue(application->session, application->key, &type, 1));
}

/* The first slot with a token whose key can be used. */
static void open_session(struct application *application)
{
    CK_SLOT_ID slots[16];
    CK_ULONG count = ARRAY_SIZE(slots);
    check("C_Initialize", application->p11->C_Initialize(NULL));
    check("C_GetSlotList", application->p11->C_GetSlotList(CK_TRUE, slots, &count));
    if (count == 0) {
        die("C_GetSlotList: no token", CKR_TOKEN_NOT_PRESENT);
    }
    check("C_OpenSession", application->p11->C_OpenSession(slots[0], CKF_SERIAL_SESSION, NULL, NULL,
                                                           &application->session));
}

static bool sign(struct application *application)
{
    static const uint8_t digest_info[] = {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60,
                                          0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
                                          0x01, 0x05, 0x00, 0x04, 0x20};
    uint8_t data[sizeof(digest_info) + DIGEST_BYTES] = {0};
    uint8_t signature[512];
    CK_ULONG size = sizeof(signature);
    bool is_ec = application->type == CKK_EC;
    CK_MECHANISM mechanism = {is_ec ? CKM_ECDSA : CKM_RSA_PKCS, NULL, 0};
    memcpy(data, digest_info, sizeof(digest_info));
    CK_BYTE *input = is_ec ? data + sizeof(digest_info) : data;
    CK_ULONG input_size = is_ec ? DIGEST_BYTES : sizeof(data);
    return application->p11->C_SignInit(application->session, &mechanism, application->key) ==
               CKR_OK &&
           application->p11->C_Sign(application->session, input, input_size, signature, &size) ==
               CKR_OK;
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
    struct application application = {.p11 = load_module(module)};
    bool is_paced = load->is_first_paced && result == &load->clients[0];
    if (load->is_first_paced) {
        stay_on(is_paced ? 1 - load->crowd_core : load->crowd_core);
    }
    if (is_paced) {
        /* A service of its own: the kernel's scheduler shares the host out by sessions. */
        (void)setsid();
    }
    open_session(&application);
    if (pin_path) {
        login(&application, pin_path);
    }
    find_key(&application, label);
    for (int i = 0; i < 3; i++) {
        (void)sign(&application);
    }
    load->ready++;
    char ignored;
    (void)close(load->gate[1]);
    (void)!read(load->gate[0], &ignored, 1); /* ends when the gate is closed: begin */
    unsigned count = 0;
    while (!load->is_over) {
        uint64_t start = now_ns();
        if (!sign(&application)) {
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
    size_t samples = 0;
    uint32_t *all = calloc((size_t)clients * SAMPLES_MAX, sizeof(*all));
    if (!all) {
        die("memory", CKR_HOST_MEMORY);
    }
    for (unsigned i = 0; i < clients; i++) {
        const struct client_result *result = &load->clients[i];
        if (result->failures > 0 || result->count == 0) {
            die("a client failed", CKR_FUNCTION_FAILED);
        }
        total += result->count;
        least = MIN(least, result->count);
        unsigned taken = MIN(result->count, SAMPLES_MAX);
        memcpy(all + samples, result->samples_ns, taken * sizeof(*all));
        samples += taken;
    }
    qsort(all, samples, sizeof(*all), compare);
    printf("%.0f %.0f %.0f %.2f\n", total / seconds, all[samples / 2] / 1e3,
           all[samples * 99 / 100] / 1e3, (double)least * clients / total);
    free(all);
}

static struct load *load_new(unsigned clients)
{
    struct load *load = clients == 0 || clients > CLIENTS_MAX
                            ? MAP_FAILED
                            : mmap(NULL, sizeof(*load) + clients * sizeof(struct client_result),
                                   PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (load == MAP_FAILED) {
        die("CLIENTS", CKR_ARGUMENTS_BAD);
    }
    return load;
}

/* Runs the clients for that long; returns the seconds that it took. */
static double run(struct load *load, unsigned clients, unsigned long limit_ms, const char *module,
                  const char *label, const char *pin_path)
{
    if (pipe(load->gate) < 0) {
        die("pipe", CKR_HOST_MEMORY);
    }
    for (unsigned i = 0; i < clients; i++) {
        if (fork() == 0) {
            run_client(load, &load->clients[i], module, label, pin_path);
        }
        /* One after the other: some modules cannot start many times at once. */
        while (load->ready <= i) {
            if (waitpid(-1, NULL, WNOHANG) > 0) {
                die("a client did not start", CKR_FUNCTION_FAILED);
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
        die("the one client failed", CKR_FUNCTION_FAILED);
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
        die("COUNT", CKR_ARGUMENTS_BAD);
    }
    unsigned long before = resident_kib(arguments[1]);
    for (unsigned i = 0; i < count; i++) {
        if (fork() == 0) {
            struct application application = {.p11 = load_module(arguments[0])};
            open_session(&application);
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
