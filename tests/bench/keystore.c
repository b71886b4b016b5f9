/* Measures keystores against bare loops on the same hardware, in turn within one run;
 * tests/bench/run prints the table.
 *
 *     bench_keystore tpm TCTI [COUNT]
 *     bench_keystore pkcs11 MODULE TOKEN PINFILE [COUNT]
 *     bench_keystore memory [COUNT]
 *     bench_keystore bare TCTI [COUNT]
 *
 * COUNT: signatures for each figure of a round. The last is the bare loops of a TPM alone; it
 * prints signatures a second with the same kind of session, and with a plain password. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "lib/base/text.h"
#include "pkcs11/memory/memory.h"
#include "pkcs11/module/module.h"
#include "pkcs11/tpm/tpm.h"
#include "tests/bench/keystore_bare.h"

enum { ROUNDS = 9, CALLERS = 8, COUNT_DEFAULT = 400, WARM_UP = 5, BARES_MAX = 2 };

_Noreturn void bare_die(const char *what, const char *why)
{
    (void)fprintf(stderr, "bench_keystore: %s: %s\n", what, why);
    exit(1);
}

/* The keystore, driven as others drive it. */
struct subject {
    void *config;
    struct keystore *keystore;
    struct key *key;
};

static struct key *generate(struct keystore *keystore, enum key_type type,
                            enum keystore_priority priority)
{
    struct error err;
    struct key *key = NULL;
    if (keystore_key_generate(keystore, type, NULL, priority, &key, &err) < 0) {
        bare_die("keystore", err.text);
    }
    return key;
}

/* Takes the configuration. */
static struct subject *subject_open(const struct keystore_driver *driver, void *config)
{
    struct subject *subject = NEW(struct subject);
    struct error err;
    subject->config = config;
    const struct keystore_config keystore_config = {
        .name = driver->name, .driver = driver, .driver_config = config};
    if (keystore_new(&keystore_config, &subject->keystore, &err) < 0) {
        bare_die("keystore", err.text);
    }
    subject->key = generate(subject->keystore, KEY_TYPE_EC_P256, KEYSTORE_PRIORITY_ISSUE);
    return subject;
}

static void *keystore_open_tpm(char *const arguments[])
{
    struct tpm_config *config = NEW(struct tpm_config);
    config->tcti = arguments[0];
    return subject_open(&keystore_driver_tpm, config);
}

static void *keystore_open_module(char *const arguments[])
{
    struct module_config *config = NEW(struct module_config);
    *config = (struct module_config){
        .module = arguments[0], .token = arguments[1], .pin_path = arguments[2], .workers = 1};
    return subject_open(&keystore_driver_module, config);
}

static void *keystore_open_memory(char *const arguments[])
{
    (void)arguments;
    return subject_open(&keystore_driver_memory, NULL);
}

static void keystore_sign(void *state, const uint8_t digest[BARE_DIGEST_BYTES])
{
    struct subject *subject = state;
    struct error err;
    uint8_t signature[SIGNATURE_MAX_BYTES];
    size_t size = 0;
    const struct sign_request request = {
        SIGN_SCHEME_ECDSA, SIGN_DIGEST_SHA256, {digest, BARE_DIGEST_BYTES}};
    if (key_sign(subject->key, &request, KEYSTORE_PRIORITY_USE, 1, signature, &size, &err) < 0) {
        bare_die("signing", err.text);
    }
}

static void keystore_generate(void *state, enum key_type type)
{
    struct subject *subject = state;
    key_unref(generate(subject->keystore, type, KEYSTORE_PRIORITY_ISSUE));
}

static void keystore_close(void *state)
{
    struct subject *subject = state;
    key_unref(subject->key);
    keystore_free(subject->keystore);
    free(subject->config);
    free(subject);
}

/* The memory driver without queue and threads. */
static void *memory_open(char *const arguments[])
{
    struct driver_key *key = NULL;
    struct error err;
    (void)arguments;
    if (keystore_driver_memory.key_generate(NULL, KEY_TYPE_EC_P256, NULL, &key, &err) < 0) {
        bare_die("memory", err.text);
    }
    return key;
}

