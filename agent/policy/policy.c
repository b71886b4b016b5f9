#include "agent/policy/policy.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/policy/meters_of.h"
#include "lib/base/clock.h"
#include "lib/base/memory.h"

/* How much of a name a reason repeats, so that what to do still fits behind it. */
#define NAME "%.80s"

static const uint64_t minute_ns = 60ULL * 1000000000;

struct policy {
    struct rules *rules;
    struct locks *locks;
    struct meters_of *meters;
    struct policy_node node; /* its reason is owned */
    bool has_digests;        /* a rule has executables by unix:sha256 */
};

static void free_rules(struct rules *rules)
{
    rules_clear(rules);
    free(rules);
}

static bool has_digests(const struct rules *rules)
{
    static const char prefix[] = "unix:sha256:";
    for (size_t i = 0; i < rules->count; i++) {
        const struct text_list *executables = &rules->items[i].executables;
        for (size_t j = 0; j < executables->count; j++) {
            if (strncmp(executables->items[j], prefix, sizeof(prefix) - 1) == 0) {
                return true;
            }
        }
    }
    return false;
}

void policy_set_rules(struct policy *policy, struct rules *rules)
{
    struct rules *before = policy->rules;
    if (!rules->index) {
        rules_prepare(rules);
    }
    policy->rules = rules;
    policy->has_digests = has_digests(rules);
    if (before) {
        free_rules(before);
    }
}

int policy_new(const char *data_dir, struct rules *rules, struct policy **ret_policy,
               struct error *err)
{
    struct locks *locks = NULL;
    if (locks_open(data_dir, &locks, err) < 0) {
        free_rules(rules);
        return -1;
    }
    struct policy *policy = NEW(struct policy);
    policy->locks = locks;
    policy->meters = meters_of_new();
    policy_set_rules(policy, rules);
    *ret_policy = policy;
    return 0;
}

void policy_free(struct policy *policy)
{
    locks_close(policy->locks);
    meters_of_free(policy->meters);
    free_rules(policy->rules);
    free((char *)policy->node.reason);
    free(policy);
}

const struct rules *policy_rules(const struct policy *policy)
{
    return policy->rules;
}

struct locks *policy_locks(struct policy *policy)
{
    return policy->locks;
}

void policy_set_node(struct policy *policy, const struct policy_node *node)
{
    char *reason = memory_copy_text(node->reason);
    free((char *)policy->node.reason);
    policy->node = *node;
    policy->node.reason = reason;
}

struct identity_meters *policy_meters(struct policy *policy, const char *spiffe_id)
{
    return identity_meters_ref(meters_of_find(policy->meters, spiffe_id));
}

bool policy_needs_sha256(const struct policy *policy)
{
    return policy->has_digests || locks_need_sha256(policy->locks);
}

/* What is asked, and the answer as it stands. */
struct question {
    struct policy *policy;
    const char *spiffe_id;
    const struct audit_process *process; /* NULL: whoever holds it */
    int64_t first_use_s, now_s;
    struct policy_answer *answer;
};

/* Each looks at one thing: true goes on, false has denied. */
typedef bool (*check_function)(const struct question *question);

static bool _printf_(5, 6) deny(struct policy_answer *answer, enum audit_decider decider,
                                const char *decider_id, int64_t until_s, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(answer->reason, sizeof(answer->reason), format, arguments);
    va_end(arguments);
    answer->is_allowed = false;
    answer->decider = decider;
    (void)snprintf(answer->decider_id, sizeof(answer->decider_id), "%s", decider_id);
    answer->until_s = until_s;
    return false;
}

/* The answer holds no longer than that. */
static void holds_until(struct policy_answer *answer, int64_t until_s)
{
    answer->until_s = MIN(answer->until_s, until_s);
}

