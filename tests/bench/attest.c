/* Measures attestation; tests/bench/run prints the table.
 *
 *     bench_attest steps TCTI CONTROL EK-CAS AK-TYPE FOLDER [COUNT]
 *     bench_attest judge TCTI EK-CAS EVENT-LOG FOLDER [COUNT]
 *
 * steps: time of each step and TPM commands in it, as the proxy at CONTROL counts them. judge: one
 * thread judges evidence of a host that has booted as EVENT-LOG says (the TPM's registers are
 * extended by it, once). FOLDER is for the AK's file. Lines of "WHAT<tab>FIGURE". */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "attest/host/host.h"
#include "attest/judge.h"
#include "lib/base/clock.h"
#include "lib/base/memory.h"
#include "lib/base/times.h"
#include "pkcs11/tpm/tpm.h"
#include "pkcs11/tpm/tpm_command.h"

enum { COUNT_DEFAULT = 50, CONTROL_ANSWER_BYTES = 8192 };

static const struct bytes nonce = {(const uint8_t *)"a nonce of exactly 32 bytes.....", 32};
static const char selection_text[] = "sha256:0,1,2,3,4,5,6,7";

_Noreturn static void die(const char *what, const char *why)
{
    (void)fprintf(stderr, "bench_attest: %s: %s\n", what, why);
    exit(1);
}

static void check(int result, const char *what, const struct error *err)
{
    if (result < 0) {
        die(what, err->text);
    }
}

/* A host and all that it has to do. */
struct bench {
    const char *control; /* the proxy's socket; NULL: commands are not counted */
    struct keystore *keystore;
    struct attest_host_config config;
    struct attest_host *host;
    struct key *key;
    struct attest_policy policy;
    struct evidence evidence;
    struct secret secret; /* what the challenge hides */
    struct challenge challenge;
    struct verdict verdict;
};

static struct keystore *open_keystore(const char *tcti)
{
    struct error err = {0};
    struct keystore *keystore = NULL;
    struct tpm_config tpm = {.tcti = tcti};
    const struct keystore_config config = {
        .name = "tpm", .driver = &keystore_driver_tpm, .driver_config = &tpm};
    check(keystore_new(&config, &keystore, &err), "opening the TPM", &err);
    return keystore;
}

static void read_policy(struct bench *bench, const char *cas)
{
    struct error err = {0};
    struct attest_policy *policy = &bench->policy;
    policy->ek_trust = ek_trust_new();
    check(ek_trust_add_folder(policy->ek_trust, cas, &err), "reading the EKs' CAs", &err);
    check(pcr_selection_parse(selection_text, &policy->selection, &err), "the selection", &err);
}

static void step_read_ek(struct bench *bench)
{
    struct error err = {0};
    check(attest_host_read_ek(bench->keystore, &bench->evidence, &err), "reading the EK", &err);
}

static void step_open(struct bench *bench)
{
    struct error err = {0};
    if (bench->host) {
        attest_host_close(bench->host);
    }
    check(attest_host_open(&bench->config, &bench->host, &err), "opening the host", &err);
}

static void step_identify(struct bench *bench)
{
    struct error err = {0};
    check(attest_host_identify(bench->host, &bench->evidence, &err), "identifying", &err);
}

static void step_quote(struct bench *bench)
{
    struct error err = {0};
    check(attest_host_quote(bench->host, nonce, &bench->policy.selection, &bench->evidence, &err),
          "quoting", &err);
}

static void step_certify(struct bench *bench)
{
    struct error err = {0};
    check(attest_host_certify(bench->host, bench->key, nonce, &bench->evidence, &err), "certifying",
          &err);
}

static void step_challenge(struct bench *bench)
{
    struct error err = {0};
    challenge_clear(&bench->challenge);
    secret_clear(&bench->secret);
    check(judge_challenge(&bench->evidence, &bench->challenge, &bench->secret, &err),
          "making a challenge", &err);
}

static void step_activate(struct bench *bench)
{
    struct error err = {0};
    _cleanup_(secret_clear) struct secret found = {0};
    check(attest_host_activate(bench->host, &bench->challenge, &found, &err), "activating", &err);
    buffer_reset(&bench->evidence.activated);
    check(challenge_answer(secret_bytes(&found), nonce, &bench->evidence.activated, &err),
          "answering", &err);
}

static void step_judge(struct bench *bench)
{
    const struct judge_request request = {
        .evidence = &bench->evidence,
        .policy = &bench->policy,
        .nonce = nonce,
        .challenge_secret = secret_bytes(&bench->secret),
        .wants_key = true,
        .now_s = clock_now_s() + 60, /* certificates of EKs that were made just now */
    };
    verdict_clear(&bench->verdict);
    judge_evidence(&request, &bench->verdict);
    const struct finding *flaw = verdict_first_flaw(&bench->verdict, NULL);
    if (flaw) {
        die("the evidence is not believed", flaw->text);
    }
}