static void memory_sign(void *state, const uint8_t digest[BARE_DIGEST_BYTES])
{
    struct error err;
    uint8_t signature[SIGNATURE_MAX_BYTES];
    size_t size = 0;
    const struct sign_request request = {
        SIGN_SCHEME_ECDSA, SIGN_DIGEST_SHA256, {digest, BARE_DIGEST_BYTES}};
    if (keystore_driver_memory.key_sign(NULL, state, &request, signature, &size, &err) < 0) {
        bare_die("memory", err.text);
    }
}

static void memory_close(void *state)
{
    keystore_driver_memory.key_close(NULL, state);
}

static void memory_generate(void *state, enum key_type type)
{
    struct driver_key *key = NULL;
    struct error err;
    (void)state;
    if (keystore_driver_memory.key_generate(NULL, type, NULL, &key, &err) < 0) {
        bare_die("memory", err.text);
    }
    memory_close(key);
}

const struct bare bare_memory = {"bare driver calls", memory_open, memory_sign, memory_generate,
                                 memory_close};

static const struct kind {
    const char *name;
    int arguments;
    struct bare keystore; /* without open: the bare loops alone */
    const struct bare *bares[BARES_MAX];
} kinds[] = {
    {"tpm",
     1,
     {"keystore", keystore_open_tpm, keystore_sign, keystore_generate, keystore_close},
     {&bare_session, &bare_plain}},
    {"pkcs11",
     3,
     {"keystore", keystore_open_module, keystore_sign, keystore_generate, keystore_close},
     {&bare_module}},
    {"memory",
     0,
     {"keystore", keystore_open_memory, keystore_sign, keystore_generate, keystore_close},
     {&bare_memory}},
    {"bare", 1, {.open = NULL}, {&bare_session, &bare_plain}},
};

static double seconds(clockid_t clock)
{
    struct timespec now;
    (void)clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void sign_often(const struct bare *bare, void *state, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        const uint8_t digest[BARE_DIGEST_BYTES] = {(uint8_t)i, (uint8_t)(i >> 8), 1};
        bare->sign(state, digest);
    }
}

/* What one round of one subject shows. */
enum figure { ONE_CALLER, ONE_CALLER_CPU, MANY_CALLERS, EC_KEYS, RSA_KEYS, FIGURE_COUNT };
struct caller {
    const struct bare *bare;
    void *state;
    unsigned count;
    pthread_t thread;
};

static void *caller_main(void *argument)
{
    struct caller *caller = argument;
    sign_often(caller->bare, caller->state, caller->count);
    return NULL;
}

static void sign_by_many(const struct bare *bare, void *state, unsigned each)
{
    struct caller callers[CALLERS];
    for (size_t i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){.bare = bare, .state = state, .count = each};
        if (pthread_create(&callers[i].thread, NULL, caller_main, &callers[i]) != 0) {
            bare_die("pthread_create", "refused");
        }
    }
    for (size_t i = 0; i < CALLERS; i++) {
        (void)pthread_join(callers[i].thread, NULL);
    }
}

static double generate_often(const struct bare *bare, void *state, enum key_type type,
                             unsigned count)
{
    double begin = seconds(CLOCK_MONOTONIC);
    for (unsigned i = 0; i < count; i++) {
        bare->generate(state, type);
    }
    return count / (seconds(CLOCK_MONOTONIC) - begin);
}

