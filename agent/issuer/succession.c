#include "agent/issuer/succession.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "agent/issuer/authority_table.h"
#include "agent/issuer/step.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum {
    LOOK_MAX_MS = 60000, /* so soon a clock that was set is noticed */
    LOOK_MIN_MS = 50,
    LOOKS_IN_A_LIFE = 20,
    RETRY_FIRST_MS = 1000, /* or a look's time where that is shorter */
    RETRY_DOUBLINGS_MAX = 6,
};

struct retry {
    unsigned failures; /* in a row */
    uint64_t not_before_ms;
};

struct succession {
    struct succession_config config;
    struct step_tools tools;
    struct authority **authorities;
    size_t count;
    struct step *step; /* in hand, or NULL */
    struct retry retries[STEP_COUNT];
    uint64_t failures;
    bool is_stopping;
};

static void format_time(int64_t at_s, char text[32])
{
    time_t at = (time_t)at_s;
    struct tm utc;
    if (!gmtime_r(&at, &utc) || strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0) {
        (void)snprintf(text, 32, "%" PRId64, at_s);
    }
}

static void remove_authority(struct succession *succession, struct authority *authority)
{
    for (size_t i = 0; i < succession->count; i++) {
        if (succession->authorities[i] == authority) {
            memmove(&succession->authorities[i], &succession->authorities[i + 1],
                    (succession->count - i - 1) * sizeof(struct authority *));
            succession->count--;
            authority_unref(authority);
            return;
        }
    }
}

static void add_authority(struct succession *succession, struct authority *authority)
{
    succession->authorities = memory_resize_array(succession->authorities, succession->count + 1,
                                                  sizeof(struct authority *));
    succession->authorities[succession->count++] = authority;
}

/* Why a new one must sign at once, for the log. */
static void log_takeover(const struct step *step, int64_t now_s)
{
    const struct authority *authority = step->authority, *before = step->predecessor;
    const char *title = authority_kind_title(authority->kind);
    char until[32];
    format_time(authority->expires_at_s, until);
    if (before && now_s < before->not_before_s) {
        log_warning("the clock was set back to before the active %s was made; another one signs "
                    "from now on kid=%s",
                    title, authority->kid);
    } else if (before && now_s >= before->expires_at_s) {
        log_warning("the active %s had expired (agent stopped, or clock set forward); another one "
                    "signs from now on kid=%s",
                    title, authority->kid);
    } else if (before && !authority_is_usable(before, now_s)) {
        log_warning("the key of the active %s is not in the keystore any more; another one signs "
                    "from now on, what the lost one signed stays valid until it expires kid=%s",
                    title, authority->kid);
    }
    log_info("%s is active kid=%s until=%s", title, authority->kid, until);
}

static void apply_success(struct succession *succession, struct step *step)
{
    struct authority *authority = step->authority;
    const char *title = authority_kind_title(authority->kind);
    switch (step->kind) {
    case STEP_PREPARE:
        authority->state = AUTHORITY_STATE_PREPARED;
        log_info("%s is prepared and in the trust bundle kid=%s", title, authority->kid);
        break;
    case STEP_ACTIVATE:
        log_takeover(step, issuer_clock_now_s(succession->config.clock));
        if (step->predecessor) {
            step->predecessor->state = AUTHORITY_STATE_OLD;
        }
        authority->state = AUTHORITY_STATE_ACTIVE;
        break;
    case STEP_RETIRE:
        if (authority->state == AUTHORITY_STATE_OLD &&
            issuer_clock_now_s(succession->config.clock) < authority->expires_at_s) {
            log_warning("too many authorities: what this %s has signed is no longer believed "
                        "kid=%s",
                        title, authority->kid);
        }
        authority->state = AUTHORITY_STATE_RETIRED;
        log_info("%s is out of the trust bundle kid=%s", title, authority->kid);
        break;
    default:
        log_info("the key of a retired %s is destroyed kid=%s", title, authority->kid);
        remove_authority(succession, authority);
        break;
    }
}

/* How often the schedule is looked at. */
static uint64_t look_ms(const struct succession *succession)
{
    uint64_t part_ms = (uint64_t)succession->config.ttl_s * 1000 / LOOKS_IN_A_LIFE;
    return MAX(MIN(part_ms, (uint64_t)LOOK_MAX_MS), (uint64_t)LOOK_MIN_MS);
}