/* In the order in which one needs the other. The first is without what later ones find at hand. */
static const struct step {
    const char *what;
    void (*run)(struct bench *bench);
    bool is_once;
} steps[] = {
    {"opening, with a new AK", step_open, true},
    {"opening, with the AK of before", step_open, false},
    {"reading EK and certificate", step_read_ek, false},
    {"EK, AK and certificate as evidence", step_identify, false},
    {"challenge (in software)", step_challenge, false},
    {"activating the credential, first", step_activate, true},
    {"activating the credential", step_activate, false},
    {"quote of 8 registers and their values", step_quote, false},
    {"certifying a key", step_certify, false},
    {"judging (in software)", step_judge, false},
};

/* The proxy's count of commands since the last time. */
static unsigned long count_commands(const struct bench *bench)
{
    static const char request[] = "count reset\n";
    char answer[CONTROL_ANSWER_BYTES] = {0};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t size = 0;
    if (!bench->control) {
        return 0;
    }
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", bench->control);
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0 || connect(descriptor, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        write(descriptor, request, sizeof(request) - 1) != (ssize_t)sizeof(request) - 1) {
        die("asking the TPM proxy", strerror(errno));
    }
    for (ssize_t got = 1; got > 0 && size + 1 < sizeof(answer); size += got > 0 ? (size_t)got : 0) {
        got = read(descriptor, answer + size, sizeof(answer) - 1 - size);
    }
    (void)close(descriptor);
    const char *line = strstr(answer, "commands ");
    return line ? strtoul(line + strlen("commands "), NULL, 10) : 0;
}

static int compare(const void *a, const void *b)
{
    uint64_t first = *(const uint64_t *)a;
    uint64_t second = *(const uint64_t *)b;
    return first < second ? -1 : first > second;
}

static void measure(struct bench *bench, const struct step *step, size_t count)
{
    size_t runs = step->is_once ? 1 : count;
    _cleanup_(free_cleanup) uint64_t *taken_us = memory_new_array(runs, sizeof(*taken_us));
    (void)count_commands(bench);
    for (size_t i = 0; i < runs; i++) {
        uint64_t begin_us = times_now_us();
        step->run(bench);
        taken_us[i] = times_now_us() - begin_us;
    }
    unsigned long commands = count_commands(bench);
    qsort(taken_us, runs, sizeof(*taken_us), compare);
    uint64_t median_us = taken_us[runs / 2];
    (void)printf("%s\t%.2f ms, %.1f commands\n", step->what, (double)median_us / 1000,
                 (double)commands / (double)runs);
    (void)fflush(stdout);
}

static void bench_open(struct bench *bench, const char *tcti, const char *cas, enum key_type type,
                       const char *folder)
{
    struct error err = {0};
    char *path = memory_new(strlen(folder) + sizeof("/ak"));
    (void)stpcpy(stpcpy(path, folder), "/ak");
    bench->keystore = open_keystore(tcti);
    bench->config =
        (struct attest_host_config){.keystore = bench->keystore, .ak_type = type, .ak_path = path};
    read_policy(bench, cas);
    check(keystore_key_generate(bench->keystore, KEY_TYPE_EC_P256, NULL, KEYSTORE_PRIORITY_ISSUE,
                                &bench->key, &err),
          "making a key", &err);
}

static void bench_close(struct bench *bench)
{
    attest_host_close(bench->host);
    key_unref(bench->key);
    keystore_free(bench->keystore);
    evidence_clear(&bench->evidence);
    challenge_clear(&bench->challenge);
    secret_clear(&bench->secret);
    verdict_clear(&bench->verdict);
    attest_policy_clear(&bench->policy);
    free((char *)bench->config.ak_path);
}

/* TCTI CONTROL EK-CAS AK-TYPE FOLDER [COUNT] */
static void bench_steps(char *const arguments[], size_t count)
{
    struct error err = {0};
    enum key_type type = KEY_TYPE_EC_P256;
    struct bench bench = {.control = arguments[1]};
    check(key_type_parse(arguments[3], &type, &err), "the AK's type", &err);
    bench_open(&bench, arguments[0], arguments[2], type, arguments[4]);
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        measure(&bench, &steps[i], count);
    }
    bench_close(&bench);
}

static void extend(struct tpm_transport *transport, const struct event *event)
{
    static const TSS2L_SYS_AUTH_COMMAND empty_password = {.count = 1,
                                                          .auths[0].sessionHandle = TPM2_RS_PW};
    TPML_DIGEST_VALUES values = {.count = 1, .digests[0].hashAlg = TPM2_ALG_SHA256};
    for (size_t i = 0; i < event->digest_count; i++) {
        if (event->digests[i].bank == TPM2_ALG_SHA256) {
            memcpy(values.digests[0].digest.sha256, event->digests[i].digest.data,
                   TPM2_SHA256_DIGEST_SIZE);
        }
    }
    if (Tss2_Sys_PCR_Extend_Prepare(transport->sys, event->pcr, &values) != TSS2_RC_SUCCESS ||
        Tss2_Sys_SetCmdAuths(transport->sys, &empty_password) != TSS2_RC_SUCCESS ||
        tpm_transport_execute(transport, "TPM2_PCR_Extend") != TSS2_RC_SUCCESS) {
        die("booting", "the TPM does not extend a register");
    }
}

