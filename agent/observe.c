#include "agent/observe.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "agent/api/counters.h"
#include "agent/metrics/metrics.h"
#include "agent/state.h"

#define LABELS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* A family of one sample. */
static void gauge(struct buffer *text, const char *name, const char *help, double value)
{
    metric_family(text, name, METRIC_GAUGE, help);
    metric_sample(text, name, "", NULL, value);
}

static void counter(struct buffer *text, const char *name, const char *help, uint64_t value)
{
    metric_family(text, name, METRIC_COUNTER, help);
    metric_sample(text, name, "", NULL, (double)value);
}

static void observe_build(struct buffer *text)
{
    static const char name[] = "signet_build_info";
    metric_family(text, name, METRIC_GAUGE, "The version of the agent; always 1.");
    metric_sample(text, name, "", LABELS("version", SIGNET_VERSION), 1);
}

static void observe_svids(struct agent *agent, struct buffer *text)
{
    struct manager_counters counters = {0};
    manager_counters(agent->manager, &counters);
    gauge(text, "signet_entries", "Entries known.", (double)counters.entries);
    gauge(text, "signet_svids", "X.509-SVIDs held for workloads.", (double)counters.svids);
    gauge(text, "signet_svids_issuing", "X.509-SVIDs being issued.", (double)counters.issuing);
    counter(text, "signet_svid_issued_total", "X.509-SVIDs issued, renewals included.",
            counters.issued);
    counter(text, "signet_svid_issue_failures_total", "Tries to issue an X.509-SVID that failed.",
            counters.failures);
    gauge(text, "signet_rotation_lag_seconds",
          "How long the renewal that is most overdue has been so.", (double)counters.renewal_lag_s);
    gauge(text, "signet_next_expiry_timestamp_seconds",
          "When the first of the X.509-SVIDs held expires, since 1970; 0 where there is none.",
          (double)counters.next_expiry_s);
}

static void observe_access(struct agent *agent, struct buffer *text)
{
    static const char denied[] = "signet_denied_total";
    struct access_status status = {0};
    access_status(agent->access, &status);
    gauge(text, "signet_processes", "Processes that are followed.", (double)status.processes);
    counter(text, "signet_identified_total", "Times that a process was given an identity.",
            status.identified);
    counter(text, "signet_rechecks_total", "Times that a process was looked at again.",
            status.rechecks);
    counter(text, "signet_process_changes_total",
            "Processes that lost what they had as they became others.", status.changed_processes);
    metric_family(text, denied, METRIC_COUNTER, "Decisions against somebody, by what made them.");
    for (size_t i = AUDIT_DECIDER_ENTRY; i < ARRAY_SIZE(status.denied_by); i++) {
        metric_sample(text, denied, "", LABELS("by", audit_decider_name((enum audit_decider)i)),
                      (double)status.denied_by[i]);
    }
}

static void count_lock(void *user, const struct lock *lock)
{
    (void)lock;
    (*(size_t *)user)++;
}

static void observe_locks(struct agent *agent, struct buffer *text)
{
    size_t locks = 0;
    locks_each(policy_locks(agent->policy), count_lock, &locks);
    gauge(text, "signet_locks", "Locks in force.", (double)locks);
}

static void observe_tokens(struct agent *agent, struct buffer *text)
{
    struct token_counters counters = {0};
    tokens_counters(agent->tokens, &counters);
    counter(text, "signet_key_uses_total", "Signatures made for workloads through their tokens.",
            counters.signatures);
    counter(text, "signet_token_calls_total", "PKCS#11 calls of workloads.", counters.calls);
    counter(text, "signet_token_refusals_total", "Of these, the ones that were malformed.",
            counters.refusals);
    gauge(text, "signet_token_sessions", "PKCS#11 sessions open.", (double)counters.sessions);
}

static void add_connections(void *user, const char *socket, size_t connections, size_t calls)
{
    (void)calls;
    metric_sample(user, "signet_connections", "", LABELS("socket", socket), (double)connections);
}

static void add_streams(void *user, const char *socket, size_t connections, size_t calls)
{
    (void)connections;
    metric_sample(user, "signet_streams", "", LABELS("socket", socket), (double)calls);
}

