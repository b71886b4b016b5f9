#include "agent/issuer/schedule.h"

#include "lib/base/memory.h"

static int64_t life_s(const struct authority *authority)
{
    return authority->expires_at_s - authority->not_before_s;
}

static int64_t prepare_at(const struct authority *authority)
{
    return authority->not_before_s + life_s(authority) / 2;
}

static int64_t hand_over_at(const struct authority *authority)
{
    return authority->not_before_s + life_s(authority) * 2 / 3;
}

struct authority *schedule_active(struct authority *const *authorities, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (authorities[i]->state == AUTHORITY_STATE_ACTIVE) {
            return authorities[i];
        }
    }
    return NULL;
}

/* A successor that was late still gets half of what is left to become known. */
static bool is_time_for(const struct authority *successor, const struct authority *active,
                        int64_t now_s)
{
    int64_t known_at = MIN(successor->not_before_s + life_s(active) / 6,
                           (successor->not_before_s + active->expires_at_s) / 2);
    return now_s >= MAX(hand_over_at(active), known_at);
}

/* Without an active one that can sign, an old one will do too, so that clocks that jump there and
 * back do not make a new authority each time. */
static struct authority *find_successor(struct authority *const *authorities, size_t count,
                                        const struct authority *active, int64_t now_s)
{
    bool is_needed_now = !active || !authority_is_usable(active, now_s);
    struct authority *best = NULL;
    for (size_t i = 0; i < count; i++) {
        struct authority *candidate = authorities[i];
        bool is_fit = candidate->state == AUTHORITY_STATE_PREPARED ||
                      (candidate->state == AUTHORITY_STATE_OLD && is_needed_now &&
                       now_s < hand_over_at(candidate));
        if (is_fit && authority_is_usable(candidate, now_s) &&
            (!best || candidate->expires_at_s > best->expires_at_s)) {
            best = candidate;
        }
    }
    return best && (is_needed_now || is_time_for(best, active, now_s)) ? best : NULL;
}

static bool is_prepare_due(struct authority *const *authorities, size_t count,
                           const struct authority *active, int64_t now_s)
{
    size_t leftovers = 0;
    for (size_t i = 0; i < count; i++) {
        leftovers += authorities[i]->state == AUTHORITY_STATE_PREPARING;
        if (authorities[i]->state == AUTHORITY_STATE_PREPARED &&
            authority_is_usable(authorities[i], now_s)) {
            return false;
        }
    }
    if (leftovers >= SCHEDULE_LEFTOVERS_MAX) {
        return false;
    }
    return !active || !authority_is_usable(active, now_s) || now_s >= prepare_at(active);
}

static struct authority *find_retiring(struct authority *const *authorities, size_t count,
                                       int64_t now_s)
{
    size_t published = 0;
    struct authority *oldest = NULL;
    for (size_t i = 0; i < count; i++) {
        struct authority *authority = authorities[i];
        published += authority_is_published(authority);
        if (authority->state == AUTHORITY_STATE_PREPARED) {
            /* Of no use any more (also where the clock was set back before its time), and nothing
             * was signed with it. */
            if (!authority_is_usable(authority, now_s)) {
                return authority;
            }
        } else if (authority->state == AUTHORITY_STATE_OLD) {
            if (authority->expires_at_s <= now_s) {
                return authority;
            }
            oldest = oldest ? oldest : authority;
        }
    }
    return published > SCHEDULE_PUBLISHED_MAX ? oldest : NULL;
}

static struct authority *find_destroyed(struct authority *const *authorities, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (authorities[i]->state == AUTHORITY_STATE_PREPARING ||
            authorities[i]->state == AUTHORITY_STATE_RETIRED) {
            return authorities[i];
        }
    }
    return NULL;
}

struct step_choice schedule_next(struct authority *const *authorities, size_t count, int64_t now_s,
                                 const bool is_allowed[STEP_COUNT])
{
    struct authority *active = schedule_active(authorities, count);
    struct authority *found;
    if (is_allowed[STEP_ACTIVATE] &&
        (found = find_successor(authorities, count, active, now_s)) != NULL) {
        return (struct step_choice){STEP_ACTIVATE, found};
    }
    if (is_allowed[STEP_PREPARE] && is_prepare_due(authorities, count, active, now_s)) {
        return (struct step_choice){STEP_PREPARE, NULL};
    }
    if (is_allowed[STEP_RETIRE] && (found = find_retiring(authorities, count, now_s)) != NULL) {
        return (struct step_choice){STEP_RETIRE, found};
    }
    if (is_allowed[STEP_DESTROY] && (found = find_destroyed(authorities, count)) != NULL) {
        return (struct step_choice){STEP_DESTROY, found};
    }
    return (struct step_choice){STEP_NONE, NULL};
}
