/* What is to be done next with the authorities of one kind. Pure: looks at them and the time alone.
 *
 * The next authority is prepared, and so published, at half of the active one's life, and takes
 * over at two thirds: verifiers have a sixth of a life to hear of it, and what the old one signs is
 * cut short by its end only where an SVID is to live longer than a third of the CA's life. */
#pragma once

#include <stdbool.h>

#include "agent/issuer/authority.h"

enum step_kind { STEP_ACTIVATE, STEP_PREPARE, STEP_RETIRE, STEP_DESTROY, STEP_NONE };
enum { STEP_COUNT = STEP_NONE };

/* More than these in the bundle (a clock that jumps often, hardware that forgets) push the oldest
 * out. */
enum { SCHEDULE_PUBLISHED_MAX = 16 };
/* With this many keys whose making failed and that could not be destroyed yet, no other is tried.
 */
enum { SCHEDULE_LEFTOVERS_MAX = 8 };

struct step_choice {
    enum step_kind kind;
    struct authority *authority; /* NULL for STEP_PREPARE */
};

/* is_allowed: per kind of step; one whose last try failed may have to wait. Authorities are in the
 * order in which they were made. */
struct step_choice schedule_next(struct authority *const *authorities, size_t count, int64_t now_s,
                                 const bool is_allowed[STEP_COUNT]);
/* NULL: none is active. */
struct authority *schedule_active(struct authority *const *authorities, size_t count);