static void observe_sockets(struct agent *agent, struct buffer *text)
{
    struct token_counters counters = {0};
    tokens_counters(agent->tokens, &counters);
    metric_family(text, "signet_connections", METRIC_GAUGE, "Connections open, by socket.");
    api_each_socket(agent->api, add_connections, text);
    add_connections(text, "pkcs11", counters.connections, 0);
    metric_family(text, "signet_streams", METRIC_GAUGE, "gRPC calls open, most of them streams.");
    api_each_socket(agent->api, add_streams, text);
}

/* One number of each keystore. */
static double keystore_is_up(const struct keystore_status *status)
{
    return status->state == KEYSTORE_STATE_READY;
}

static double keystore_waiting(const struct keystore_status *status)
{
    return (double)status->waiting;
}

static double keystore_signatures(const struct keystore_status *status)
{
    return (double)status->signatures;
}

static double keystore_generations(const struct keystore_status *status)
{
    return (double)status->generations;
}

static double keystore_failures(const struct keystore_status *status)
{
    return (double)status->failures;
}

static const struct {
    const char *name;
    enum metric_type type;
    const char *help;
    double (*value)(const struct keystore_status *status);
} keystore_metrics[] = {
    {"signet_keystore_up", METRIC_GAUGE, "Whether the keystore answers.", keystore_is_up},
    {"signet_keystore_queue", METRIC_GAUGE, "Jobs that wait for the keystore.", keystore_waiting},
    {"signet_keystore_signatures_total", METRIC_COUNTER, "Signatures made, of every kind.",
     keystore_signatures},
    {"signet_keystore_generations_total", METRIC_COUNTER, "Keys made.", keystore_generations},
    {"signet_keystore_failures_total", METRIC_COUNTER, "Commands that failed.", keystore_failures},
};

static void observe_keystore_times(const struct manager_keystore *keystores, size_t count,
                                   struct buffer *text)
{
    static const char latency[] = "signet_keystore_latency_seconds";
    static const char waiting[] = "signet_keystore_wait_seconds";
    metric_family(text, latency, METRIC_HISTOGRAM, "How long the hardware takes, by operation.");
    for (size_t i = 0; i < count; i++) {
        const struct keystore_times *times = keystore_times(keystores[i].keystore);
        const char *name = keystores[i].name;
        metric_times(text, latency, LABELS("keystore", name, "operation", "sign"), &times->signing);
        metric_times(text, latency, LABELS("keystore", name, "operation", "generate"),
                     &times->generating);
    }
    metric_family(text, waiting, METRIC_HISTOGRAM, "How long jobs waited in the queue.");
    for (size_t i = 0; i < count; i++) {
        metric_times(text, waiting, LABELS("keystore", keystores[i].name),
                     &keystore_times(keystores[i].keystore)->waiting);
    }
}

static void observe_keystores(struct agent *agent, struct buffer *text)
{
    size_t count = 0;
    const struct manager_keystore *keystores = keystores_items(agent->keystores, &count);
    for (size_t i = 0; i < ARRAY_SIZE(keystore_metrics); i++) {
        const char *name = keystore_metrics[i].name;
        metric_family(text, name, keystore_metrics[i].type, keystore_metrics[i].help);
        for (size_t j = 0; j < count; j++) {
            struct keystore_status status;
            keystore_status(keystores[j].keystore, &status);
            metric_sample(text, name, "", LABELS("keystore", keystores[j].name),
                          keystore_metrics[i].value(&status));
        }
    }
    observe_keystore_times(keystores, count, text);
}

static void observe_audit(struct agent *agent, struct buffer *text)
{
    static const double ms_per_s = 1000;
    struct audit_status status = {0};
    audit_status(agent->audit, &status);
    gauge(text, "signet_audit_up", "Whether the audit log can be written.",
          status.failure[0] == '\0');
    counter(text, "signet_audit_records_total", "Records written.", status.records);
    counter(text, "signet_audit_dropped_total", "Events for which there was no room.",
            status.dropped);
    counter(text, "signet_audit_failures_total", "Failures to write records.", status.failures);
    gauge(text, "signet_audit_waiting", "Records that are not on disk yet.",
          (double)status.waiting);
    gauge(text, "signet_audit_lag_seconds", "How long the oldest of them has been waiting.",
          (double)status.oldest_waiting_ms / ms_per_s);
}