static void measure(const struct bare *bare, char *const arguments[], unsigned count,
                    bool may_share, double figures[FIGURE_COUNT])
{
    void *state = bare->open(arguments);
    sign_often(bare, state, WARM_UP);
    double begin = seconds(CLOCK_MONOTONIC);
    double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    sign_often(bare, state, count);
    figures[ONE_CALLER] = count / (seconds(CLOCK_MONOTONIC) - begin);
    figures[ONE_CALLER_CPU] = (seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu) / count * 1e6;
    if (may_share) {
        unsigned each = count / CALLERS + 1;
        begin = seconds(CLOCK_MONOTONIC);
        sign_by_many(bare, state, each);
        figures[MANY_CALLERS] = each * CALLERS / (seconds(CLOCK_MONOTONIC) - begin);
    }
    figures[EC_KEYS] = generate_often(bare, state, KEY_TYPE_EC_P256, count / 10 + 1);
    figures[RSA_KEYS] = generate_often(bare, state, KEY_TYPE_RSA_2048, count / 100 + 1);
    bare->close(state);
}

static int compare(const void *a, const void *b)
{
    double difference = *(const double *)a - *(const double *)b;
    return (difference > 0) - (difference < 0);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof(values[0]), compare);
    return values[count / 2];
}

static void row(const char *kind, const char *what, const char *who, double value, int decimals,
                const char *unit)
{
    char label[96];
    char text[32];
    (void)snprintf(label, sizeof(label), "%s: %s%s", kind, what, who);
    (void)snprintf(text, sizeof(text), "%.*f%s", decimals, value, unit);
    (void)printf("| %-58s | %20s |\n", label, text);
    (void)fflush(stdout);
}

enum { SUBJECTS_MAX = BARES_MAX + 1 };

struct results {
    const struct kind *kind;
    const struct bare *subjects[SUBJECTS_MAX]; /* the keystore first */
    size_t count;
    double values[FIGURE_COUNT][SUBJECTS_MAX][ROUNDS];
};

static void run_rounds(struct results *results, char *const arguments[], unsigned count)
{
    for (size_t round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < results->count; i++) {
            /* Each round begins with another one, so that none has the better place. */
            size_t subject = (i + round) % results->count;
            double figures[FIGURE_COUNT] = {0};
            measure(results->subjects[subject], arguments, count, subject == 0, figures);
            for (size_t figure = 0; figure < FIGURE_COUNT; figure++) {
                results->values[figure][subject][round] = figures[figure];
            }
        }
    }
}

static double median_of(const struct results *results, enum figure figure, size_t subject)
{
    double values[ROUNDS];
    memcpy(values, results->values[figure][subject], sizeof(values));
    return median(values, ROUNDS);
}

/* The median of the ratios within each round. */
static double ratio_of(const struct results *results, enum figure figure, enum figure bare_figure,
                       size_t bare)
{
    double values[ROUNDS];
    for (size_t i = 0; i < ROUNDS; i++) {
        values[i] = results->values[figure][0][i] / results->values[bare_figure][bare][i];
    }
    return median(values, ROUNDS);
}

static void print_figure(const struct results *results, enum figure figure, const char *what,
                         const char *unit)
{
    for (size_t i = 0; i < results->count; i++) {
        row(results->kind->name, what, results->subjects[i]->name, median_of(results, figure, i),
            figure == RSA_KEYS ? 1 : 0, unit);
    }
}

static void print_ratios(const struct results *results, enum figure figure, enum figure bare_figure,
                         const char *what)
{
    for (size_t i = 1; i < results->count; i++) {
        row(results->kind->name, what, results->subjects[i]->name,
            100 * ratio_of(results, figure, bare_figure, i), 1, " %");
    }
}

static void print_results(const struct results *results)
{
    print_figure(results, ONE_CALLER, "signatures/s, ", "");
    row(results->kind->name, "signatures/s, ", "keystore, 8 callers",
        median_of(results, MANY_CALLERS, 0), 0, "");
    print_ratios(results, ONE_CALLER, ONE_CALLER, "  1 caller to ");
    print_ratios(results, MANY_CALLERS, ONE_CALLER, "  8 callers to ");
    print_figure(results, ONE_CALLER_CPU, "CPU per signature, ", " us");
    print_figure(results, EC_KEYS, "EC P-256 keys/s, ", "");
    print_ratios(results, EC_KEYS, EC_KEYS, "  keystore to ");
    print_figure(results, RSA_KEYS, "RSA-2048 keys/s, ", "");
}

