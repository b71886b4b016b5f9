/* What entries, locks, rules say of an identity, one after the other, each with its reason. Loop
 * thread only. */
#pragma once

#include "agent/api/context.h"
#include "agent/audit/event.h"
#include "agent/policy/rule.h"
#include "agent/workload/facts.h"

enum { RULE_STEPS_MAX = 12 };

struct rule_step {
    const char *what; /* as in admin.proto; static */
    bool allows;
    char *text;
};
struct rule_steps {
    struct rule_step items[RULE_STEPS_MAX];
    size_t count;
};
void rule_steps_add(struct rule_steps *steps, const char *what, bool allows, const char *format,
                    ...) _printf_(4, 5);
void rule_steps_clear(struct rule_steps *steps);

struct rule_question {
    char *spiffe_id;
    struct text_list audience;
    const struct audit_process *process; /* NULL: of no process in particular */
    /* Found on the way; borrowed: */
    const struct rule *rule;
    const char *entry_id; /* of the first entry that applies */
    /* What process points to. */
    struct audit_process of_process;
    struct process_facts facts;
    struct text_list selectors;
    char *sha256;
};
/* selectors: by attestation, after the facts were read. */
void rule_question_set_process(struct rule_question *question, const struct peer *peer,
                               const struct text_list *selectors);
void rule_question_clear(struct rule_question *question);

/* All but the outside policy. */
void rule_steps_decide(struct api *api, struct rule_question *question, struct rule_steps *steps);