static void observe_outside(struct agent *agent, struct buffer *text)
{
    static const char answers[] = "signet_outside_answers_total";
    struct outside_status status = {0};
    if (!agent->outside) {
        return;
    }
    outside_status(agent->outside, &status);
    gauge(text, "signet_outside_up", "Whether the outside policy answered the last question.",
          status.failure[0] == '\0');
    counter(text, "signet_outside_asked_total", "Questions for the outside policy.", status.asked);
    counter(text, "signet_outside_cached_total", "Of these, answered from what was kept.",
            status.cached);
    metric_family(text, answers, METRIC_COUNTER, "What became of the questions.");
    metric_sample(text, answers, "", LABELS("answer", "allowed"), (double)status.allowed);
    metric_sample(text, answers, "", LABELS("answer", "denied"), (double)status.denied);
    metric_sample(text, answers, "", LABELS("answer", "none"), (double)status.failed);
}

static void observe_node(struct agent *agent, struct buffer *text)
{
    static const char reason[] = "signet_node_reason";
    struct node_counters counters = {0};
    struct node_state state;
    if (!agent->node) {
        return;
    }
    node_state(agent->node, &state);
    node_counters(agent->node, &counters);
    gauge(text, "signet_node_attested", "Whether the last attestation of this node succeeded.",
          state.is_attested);
    metric_family(text, reason, METRIC_GAUGE, "Why it did not; always 1, absent where it did.");
    if (!state.is_attested) {
        metric_sample(text, reason, "", LABELS("reason", verdict_reason_name(state.reason)), 1);
    }
    gauge(text, "signet_node_attested_timestamp_seconds",
          "When it last succeeded, since 1970; 0: never.", (double)state.attested_at_s);
    counter(text, "signet_node_attestations_total", "Attestations of this node.",
            counters.attestations);
    counter(text, "signet_node_attestation_failures_total", "Of these, the ones that failed.",
            counters.failures);
    counter(text, "signet_node_evidence_total", "Evidence made for others.", counters.evidence);
}

static double resident_bytes(void)
{
    unsigned long long size = 0;
    unsigned long long resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file) {
        return 0;
    }
    /* NOLINTNEXTLINE(cert-err34-c): the kernel writes numbers that fit. */
    if (fscanf(file, "%llu %llu", &size, &resident) != 2) {
        resident = 0;
    }
    (void)fclose(file);
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static size_t open_descriptors(void)
{
    size_t count = 0;
    DIR *folder = opendir("/proc/self/fd");
    if (!folder) {
        return 0;
    }
    while (readdir(folder)) {
        count++;
    }
    (void)closedir(folder);
    /* Without ".", ".." and the folder itself. */
    return count - MIN(count, 3);
}

static double cpu_seconds(void)
{
    static const double us_per_s = 1e6;
    struct rusage usage = {0};
    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / us_per_s;
}

static void observe_process(struct agent *agent, struct buffer *text)
{
    metric_family(text, "process_cpu_seconds_total", METRIC_COUNTER,
                  "Processor time of the agent, user and system.");
    metric_sample(text, "process_cpu_seconds_total", "", NULL, cpu_seconds());
    gauge(text, "process_resident_memory_bytes", "Resident memory of the agent.", resident_bytes());
    gauge(text, "process_open_fds", "Descriptors that the agent has open.",
          (double)open_descriptors());
    gauge(text, "process_max_fds", "Descriptors that the agent may have open.",
          (double)agent->descriptor_limit);
}

void observe_metrics(void *user, struct buffer *ret_text)
{
    static void (*const parts[])(struct agent * agent, struct buffer * text) = {
        observe_svids,     observe_access, observe_locks,   observe_tokens, observe_sockets,
        observe_keystores, observe_audit,  observe_outside, observe_node,   observe_process,
    };
    observe_build(ret_text);
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        parts[i](user, ret_text);
    }
}