/* "2026-11-21T18:00:00Z" */
static void format_moment(int64_t moment_s, char *text, size_t size)
{
    struct tm utc;
    time_t time_s = moment_s;
    if (!gmtime_r(&time_s, &utc) || strftime(text, size, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0) {
        (void)snprintf(text, size, "later");
    }
}

static bool check_lock(const struct question *question)
{
    const struct lock *lock =
        locks_find(question->policy->locks, question->spiffe_id, question->process);
    char end[32] = "it is lifted";
    if (!lock) {
        return true;
    }
    if (lock->ends_at_s) {
        format_moment(lock->ends_at_s, end, sizeof(end));
    }
    return deny(question->answer, AUDIT_DECIDER_LOCK, lock->id,
                lock->ends_at_s ? lock->ends_at_s : INT64_MAX,
                "locked (%s%s%.100s) until %s by %.60s: \"%.100s\"; an administrator may lift it "
                "with signet unlock",
                lock_kind_name(lock->kind), *lock->what ? " " : "", lock->what, end, lock->by,
                lock->reason);
}

/* Of a node that is not as it should be, whatever the rules say. */
static bool deny_for_node(const struct question *question, const char *what)
{
    const char *reason = question->policy->node.reason;
    return deny(question->answer, AUDIT_DECIDER_NODE, "", INT64_MAX,
                "%s while this node is not attested%s%.200s; signet attest show says more", what,
                reason ? ": " : "", reason ? reason : "");
}

static bool check_node(const struct question *question)
{
    return !question->policy->node.is_use_denied ||
           deny_for_node(question, "no identity is held or used");
}

static bool check_issuing(const struct question *question)
{
    return !question->policy->node.is_issuing_denied ||
           deny_for_node(question, "nothing is issued");
}

static bool check_rule(const struct question *question)
{
    struct policy_answer *answer = question->answer;
    const struct rule *rule = rules_find(question->policy->rules, question->spiffe_id);
    if (!rule) {
        return deny(answer, AUDIT_DECIDER_RULE, "", INT64_MAX,
                    "no rule matches \"%.150s\", and where there are rules what none matches is "
                    "denied; add a rule for it to the agent's configuration",
                    question->spiffe_id);
    }
    answer->rule = rule;
    if (question->policy->rules->count > 0) {
        answer->decider = AUDIT_DECIDER_RULE;
        (void)snprintf(answer->decider_id, sizeof(answer->decider_id), "%s", rule->pattern);
    }
    return true;
}

static bool check_attested(const struct question *question)
{
    const struct policy *policy = question->policy;
    const struct rule *rule = question->answer->rule;
    const char *reason = policy->node.reason ? policy->node.reason : "";
    if (!rule->requires_attested || policy->node.is_attested) {
        return true;
    }
    return deny(question->answer, AUDIT_DECIDER_NODE, rule->pattern, INT64_MAX,
                "rule \"" NAME "\" requires that this node is attested, and it is not%s%.120s; "
                "signet attest show says more",
                rule->pattern, *reason ? ": " : "", reason);
}

static bool check_hours(const struct question *question)
{
    const struct rule *rule = question->answer->rule;
    char next[SCHEDULE_MOMENT_BYTES];
    int64_t until_s;
    if (!rule->hours) {
        return true;
    }
    if (schedule_has(rule->hours, question->now_s, &until_s)) {
        holds_until(question->answer, until_s);
        return true;
    }
    schedule_format(rule->hours, until_s, next);
    return deny(question->answer, AUDIT_DECIDER_RULE, rule->pattern, until_s,
                "rule \"" NAME "\" allows it %.120s; next at %s", rule->pattern,
                schedule_text(rule->hours), next);
}

static bool check_executable(const struct question *question)
{
    const struct rule *rule = question->answer->rule;
    const struct audit_process *process = question->process;
    for (size_t i = 0; i < rule->executables.count; i++) {
        if (process->selectors &&
            text_list_has_sorted(process->selectors, rule->executables.items[i])) {
            return true;
        }
    }
    if (rule->executables.count == 0) {
        return true;
    }
    return deny(question->answer, AUDIT_DECIDER_RULE, rule->pattern, INT64_MAX,
                "rule \"" NAME "\" allows it to %zu executables by their digest, and pid %d runs "
                "%.100s with %s%.64s; where that is right, add it to the rule's executables",
                rule->pattern, rule->executables.count, process->pid,
                process->executable ? process->executable : "a file without a name",
                process->sha256 ? "sha256:" : "no digest that is known",
                process->sha256 ? process->sha256 : "");
}

/* By the clock that nobody sets: a start time in ticks since boot, which the kernel keeps. */
static uint64_t process_age_ms(const struct audit_process *process)
{
    uint64_t ticks_a_second = (uint64_t)sysconf(_SC_CLK_TCK);
    uint64_t started_ms = process->start_time / ticks_a_second * 1000 +
                          process->start_time % ticks_a_second * 1000 / ticks_a_second;
    uint64_t now_ms = clock_monotonic_ms();
    return now_ms > started_ms ? now_ms - started_ms : 0;
}

static bool check_age(const struct question *question)
{
    const struct rule *rule = question->answer->rule;
    uint64_t limit_ms = (uint64_t)rule->max_process_age_s * 1000;
    if (limit_ms == 0) {
        return true;
    }
    uint64_t age_ms = process_age_ms(question->process);
    if (age_ms < limit_ms) {
        holds_until(question->answer,
                    question->now_s + (int64_t)((limit_ms - age_ms + 999) / 1000));
        return true;
    }
    _cleanup_(free_cleanup) char *limit = text_format_duration_ms(limit_ms);
    _cleanup_(free_cleanup) char *age = text_format_duration_ms(age_ms / 1000 * 1000);
    return deny(question->answer, AUDIT_DECIDER_RULE, rule->pattern, INT64_MAX,
                "rule \"" NAME "\" lets a process hold it for %s from its start, and pid %d "
                "started %s ago; start the process anew",
                rule->pattern, limit, question->process->pid, age);
}

/* Who was given it once came in time, for good: no time is set to the answer that gives it. */
static bool check_first_use(const struct question *question)
{
    const struct rule *rule = question->answer->rule;
    uint64_t limit_ms = (uint64_t)rule->first_use_within_s * 1000;
    if (limit_ms == 0 || question->first_use_s != 0) {
        return true;
    }
    uint64_t age_ms = process_age_ms(question->process);
    if (age_ms < limit_ms) {
        return true;
    }
    _cleanup_(free_cleanup) char *limit = text_format_duration_ms(limit_ms);
    _cleanup_(free_cleanup) char *age = text_format_duration_ms(age_ms / 1000 * 1000);
    return deny(question->answer, AUDIT_DECIDER_RULE, rule->pattern, INT64_MAX,
                "rule \"" NAME "\" gives it only to a process that asks within %s of its start, "
                "and pid %d came after %s; start the process anew",
                rule->pattern, limit, question->process->pid, age);
}

/* Checks in their order, until one denies. */
static const check_function identity_checks[] = {check_lock, check_node, check_rule, check_attested,
                                                 check_hours};
static const check_function holder_checks[] = {check_lock, check_executable, check_age,
                                               check_first_use};

static void run_checks(const struct question *question, const check_function *checks, size_t count)
{
    for (size_t i = 0; i < count && question->answer->is_allowed; i++) {
        (void)checks[i](question);
    }
}

/* reason stays as it is: clearing all of it for each signature would cost more than deciding. */
static void begin(struct policy_answer *answer)
{
    answer->is_allowed = true;
    answer->decider = AUDIT_DECIDER_NONE;
    answer->decider_id[0] = '\0';
    answer->reason[0] = '\0';
    answer->until_s = INT64_MAX;
    answer->rule = NULL;
}

void policy_decide_identity(struct policy *policy, const char *spiffe_id, int64_t now_s,
                            struct policy_answer *ret_answer)
{
    const struct question question = {
        .policy = policy, .spiffe_id = spiffe_id, .now_s = now_s, .answer = ret_answer};
    begin(ret_answer);
    run_checks(&question, identity_checks, ARRAY_SIZE(identity_checks));
}

void policy_decide_holder(struct policy *policy, const char *spiffe_id,
                          const struct policy_holder *holder, int64_t now_s,
                          struct policy_answer *ret_answer)
{
    const struct question question = {
        .policy = policy,
        .spiffe_id = spiffe_id,
        .process = holder->process,
        .first_use_s = holder->first_use_s,
        .now_s = now_s,
        .answer = ret_answer,
    };
    policy_decide_identity(policy, spiffe_id, now_s, ret_answer);
    run_checks(&question, holder_checks, ARRAY_SIZE(holder_checks));
}

/* Takes one of so many a minute. */
static void take(struct policy_answer *answer, struct meter *meter, uint32_t rate, const char *what,
                 const char *key)
{
    uint64_t wait_ns = 0;
    if (meter_take(meter, meter_now_ns(), rate, minute_ns, rate, &wait_ns)) {
        return;
    }
    int64_t wait_s = (int64_t)((wait_ns + 999999999) / 1000000000);
    (void)deny(answer, AUDIT_DECIDER_RULE, answer->rule->pattern, clock_now_s() + wait_s,
               "rule \"" NAME "\" allows %" PRIu32 " %s a minute; the next in %" PRId64
               "s. Ask less often, or raise the rule's %s",
               answer->rule->pattern, rate, what, wait_s, key);
}

void policy_decide_svid(struct policy *policy, const char *spiffe_id,
                        struct policy_answer *ret_answer)
{
    const struct question question = {
        .policy = policy, .spiffe_id = spiffe_id, .answer = ret_answer};
    begin(ret_answer);
    if (check_issuing(&question) && check_rule(&question) && ret_answer->rule->svid_rate > 0) {
        take(ret_answer, &meters_of_find(policy->meters, spiffe_id)->svids,
             ret_answer->rule->svid_rate, "X.509-SVIDs", "svid_rate");
    }
}

static bool is_audience_allowed(const struct rule *rule, const char *audience)
{
    for (size_t i = 0; i < rule->jwt_audiences.count; i++) {
        if (audience_matches(rule->jwt_audiences.items[i], audience)) {
            return true;
        }
    }
    return false;
}

static bool check_audiences(const struct rule *rule, const struct text_list *audience,
                            struct policy_answer *answer)
{
    if (rule->jwt_audiences.count == 0) {
        return true;
    }
    for (size_t i = 0; i < audience->count; i++) {
        if (!is_audience_allowed(rule, audience->items[i])) {
            return deny(answer, AUDIT_DECIDER_RULE, rule->pattern, INT64_MAX,
                        "rule \"" NAME "\" has no jwt_audiences that match \"%.100s\"; where that "
                        "is right, add a pattern for it",
                        rule->pattern, audience->items[i]);
        }
    }
    return audience->count > 0 || deny(answer, AUDIT_DECIDER_RULE, rule->pattern, INT64_MAX,
                                       "rule \"" NAME "\" limits JWT-SVIDs to its jwt_audiences, "
                                       "and none is asked for; name one",
                                       rule->pattern);
}

void policy_decide_jwt(struct policy *policy, const char *spiffe_id,
                       const struct text_list *audience, uint32_t *ret_ttl_limit_s,
                       struct policy_answer *ret_answer)
{
    const struct question question = {
        .policy = policy, .spiffe_id = spiffe_id, .answer = ret_answer};
    *ret_ttl_limit_s = 0;
    begin(ret_answer);
    if (!check_issuing(&question) || !check_rule(&question) ||
        !check_audiences(ret_answer->rule, audience, ret_answer)) {
        return;
    }
    *ret_ttl_limit_s = ret_answer->rule->jwt_max_ttl_s;
    if (ret_answer->rule->jwt_rate > 0) {
        take(ret_answer, &meters_of_find(policy->meters, spiffe_id)->jwts,
             ret_answer->rule->jwt_rate, "JWT-SVIDs", "jwt_rate");
    }
}