static uint64_t put_off(struct succession *succession, enum step_kind kind)
{
    struct retry *retry = &succession->retries[kind];
    uint64_t wait_ms = MIN((uint64_t)RETRY_FIRST_MS, look_ms(succession))
                       << MIN(retry->failures, (unsigned)RETRY_DOUBLINGS_MAX);
    retry->failures++;
    wait_ms += clock_random_below(wait_ms / 2);
    retry->not_before_ms = issuer_clock_monotonic_ms(succession->config.clock) + wait_ms;
    return wait_ms;
}

/* A key that gets lost soon after it was made must not be followed by the next in a tight loop: the
 * waiting time starts over only after a while without either. */
static void apply_patience(struct succession *succession, enum step_kind kind)
{
    struct retry *retry = &succession->retries[kind];
    uint64_t now_ms = issuer_clock_monotonic_ms(succession->config.clock);
    if (kind != STEP_PREPARE || now_ms > retry->not_before_ms + 4 * look_ms(succession)) {
        *retry = (struct retry){0};
    }
    if (kind == STEP_PREPARE) {
        (void)put_off(succession, kind);
    }
}

static void apply_failure(struct succession *succession, struct step *step)
{
    bool is_trouble = step->failure.code != ERROR_CANCELLED;
    succession->failures += is_trouble;
    uint64_t wait_ms = put_off(succession, step->kind);
    if (is_trouble) {
        log_error("%s a %s failed, next try in %" PRIu64 " ms failures=%" PRIu64 " code=%s: %s",
                  step_attempt(step->kind), authority_kind_title(step->authority->kind), wait_ms,
                  succession->failures, error_code_name(step->failure.code), step->failure.text);
    }
    bool is_unknown_to_store = step->kind == STEP_PREPARE && step->phase == 0;
    if (is_unknown_to_store || step->kind == STEP_DESTROY) {
        /* To the end of the list, so that one stubborn key does not keep the others alive. */
        struct authority *authority = authority_ref(step->authority);
        remove_authority(succession, authority);
        if (is_unknown_to_store) {
            authority_unref(authority);
        } else {
            add_authority(succession, authority);
        }
    }
}

static void finish(struct succession *succession)
{
    struct step *step = take_ptr(succession->step);
    if (step->is_failed) {
        apply_failure(succession, step);
    } else {
        apply_patience(succession, step->kind);
        apply_success(succession, step);
    }
    bool is_bundle_changed =
        !step->is_failed && (step->kind == STEP_PREPARE || step->kind == STEP_RETIRE);
    step_free(step);
    if (is_bundle_changed) {
        succession->config.published(succession->config.user);
    }
}

static void step_done(struct step *step)
{
    struct succession *succession = step->user;
    finish(succession);
    (void)succession_advance(succession);
}

/* NULL when nothing is due. */
static struct step *choose_step(struct succession *succession)
{
    const struct succession_config *config = &succession->config;
    int64_t now_s = issuer_clock_now_s(config->clock);
    uint64_t now_ms = issuer_clock_monotonic_ms(config->clock);
    bool is_allowed[STEP_COUNT];
    for (size_t i = 0; i < STEP_COUNT; i++) {
        is_allowed[i] = now_ms >= succession->retries[i].not_before_ms;
    }
    struct step_choice choice =
        schedule_next(succession->authorities, succession->count, now_s, is_allowed);
    if (choice.kind == STEP_NONE) {
        return NULL;
    }
    struct authority *authority = choice.authority;
    if (choice.kind == STEP_PREPARE) {
        struct error failure;
        if (authority_new(config->kind, config->key_type, keystore_name(config->keystore), now_s,
                          config->ttl_s, &authority, &failure) < 0) {
            log_error("%s", failure.text);
            return NULL;
        }
        add_authority(succession, authority);
    }
    struct authority *active = schedule_active(succession->authorities, succession->count);
    struct step *step = step_new(&succession->tools, choice.kind, authority,
                                 choice.kind == STEP_ACTIVATE ? active : NULL);
    bool is_waited_for = !succession_signer(succession, NULL);
    step->priority = is_waited_for ? KEYSTORE_PRIORITY_ISSUE : KEYSTORE_PRIORITY_BACKGROUND;
    step->done = step_done;
    step->user = succession;
    return step;
}

/* When the next look is due: soon after the first waiting time ends. */
static uint64_t next_look_ms(const struct succession *succession)
{
    uint64_t wait_ms = look_ms(succession);
    uint64_t now_ms = issuer_clock_monotonic_ms(succession->config.clock);
    for (size_t i = 0; i < STEP_COUNT; i++) {
        if (succession->retries[i].not_before_ms > now_ms) {
            wait_ms = MIN(wait_ms, succession->retries[i].not_before_ms - now_ms + 1);
        }
    }
    return wait_ms;
}

