#include "agent/api/rule_steps.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent/policy/policy.h"
#include "lib/base/clock.h"
#include "lib/base/memory.h"

void rule_steps_add(struct rule_steps *steps, const char *what, bool allows, const char *format,
                    ...)
{
    va_list arguments;
    struct rule_step *step = &steps->items[steps->count];
    if (steps->count == RULE_STEPS_MAX) {
        abort();
    }
    va_start(arguments, format);
    if (vasprintf(&step->text, format, arguments) < 0) {
        abort();
    }
    va_end(arguments);
    step->what = what;
    step->allows = allows;
    steps->count++;
}

void rule_steps_clear(struct rule_steps *steps)
{
    for (size_t i = 0; i < steps->count; i++) {
        free(steps->items[i].text);
    }
    steps->count = 0;
}

/* The value of the first selector that begins so; NULL: there is none. The caller frees it. */
static char *selector_value(const struct text_list *selectors, const char *prefix)
{
    for (size_t i = 0; i < selectors->count; i++) {
        if (strncmp(selectors->items[i], prefix, strlen(prefix)) == 0) {
            return memory_copy_text(selectors->items[i] + strlen(prefix));
        }
    }
    return NULL;
}

void rule_question_set_process(struct rule_question *question, const struct peer *peer,
                               const struct text_list *selectors)
{
    text_list_copy(&question->selectors, selectors);
    question->sha256 = selector_value(selectors, "unix:sha256:");
    question->of_process = (struct audit_process){
        .pid = peer->pid,
        .uid = peer->uid,
        .gid = peer->gid,
        .start_time = peer->start_time,
        .started_at_ms = question->facts.started_at_ms,
        .executable = question->facts.executable,
        .sha256 = question->sha256,
        .container_id = question->facts.container_id,
        .unit = question->facts.unit,
        .selectors = &question->selectors,
    };
    question->process = &question->of_process;
}

void rule_question_clear(struct rule_question *question)
{
    text_list_clear(&question->selectors);
    text_list_clear(&question->audience);
    process_facts_clear(&question->facts);
    free(question->sha256);
    free(question->spiffe_id);
    *question = (struct rule_question){0};
}

/* entry */

struct entry_search {
    struct rule_question *question;
    size_t count, matching;
    struct entry *nearest; /* which the process lacks the fewest selectors of */
    size_t lacking;
};

static size_t count_lacking(const struct entry *entry, const struct text_list *selectors)
{
    size_t count = 0;
    for (size_t i = 0; i < entry->selectors.count; i++) {
        count += text_list_has_sorted(selectors, entry->selectors.items[i]) ? 0 : 1;
    }
    return count;
}

static void consider_entry(void *user, struct entry *entry)
{
    struct entry_search *search = user;
    struct rule_question *question = search->question;
    if (strcmp(entry->spiffe_id, question->spiffe_id) != 0) {
        return;
    }
    size_t lacking = question->process ? count_lacking(entry, &question->selectors) : 0;
    search->count++;
    search->matching += lacking == 0 ? 1 : 0;
    if (lacking == 0 && !question->entry_id) {
        question->entry_id = entry->id;
    }
    if (!search->nearest || lacking < search->lacking) {
        search->nearest = entry;
        search->lacking = lacking;
    }
}

static char *join_selectors(const struct entry *entry, const struct text_list *without)
{
    struct buffer text = {0};
    for (size_t i = 0; i < entry->selectors.count; i++) {
        if (!text_list_has_sorted(without, entry->selectors.items[i])) {
            buffer_append_text(&text, text.size ? ", " : "");
            buffer_append_text(&text, entry->selectors.items[i]);
        }
    }
    buffer_append_u8(&text, 0);
    return (char *)text.data;
}

static void step_entry(struct api *api, struct rule_question *question, struct rule_steps *steps)
{
    struct entry_search search = {.question = question};
    const struct text_list none = {0};
    manager_each_entry(api->config.manager, consider_entry, &search);
    if (search.count == 0) {
        rule_steps_add(steps, "entry", false, "no entry gives this SPIFFE ID to anybody");
        return;
    }
    const struct text_list *without = search.matching > 0 ? &none : &question->selectors;
    _cleanup_(free_cleanup) char *selectors = join_selectors(search.nearest, without);
    if (search.matching == 0) {
        rule_steps_add(steps, "entry", false,
                       "none of %zu entries applies to pid %d; it comes nearest to %s, but lacks "
                       "%s",
                       search.count, question->process->pid, search.nearest->id, selectors);
        return;
    }
    rule_steps_add(steps, "entry", true, "entry %s%s gives it to processes with %s",
                   question->entry_id, search.matching > 1 ? " and others" : "", selectors);
}

/* lock */

static void step_lock(struct api *api, const struct rule_question *question,
                      struct rule_steps *steps)
{
    const struct lock *lock =
        locks_find(policy_locks(api->config.policy), question->spiffe_id, question->process);
    if (!lock) {
        rule_steps_add(steps, "lock", true, "no lock stops it");
        return;
    }
    rule_steps_add(steps, "lock", false, "lock %s of %s%s%s, by %s: %s", lock->id,
                   lock_kind_name(lock->kind), lock->what[0] ? " " : "", lock->what, lock->by,
                   lock->reason);
}

/* rule */