/* Has the TPM measure what the log says. */
static void boot(const char *tcti, const char *path)
{
    enum { EV_NO_ACTION = 3 };
    struct error err = {0};
    struct event_log log;
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    struct tpm_transport transport = {.conf = memory_copy_text(tcti)};
    check(buffer_read_file(path, EVENT_LOG_MAX_BYTES, &bytes, &err), "the event log", &err);
    check(event_log_parse(buffer_bytes(&bytes), &log, &err), "the event log", &err);
    if (tpm_transport_open(&transport) != TSS2_RC_SUCCESS) {
        die("booting", "there is no TPM");
    }
    for (size_t i = 0; i < log.count; i++) {
        if (log.events[i].type != EV_NO_ACTION) {
            extend(&transport, &log.events[i]);
        }
    }
    tpm_transport_close(&transport);
    free(transport.conf);
    event_log_clear(&log);
}

static void step_parse_and_judge(struct bench *bench, struct bytes json)
{
    struct error err = {0};
    evidence_clear(&bench->evidence);
    check(evidence_parse(json, &bench->evidence, &err), "reading the evidence", &err);
    step_judge(bench);
}

static void measure_judging(struct bench *bench, const char *what, size_t count)
{
    _cleanup_(buffer_clear) struct buffer json = {0};
    evidence_format(&bench->evidence, &json);
    step_parse_and_judge(bench, buffer_bytes(&json));
    uint64_t begin_us = times_now_us();
    for (size_t i = 0; i < count; i++) {
        step_judge(bench);
    }
    uint64_t judged_us = times_now_us();
    for (size_t i = 0; i < count; i++) {
        step_parse_and_judge(bench, buffer_bytes(&json));
    }
    uint64_t end_us = times_now_us();
    (void)printf("%s, %zu bytes\t%.0f / %.0f a second\n", what, json.size,
                 1e6 * (double)count / (double)(judged_us - begin_us),
                 1e6 * (double)count / (double)(end_us - judged_us));
}

/* The chain of the EK is found good once and remembered; without that each costs signatures. */
static void measure_first_sight(struct bench *bench, const char *cas, size_t count)
{
    uint64_t taken_us = 0;
    for (size_t i = 0; i < count; i++) {
        ek_trust_free(bench->policy.ek_trust);
        read_policy(bench, cas);
        uint64_t begin_us = times_now_us();
        step_judge(bench);
        taken_us += times_now_us() - begin_us;
    }
    (void)printf("an EK seen for the first time\t%.0f a second\n",
                 1e6 * (double)count / (double)taken_us);
}

/* TCTI EK-CAS EVENT-LOG FOLDER [COUNT] */
static void bench_judge(char *const arguments[], size_t count)
{
    struct bench bench = {0};
    boot(arguments[0], arguments[2]);
    bench_open(&bench, arguments[0], arguments[1], KEY_TYPE_EC_P256, arguments[3]);
    step_open(&bench);
    step_identify(&bench);
    step_challenge(&bench);
    step_activate(&bench);
    step_quote(&bench);
    step_certify(&bench);
    measure_judging(&bench, "evidence without a log", count);
    measure_first_sight(&bench, arguments[1], count / 10 + 1);
    step_open(&bench);
    attest_host_close(take_ptr(bench.host));
    bench.config.event_log_path = arguments[2];
    step_open(&bench);
    step_quote(&bench);
    bench.policy.requires_event_log = true;
    measure_judging(&bench, "evidence with an event log", count);
    bench_close(&bench);
}

static const struct {
    const char *name;
    int arguments;
    void (*run)(char *const arguments[], size_t count);
} modes[] = {
    {"steps", 5, bench_steps},
    {"judge", 4, bench_judge},
};

int main(int count, char *arguments[])
{
    struct error err = {0};
    check(secret_init(&err), "guarded memory", &err);
    for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
        if (count >= 2 + modes[i].arguments && strcmp(arguments[1], modes[i].name) == 0) {
            const char *amount = arguments[2 + modes[i].arguments];
            size_t repeats = amount ? strtoul(amount, NULL, 10) : COUNT_DEFAULT;
            modes[i].run(arguments + 2, repeats ? repeats : 1);
            return 0;
        }
    }
    (void)fprintf(stderr, "usage: bench_attest steps TCTI CONTROL EK-CAS AK-TYPE FOLDER [COUNT]\n"
                          "       bench_attest judge TCTI EK-CAS EVENT-LOG FOLDER [COUNT]\n");
    return 2;
}