uint64_t succession_advance(struct succession *succession)
{
    if (!succession->step && !succession->is_stopping) {
        succession->step = choose_step(succession);
        if (succession->step) {
            step_start(succession->step);
        }
    }
    return next_look_ms(succession);
}

void succession_stop(struct succession *succession)
{
    succession->is_stopping = true;
    if (succession->step) {
        succession->step->is_cancelled = true;
    }
}

static int perform(struct succession *succession, struct step *step, struct error *err)
{
    succession->step = step;
    step_perform(step);
    int result = step->is_failed ? -1 : 0;
    if (step->is_failed) {
        *err = step->failure;
        (void)error_prepend(err, "%s a %s", step_attempt(step->kind),
                            authority_kind_title(succession->config.kind));
    }
    finish(succession);
    return result;
}

/* What a crash has left goes first; what cannot be destroyed now is tried again later. */
static void destroy_leftovers(struct succession *succession)
{
    const bool is_allowed[STEP_COUNT] = {[STEP_DESTROY] = true};
    struct step_choice choice;
    struct error ignored;
    int result = 0;
    while (
        result == 0 &&
        (choice = schedule_next(succession->authorities, succession->count, 0, is_allowed)).kind ==
            STEP_DESTROY) {
        struct step *step = step_new(&succession->tools, STEP_DESTROY, choice.authority, NULL);
        result = perform(succession, step, &ignored);
    }
}

static int activate_first(struct succession *succession, struct error *err)
{
    while (!succession_signer(succession, NULL)) {
        struct step *step = choose_step(succession);
        if (!step) {
            return error_set(err, ERROR_UNAVAILABLE, "making a %s is not possible now",
                             authority_kind_title(succession->config.kind));
        }
        TRY(perform(succession, step, err));
    }
    return 0;
}

/* A key that signs or is to sign next; where it is gone, the schedule finds another. */
static int open_key(struct succession *succession, struct authority *authority, struct error *err)
{
    struct error failure;
    bool is_wanted =
        authority->state == AUTHORITY_STATE_ACTIVE || authority->state == AUTHORITY_STATE_PREPARED;
    if (!is_wanted || authority_open(authority, succession->config.keystore, &failure) == 0) {
        return 0;
    }
    if (failure.code != ERROR_NOT_FOUND && failure.code != ERROR_DATA_LOSS) {
        *err = failure;
        return error_prepend(err, "opening the key of the %s %s",
                             authority_kind_title(authority->kind), authority->kid);
    }
    log_warning("the %s %s %s cannot sign here any more: %s; was data_dir copied from another "
                "host, or the hardware cleared or replaced?",
                authority_state_name(authority->state), authority_kind_title(authority->kind),
                authority->kid, failure.text);
    return 0;
}

static int load_authority(void *user, struct authority *authority, struct error *err)
{
    struct succession *succession = user;
    if (authority->kind != succession->config.kind) {
        authority_unref(authority);
        return 0;
    }
    add_authority(succession, authority);
    return open_key(succession, authority, err);
}

int succession_open(const struct succession_config *config, struct succession **ret_succession,
                    struct error *err)
{
    _cleanup_(succession_cleanup) struct succession *succession = NEW(struct succession);
    succession->config = *config;
    succession->tools = (struct step_tools){.keystore = config->keystore,
                                            .store = config->store,
                                            .mailbox = config->mailbox,
                                            .trust_domain = config->trust_domain};
    TRY(authority_table_each(config->store, load_authority, succession, err));
    destroy_leftovers(succession);
    TRY(activate_first(succession, err));
    *ret_succession = take_ptr(succession);
    return 0;
}

void succession_free(struct succession *succession)
{
    for (size_t i = 0; i < succession->count; i++) {
        authority_unref(succession->authorities[i]);
    }
    free(succession->authorities);
    free(succession);
}

bool succession_is_busy(const struct succession *succession)
{
    return succession->step != NULL;
}

struct authority *succession_signer(struct succession *succession, struct error *err)
{
    const struct succession_config *config = &succession->config;
    struct authority *active = schedule_active(succession->authorities, succession->count);
    if (active && authority_is_usable(active, issuer_clock_now_s(config->clock))) {
        return active;
    }
    (void)error_set(err, ERROR_UNAVAILABLE,
                    "no %s of the issuer can sign now; another is being made",
                    authority_kind_title(config->kind));
    return NULL;
}

struct authority *const *succession_authorities(const struct succession *succession,
                                                size_t *ret_count)
{
    *ret_count = succession->count;
    return succession->authorities;
}
