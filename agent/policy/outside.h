/* An outside decision: an Open Policy Agent, asked through its data API over HTTP on a unix socket
 * or a loopback port. Its answer can only take away. Loop thread; the HTTP client has a thread of
 * its own, and its library is loaded only where an outside policy is configured. */
#pragma once

#include <uv.h>

#include "agent/audit/event.h"

struct outside;

struct outside_config {
    char *url;  /* "unix:///run/opa.sock" or "http://127.0.0.1:8181" */
    char *path; /* of the document below /v1/data, such as "signet/allow" */
    uint32_t timeout_ms, cache_ms;
    struct text_list continue_for; /* patterns of SPIFFE IDs that are allowed while it fails */
};
enum { OUTSIDE_ANSWER_MAX_BYTES = 65536, OUTSIDE_WAITING_MAX = 1024, OUTSIDE_AT_ONCE_MAX = 16 };
/* After how long who was not answered may ask again. */
enum { OUTSIDE_RETRY_MS = 1000 };

/* url: a unix socket or a literal loopback address, so that no name is ever looked up and nothing
 * leaves the host. path: segments of letters, digits, '_', '-', '.'. InvalidArgument says what was
 * expected. */
int outside_check(const struct outside_config *config, struct error *err);

/* config is copied. Nothing is asked yet: a policy that is not there is found by the first
 * question. FailedPrecondition: libcurl is not installed. */
int outside_new(uv_loop_t *loop, const struct outside_config *config, struct outside **ret_outside,
                struct error *err);
/* Those who wait are denied before the return; what is under way is given up, nothing is waited
 * for. The loop runs on after it, for one handle to close. */
void outside_free(struct outside *outside);

struct outside_question {
    const char *action; /* "issue", "use", "jwt" */
    const char *spiffe_id;
    const char *entry_id, *rule; /* NULL: none */
    const struct audit_process *process;
    const struct text_list *audience; /* NULL: none */
};

/* The input document for the policy, and the key under which answers are kept: everything in it but
 * times. {"input": {"action", "spiffe_id", "trust_domain", "entry", "rule", "audience", "process":
 * {"pid", "uid", "gid", "started_at", "executable", "sha256", "unit", "container_id",
 * "selectors"}}}; the caller frees it. */
char *outside_input(const struct outside_question *question);

/* Reads an answer: {"result": true|false} or {"result": {"allow": bool, "reason": text}}. Anything
 * else is no answer: an error. */
int outside_parse(struct bytes body, bool *ret_is_allowed, char **ret_reason, struct error *err);

/* Somebody who waits for an answer. Embed it. */
struct outside_wait {
    struct outside_wait *next, **link; /* in a list while it waits; link NULL: does not */
    /* Exactly once unless cancelled; perhaps before the return of outside_ask where the answer is
     * fresh. until_ms: clock_monotonic_ms at which it has to be asked again. reason: for people,
     * NULL where allowed without one; borrowed for the call. */
    void (*done)(struct outside_wait *wait, bool is_allowed, const char *reason, uint64_t until_ms);
    bool is_cancelled;
};
/* A timeout, an error or too many waiting is a deny, unless continue_for has the SPIFFE ID. The
 * timeout counts from here. The same question of several is asked once. */
void outside_ask(struct outside *outside, const struct outside_question *question,
                 struct outside_wait *wait);
/* done does not run any more, and the wait may be freed. Also when it has run already. */
void outside_wait_cancel(struct outside_wait *wait);
/* For health: why it fails, empty where the last question was answered. And counters: of questions
 * asked, those that the policy allowed and denied, those that it did not answer, and those (of the
 * former) that were answered from what was kept. */
struct outside_status {
    char failure[512];
    uint64_t asked, allowed, denied, failed, cached;
};
void outside_status(struct outside *outside, struct outside_status *ret_status);
