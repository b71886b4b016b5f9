/* What the proxy does instead of its duty, and when: a list of rules, of which the first that
 * applies counts. Guarded by the caller's lock. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/error.h"

enum fault_kind {
    FAULT_NONE,
    FAULT_DELAY,  /* wait, then pass the command on */
    FAULT_DROP,   /* hang up; the TPM never sees the command */
    FAULT_LOSE,   /* pass the command on, and hang up instead of the answer */
    FAULT_HANG,   /* no answer for as long as the rule is there */
    FAULT_ANSWER, /* a response code; the TPM never sees the command */
};

struct fault {
    enum fault_kind kind;
    uint32_t value;   /* milliseconds of a delay, the code of an answer */
    uint32_t command; /* the command code that it is for; 0: any */
    unsigned each;    /* of those commands, each how many-th; 0: every one */
    unsigned seen;    /* so many passed */
    bool is_limited;
    unsigned left;   /* times that it still applies, if limited */
    uint64_t number; /* its own, so that a hang knows when its rule is gone */
};

enum { FAULTS_MAX = 16, FAULT_WORDS_MAX = 8 };

struct fault_list {
    struct fault faults[FAULTS_MAX];
    size_t count;
    uint64_t last_number;
};

/* Adds the fault that the words describe: KIND [VALUE] [on COMMAND] [next N | each N]. */
int fault_add(struct fault_list *list, char *const words[], size_t count, struct error *err);

/* What applies to a command now; it is counted. FAULT_NONE where nothing does. */
struct fault fault_take(struct fault_list *list, uint32_t command);

/* Whether the rule is still there. */
bool fault_is_there(const struct fault_list *list, uint64_t number);

void fault_clear(struct fault_list *list);
