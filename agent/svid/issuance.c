#include "agent/svid/issuance.h"

#include "lib/base/memory.h"

enum stage { STAGE_QUEUED, STAGE_KEY, STAGE_ISSUER };

struct issuance {
    struct issuances *issuances;
    struct plan plan;
    struct entry *entry;
    bool is_urgent;
    enum stage stage;
    const struct issuance_user *operations; /* NULL: abandoned */
    void *user;
    TAILQ_ENTRY(issuance) link; /* while queued */
    bool has_place, is_overdue;
    struct timer overdue;
    struct key_wait wait;
    struct key_material material;
    struct x509_request request;
};

static void set_pump(struct issuances *issuances)
{
    timer_set(issuances->timers, &issuances->pump, timer_heap_now_ms(issuances->timers));
}

static void take_place(struct issuance *issuance)
{
    if (!issuance->has_place) {
        issuance->has_place = true;
        issuance->issuances->place_counts[issuance->is_urgent]++;
    }
}

static void leave_place(struct issuance *issuance)
{
    if (issuance->has_place) {
        issuance->has_place = false;
        issuance->issuances->place_counts[issuance->is_urgent]--;
        set_pump(issuance->issuances);
    }
}

static void set_overdue(struct issuance *issuance)
{
    struct timer_heap *timers = issuance->issuances->timers;
    timer_set(timers, &issuance->overdue, timer_heap_now_ms(timers) + ISSUANCE_OVERDUE_MS);
}

static void on_overdue(struct timer *timer)
{
    struct issuance *issuance = container_of(timer, struct issuance, overdue);
    if (issuance->stage == STAGE_KEY) {
        leave_place(issuance);
    }
    if (!issuance->is_overdue && issuance->operations) {
        issuance->is_overdue = true;
        issuance->operations->overdue(issuance->user);
    }
}

static void free_issuance(struct issuance *issuance)
{
    timer_cancel(issuance->issuances->timers, &issuance->overdue);
    key_material_clear(&issuance->material);
    buffer_clear(&issuance->request.chain);
    free(issuance->request.serial);
    entry_unref(issuance->entry);
    free(issuance);
}

/* Frees the place, tells, and ends. */
static void finish(struct issuance *issuance, struct svid_x509 *svid, const struct error *failure)
{
    struct issuances *issuances = issuance->issuances;
    issuances->in_hand_counts[issuance->is_urgent]--;
    leave_place(issuance);
    if (issuance->operations) {
        issuance->operations->done(issuance->user, svid, failure);
    } else if (svid) {
        svid_x509_unref(svid);
    }
    free_issuance(issuance);
    issuances->ended(issuances->user);
}

static void on_issued(struct x509_request *request, const struct error *failure)
{
    struct issuance *issuance = container_of(request, struct issuance, request);
    struct svid_x509 *svid = NULL;
    if (!failure) {
        svid = svid_x509_new(issuance->entry, &issuance->plan,
                             timer_heap_now_s(issuance->issuances->timers), &issuance->material,
                             request);
    }
    finish(issuance, svid, failure);
}

static void on_key(struct key_wait *wait, struct key_material *material,
                   const struct error *failure)
{
    struct issuance *issuance = container_of(wait, struct issuance, wait);
    struct issuances *issuances = issuance->issuances;
    if (failure) {
        finish(issuance, NULL, failure);
        return;
    }
    bool is_delivered = issuance->plan.protection == KEY_PROTECTION_DELIVERED;
    struct error err;
    take_place(issuance);
    issuance->material = *material;
    *material = (struct key_material){0};
    if (issuance->operations->may_go_on(issuance->user, &err) < 0) {
        finish(issuance, NULL, &err);
        return;
    }
    issuance->stage = STAGE_ISSUER;
    issuance->request = (struct x509_request){
        .entry = issuance->entry,
        .public_key = key_material_public(issuance->material.key, &issuance->material.spki),
        .ttl_limit_s = is_delivered ? issuances->delivered_max_ttl_s : 0,
        .protection = key_protection_name(issuance->plan.protection),
        .is_urgent = issuance->is_urgent,
        .done = on_issued,
    };
    issuances->issuer->operations->x509_issue(issuances->issuer, &issuance->request);
}

