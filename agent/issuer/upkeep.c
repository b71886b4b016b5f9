#include "agent/issuer/upkeep.h"

#include "agent/issuer/issued_table.h"
#include "lib/base/log.h"

enum {
    PRUNE_MS = 3600 * 1000,
    PRUNE_ROWS = 1000,           /* in one job, so that nobody waits long for the writer */
    KEPT_EXPIRED_S = 30 * 86400, /* rows of the inventory after their SVID expired */
};

static int run(struct store *store, struct store_job *job, struct error *err)
{
    /* A write in any case, so that the store is known to work again after trouble. */
    static const char touch[] = "UPDATE meta SET value = value WHERE name = 'bundle_sequence'";
    struct upkeep *upkeep = container_of(job, struct upkeep, record);
    TRY(store_execute(store, touch, NULL, 0, NULL, NULL, err));
    return upkeep->is_pruning ? issued_table_prune(store, upkeep->expired_before_s, PRUNE_ROWS,
                                                   &upkeep->deleted, err)
                              : 0;
}

static void on_done(struct mailbox_message *message)
{
    struct store_job *job = container_of(message, struct store_job, message);
    struct upkeep *upkeep = container_of(job, struct upkeep, record);
    upkeep->is_in_hand = false;
    if (job->is_failed) {
        log_warning("upkeep of the issuer's store failed: %s", job->failure.text);
    } else if (upkeep->is_pruning && upkeep->deleted == PRUNE_ROWS) {
        upkeep->next_prune_ms = 0; /* there is more */
    }
}

void upkeep_advance(struct upkeep *upkeep)
{
    struct error trouble;
    if (upkeep->is_in_hand) {
        return;
    }
    uint64_t now_ms = issuer_clock_monotonic_ms(upkeep->clock);
    upkeep->is_pruning = now_ms >= upkeep->next_prune_ms;
    if (!upkeep->is_pruning && !store_is_in_trouble(upkeep->store, &trouble)) {
        return;
    }
    if (upkeep->is_pruning) {
        upkeep->next_prune_ms = now_ms + PRUNE_MS;
    }
    upkeep->expired_before_s = issuer_clock_now_s(upkeep->clock) - KEPT_EXPIRED_S;
    upkeep->deleted = 0;
    upkeep->record.run = run;
    upkeep->record.mailbox = upkeep->mailbox;
    upkeep->record.message.deliver = on_done;
    upkeep->is_in_hand = true;
    store_submit(upkeep->store, &upkeep->record);
}