static void append_number(struct buffer *text, const char *name, uint64_t number, const char *unit)
{
    char item[96];
    if (number > 0) {
        (void)snprintf(item, sizeof(item), ", %s %" PRIu64 "%s", name, number, unit);
        buffer_append_text(text, item);
    }
}

/* What counts or is limited by rate, which a test does not touch. */
static char *limits_text(const struct rule *rule)
{
    struct buffer text = {0};
    append_number(&text, "sign_rate", rule->sign_rate, " a second");
    append_number(&text, "sign_burst", rule->sign_burst, "");
    append_number(&text, "max_uses", rule->max_uses, " of a process");
    append_number(&text, "svid_rate", rule->svid_rate, " a minute");
    append_number(&text, "jwt_rate", rule->jwt_rate, " a minute");
    append_number(&text, "jwt_max_ttl", rule->jwt_max_ttl_s, "s");
    buffer_append_u8(&text, 0);
    return (char *)text.data;
}

static void step_rule(struct api *api, struct rule_question *question, struct rule_steps *steps)
{
    const struct rules *rules = policy_rules(api->config.policy);
    const struct rule *rule = question->rule = rules_find(rules, question->spiffe_id);
    if (!rule) {
        rule_steps_add(steps, "rule", false,
                       "none of %zu rules matches, and what no rule matches is denied",
                       rules->count);
        return;
    }
    _cleanup_(free_cleanup) char *limits = limits_text(rule);
    rule_steps_add(steps, "rule", true, "%s \"%s\" says: key %s, %s%s",
                   rules->count > 0 ? "rule" : "there are no rules; the built-in one",
                   rule->pattern, key_protection_name(rule->protection),
                   key_type_name(rule->key_type), limits);
}

/* What else a rule asks for. */

static void step_hours(const struct rule_question *question, int64_t now_s,
                       struct rule_steps *steps)
{
    int64_t until_s = 0;
    const struct schedule *hours = question->rule ? question->rule->hours : NULL;
    if (hours) {
        bool allows = schedule_has(hours, now_s, &until_s);
        rule_steps_add(steps, "hours", allows, "%s the hours %s", allows ? "within" : "outside of",
                       schedule_text(hours));
    }
}

static void step_node(const struct rule_question *question, const struct policy_answer *identity,
                      struct rule_steps *steps)
{
    if (!identity->is_allowed && identity->decider == AUDIT_DECIDER_NODE) {
        rule_steps_add(steps, "node", false, "%s", identity->reason);
    } else if (question->rule && question->rule->requires_attested && identity->is_allowed) {
        rule_steps_add(steps, "node", true, "the node is attested");
    }
}

static void step_process(const struct rule_question *question, const struct policy_answer *holder,
                         struct rule_steps *steps)
{
    const struct rule *rule = question->rule;
    if (holder->is_allowed) {
        rule_steps_add(steps, "process", true,
                       "nothing speaks against the process, asking for the first time");
    } else if (holder->decider != AUDIT_DECIDER_LOCK) {
        rule_steps_add(steps, "process", false, "%s%s", holder->reason,
                       rule && rule->first_use_within_s > 0
                           ? " (judged as one that asks for the first time)"
                           : "");
    }
}

static bool is_audience_allowed(const struct rule *rule, const char *audience)
{
    bool is_allowed = rule->jwt_audiences.count == 0;
    for (size_t i = 0; i < rule->jwt_audiences.count; i++) {
        is_allowed = is_allowed || audience_matches(rule->jwt_audiences.items[i], audience);
    }
    return is_allowed;
}

static void step_audience(const struct rule_question *question, struct rule_steps *steps)
{
    if (!question->rule || question->audience.count == 0) {
        return;
    }
    for (size_t i = 0; i < question->audience.count; i++) {
        if (!is_audience_allowed(question->rule, question->audience.items[i])) {
            rule_steps_add(steps, "audience", false, "the rule's jwt_audiences do not have \"%s\"",
                           question->audience.items[i]);
            return;
        }
    }
    rule_steps_add(steps, "audience", true, "%s",
                   question->rule->jwt_audiences.count > 0
                       ? "the rule's jwt_audiences have all that are asked for"
                       : "the rule allows every audience");
}

static bool has_refusal(const struct rule_steps *steps)
{
    for (size_t i = 0; i < steps->count; i++) {
        if (!steps->items[i].allows) {
            return true;
        }
    }
    return false;
}

void rule_steps_decide(struct api *api, struct rule_question *question, struct rule_steps *steps)
{
    struct policy *policy = api->config.policy;
    struct policy_answer identity = {0};
    struct policy_answer holder = {.is_allowed = true};
    int64_t now_s = clock_now_s();
    step_entry(api, question, steps);
    step_lock(api, question, steps);
    step_rule(api, question, steps);
    step_hours(question, now_s, steps);
    policy_decide_identity(policy, question->spiffe_id, now_s, &identity);
    step_node(question, &identity, steps);
    if (question->process && identity.is_allowed) {
        const struct policy_holder asked = {.process = question->process};
        policy_decide_holder(policy, question->spiffe_id, &asked, now_s, &holder);
        step_process(question, &holder, steps);
    }
    step_audience(question, steps);
    /* What decides has the last word, also about what is not told apart above. */
    if (!identity.is_allowed && !has_refusal(steps)) {
        rule_steps_add(steps, "rule", false, "%s", identity.reason);
    } else if (!holder.is_allowed && !has_refusal(steps)) {
        rule_steps_add(steps, "process", false, "%s", holder.reason);
    }
}