/* Key generation without pause in the background. */
struct background {
    struct keystore *keystore;
    atomic_bool is_over;
    atomic_uint made;
    double longest_s;
    pthread_t thread;
};

static void *background_main(void *argument)
{
    struct background *background = argument;
    while (!atomic_load(&background->is_over)) {
        double begin = seconds(CLOCK_MONOTONIC);
        key_unref(generate(background->keystore, KEY_TYPE_RSA_2048, KEYSTORE_PRIORITY_BACKGROUND));
        background->longest_s = MAX(background->longest_s, seconds(CLOCK_MONOTONIC) - begin);
        (void)atomic_fetch_add(&background->made, 1);
    }
    return NULL;
}

static void measure_wait(const struct kind *kind, char *const arguments[], unsigned count)
{
    struct subject *subject = kind->keystore.open(arguments);
    struct background background = {.keystore = subject->keystore};
    double *waits = memory_new_array(count, sizeof(double));
    sign_often(&kind->keystore, subject, WARM_UP);
    if (pthread_create(&background.thread, NULL, background_main, &background) != 0) {
        bare_die("pthread_create", "refused");
    }
    for (unsigned i = 0; i < count; i++) {
        double begin = seconds(CLOCK_MONOTONIC);
        sign_often(&kind->keystore, subject, 1);
        waits[i] = (seconds(CLOCK_MONOTONIC) - begin) * 1e3;
    }
    atomic_store(&background.is_over, true);
    (void)pthread_join(background.thread, NULL);
    row(kind->name, "signature while RSA keys are made without pause, ", "p50",
        median(waits, count), 2, " ms");
    row(kind->name, "  longest wait for it", "", waits[count - 1], 1, " ms");
    row(kind->name, "  longest making of a key", "", background.longest_s * 1e3, 1, " ms");
    free(waits);
    kind->keystore.close(subject);
}

static int run(const struct kind *kind, char *const arguments[], unsigned count)
{
    struct results *results = NEW(struct results);
    results->kind = kind;
    results->subjects[results->count++] = &kind->keystore;
    for (size_t i = 0; i < BARES_MAX && kind->bares[i]; i++) {
        results->subjects[results->count++] = kind->bares[i];
    }
    run_rounds(results, arguments, count);
    print_results(results);
    measure_wait(kind, arguments, count / 4 + 1);
    free(results);
    return 0;
}

static int run_bare(const struct kind *kind, char *const arguments[], unsigned count)
{
    for (size_t i = 0; i < BARES_MAX && kind->bares[i]; i++) {
        void *state = kind->bares[i]->open(arguments);
        sign_often(kind->bares[i], state, WARM_UP);
        double begin = seconds(CLOCK_MONOTONIC);
        sign_often(kind->bares[i], state, count);
        (void)printf("%.0f ", count / (seconds(CLOCK_MONOTONIC) - begin));
        kind->bares[i]->close(state);
    }
    (void)puts("");
    return 0;
}

int main(int argc, char **argv)
{
    struct error err;
    uint64_t count = COUNT_DEFAULT;
    log_set_level(LOG_LEVEL_ERROR);
    if (secret_init(&err) < 0) {
        bare_die("secret_init", err.text);
    }
    for (size_t i = 0; argc > 1 && i < ARRAY_SIZE(kinds); i++) {
        int arguments = kinds[i].arguments + 2;
        if (strcmp(argv[1], kinds[i].name) != 0 || argc < arguments || argc > arguments + 1) {
            continue;
        }
        if (argc > arguments && text_parse_u64(argv[arguments], 1, 1000000, &count, &err) < 0) {
            bare_die("COUNT", err.text);
        }
        return kinds[i].keystore.open ? run(&kinds[i], argv + 2, (unsigned)count)
                                      : run_bare(&kinds[i], argv + 2, (unsigned)count);
    }
    (void)fprintf(stderr, "usage: bench_keystore tpm TCTI | pkcs11 MODULE TOKEN PINFILE | memory | "
                          "bare TCTI [COUNT]\n");
    return 2;
}
