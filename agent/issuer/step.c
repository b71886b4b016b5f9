#include "agent/issuer/step.h"

#include <string.h>

#include "agent/issuer/authority_table.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum { PHASES_MAX = 3 };

static int record_preparing(struct store *store, struct store_job *job, struct error *err)
{
    struct step *step = container_of(job, struct step, record);
    return authority_table_insert(store, step->authority, err);
}

static int record_prepared(struct store *store, struct store_job *job, struct error *err)
{
    struct step *step = container_of(job, struct step, record);
    TRY(authority_table_set_made(store, step->authority, err));
    return authority_table_next_sequence(store, err);
}

static int record_active(struct store *store, struct store_job *job, struct error *err)
{
    struct step *step = container_of(job, struct step, record);
    if (step->predecessor) {
        TRY(authority_table_set_state(store, step->predecessor, AUTHORITY_STATE_OLD, err));
    }
    return authority_table_set_state(store, step->authority, AUTHORITY_STATE_ACTIVE, err);
}

static int record_retired(struct store *store, struct store_job *job, struct error *err)
{
    struct step *step = container_of(job, struct step, record);
    TRY(authority_table_set_state(store, step->authority, AUTHORITY_STATE_RETIRED, err));
    return authority_table_next_sequence(store, err);
}

static int record_destroyed(struct store *store, struct store_job *job, struct error *err)
{
    struct step *step = container_of(job, struct step, record);
    return authority_table_delete(store, step->authority, err);
}

static int work_make(struct step *step, struct error *err)
{
    return authority_make(step->authority, step->tools->keystore, step->tools->trust_domain, err);
}

static int work_destroy(struct step *step, struct error *err)
{
    const struct authority *authority = step->authority;
    if (strcmp(authority->keystore, keystore_name(step->tools->keystore)) != 0) {
        log_warning("the key of a retired %s stays in keystore \"%s\", which the issuer no longer "
                    "uses kid=%s",
                    authority_kind_title(authority->kind), authority->keystore, authority->kid);
        return 0;
    }
    return keystore_destroy_id(step->tools->keystore, authority->id, err);
}

struct phase {
    int (*record)(struct store *store, struct store_job *job, struct error *err);
    int (*work)(struct step *step, struct error *err);
};

/* What is going to be in the hardware is in the store before, and leaves it after. */
static const struct {
    const char *attempt;
    struct phase phases[PHASES_MAX];
} plans[STEP_COUNT] = {
    [STEP_ACTIVATE] = {"activating", {{.record = record_active}}},
    [STEP_PREPARE] = {"preparing",
                      {{.record = record_preparing},
                       {.work = work_make},
                       {.record = record_prepared}}},
    [STEP_RETIRE] = {"retiring", {{.record = record_retired}}},
    [STEP_DESTROY] = {"destroying the key of",
                      {{.work = work_destroy}, {.record = record_destroyed}}},
};

const char *step_attempt(enum step_kind kind)
{
    return plans[kind].attempt;
}

struct step *step_new(const struct step_tools *tools, enum step_kind kind,
                      struct authority *authority, struct authority *predecessor)
{
    struct step *step = NEW(struct step);
    step->tools = tools;
    step->kind = kind;
    step->authority = authority_ref(authority);
    step->predecessor = predecessor ? authority_ref(predecessor) : NULL;
    return step;
}

void step_free(struct step *step)
{
    authority_unref(step->authority);
    authority_unref(step->predecessor);
    free(step);
}

/* NULL past the last one. */
static const struct phase *phase_of(const struct step *step)
{
    const struct phase *phase =
        step->phase < PHASES_MAX ? &plans[step->kind].phases[step->phase] : NULL;
    return phase && (phase->record || phase->work) ? phase : NULL;
}

static void end_phase(struct step *step)
{
    if (!step->is_failed) {
        step->phase++;
    }
    if (step->is_failed || !phase_of(step)) {
        step->done(step);
    } else {
        step_start(step);
    }
}

static void work_run(struct keystore_job *job)
{
    struct step *step = container_of(job, struct step, work);
    step->is_failed = phase_of(step)->work(step, &step->failure) < 0;
}

static void work_delivered(struct mailbox_message *message)
{
    struct keystore_job *job = container_of(message, struct keystore_job, message);
    end_phase(container_of(job, struct step, work));
}

static void record_delivered(struct mailbox_message *message)
{
    struct store_job *job = container_of(message, struct store_job, message);
    struct step *step = container_of(job, struct step, record);
    step->is_failed = job->is_failed;
    step->failure = job->failure;
    end_phase(step);
}

void step_start(struct step *step)
{
    const struct phase *phase = phase_of(step);
    if (phase->record) {
        step->record.run = phase->record;
        step->record.mailbox = step->tools->mailbox;
        step->record.message.deliver = record_delivered;
        store_submit(step->tools->store, &step->record);
        return;
    }
    step->work.run = work_run;
    step->work.mailbox = step->tools->mailbox;
    step->work.message.deliver = work_delivered;
    step->work.priority = step->priority;
    /* Until it has run: a keystore that ends hands jobs back without running them. */
    step->is_failed = true;
    (void)error_set(&step->failure, ERROR_CANCELLED, "the agent is stopping");
    if (step->is_cancelled ||
        keystore_submit(step->tools->keystore, &step->work, &step->failure) < 0) {
        mailbox_post(step->tools->mailbox, &step->work.message);
    }
}

void step_perform(struct step *step)
{
    const struct phase *phase;
    while (!step->is_failed && (phase = phase_of(step)) != NULL) {
        step->record.run = phase->record;
        step->is_failed = phase->record
                              ? store_run_now(step->tools->store, &step->record, &step->failure) < 0
                              : phase->work(step, &step->failure) < 0;
        if (!step->is_failed) {
            step->phase++;
        }
    }
}