static void begin_first(struct issuances *issuances, bool is_urgent)
{
    struct issuance *issuance = TAILQ_FIRST(&issuances->queues[is_urgent]);
    TAILQ_REMOVE(&issuances->queues[is_urgent], issuance, link);
    issuances->queued_counts[is_urgent]--;
    issuances->in_hand_counts[is_urgent]++;
    take_place(issuance);
    set_overdue(issuance);
    issuance->stage = STAGE_KEY;
    issuance->wait = (struct key_wait){.is_urgent = is_urgent, .done = on_key};
    key_shelf_take(issuance->plan.shelf, &issuance->wait);
}

static void pump(struct timer *timer)
{
    static const size_t limits[] = {ISSUANCES_BACKGROUND_MAX, ISSUANCES_URGENT_MAX};
    struct issuances *issuances = container_of(timer, struct issuances, pump);
    for (int is_urgent = 1; is_urgent >= 0; is_urgent--) {
        while (issuances->queued_counts[is_urgent] > 0 &&
               issuances->place_counts[is_urgent] < limits[is_urgent]) {
            begin_first(issuances, is_urgent);
        }
    }
}

void issuances_open(struct issuances *issuances, struct timer_heap *timers, struct issuer *issuer,
                    uint32_t delivered_max_ttl_s)
{
    *issuances = (struct issuances){
        .timers = timers,
        .issuer = issuer,
        .delivered_max_ttl_s = delivered_max_ttl_s,
        .pump.fire = pump,
    };
    TAILQ_INIT(&issuances->queues[false]);
    TAILQ_INIT(&issuances->queues[true]);
}

static void enqueue(struct issuance *issuance)
{
    struct issuances *issuances = issuance->issuances;
    TAILQ_INSERT_TAIL(&issuances->queues[issuance->is_urgent], issuance, link);
    issuances->queued_counts[issuance->is_urgent]++;
    set_pump(issuances);
}

static void dequeue(struct issuance *issuance)
{
    struct issuances *issuances = issuance->issuances;
    TAILQ_REMOVE(&issuances->queues[issuance->is_urgent], issuance, link);
    issuances->queued_counts[issuance->is_urgent]--;
}

struct issuance *issuance_start(struct issuances *issuances, struct entry *entry,
                                const struct plan *plan, bool is_urgent,
                                const struct issuance_user *operations, void *user)
{
    struct issuance *issuance = NEW(struct issuance);
    issuance->issuances = issuances;
    issuance->plan = *plan;
    issuance->entry = entry_ref(entry);
    issuance->is_urgent = is_urgent;
    issuance->operations = operations;
    issuance->user = user;
    issuance->overdue.fire = on_overdue;
    set_overdue(issuance);
    enqueue(issuance);
    return issuance;
}

bool issuance_is_overdue(const struct issuance *issuance)
{
    return issuance->is_overdue;
}

bool issuance_is_urgent(const struct issuance *issuance)
{
    return issuance->is_urgent;
}

bool issuance_hurry(struct issuance *issuance)
{
    struct issuances *issuances = issuance->issuances;
    if (issuance->stage == STAGE_ISSUER) {
        return false;
    }
    if (issuance->stage == STAGE_QUEUED) {
        dequeue(issuance);
        issuance->is_urgent = true;
        enqueue(issuance);
        return true;
    }
    leave_place(issuance);
    issuances->in_hand_counts[false]--;
    issuances->in_hand_counts[true]++;
    issuance->is_urgent = true;
    take_place(issuance);
    set_overdue(issuance);
    /* Last: it may come at once, and even end the issuance. */
    key_wait_hurry(&issuance->wait);
    return true;
}

void issuance_abandon(struct issuance *issuance)
{
    issuance->operations = NULL;
    if (issuance->stage == STAGE_QUEUED) {
        dequeue(issuance);
        free_issuance(issuance);
    } else if (issuance->stage == STAGE_KEY) {
        struct issuances *issuances = issuance->issuances;
        key_wait_cancel(&issuance->wait);
        issuances->in_hand_counts[issuance->is_urgent]--;
        leave_place(issuance);
        free_issuance(issuance);
    }
}

size_t issuances_count(const struct issuances *issuances)
{
    return issuances->queued_counts[false] + issuances->queued_counts[true] +
           issuances->in_hand_counts[false] + issuances->in_hand_counts[true];
}
