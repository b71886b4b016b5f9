#include "agent/access/tally.h"

#include <string.h>

#include "agent/access/record.h"
#include "agent/access/state.h"
#include "lib/base/clock.h"
#include "lib/base/memory.h"

/* What the records say of each kind. */
static const struct {
    enum audit_action action;
    enum audit_decider decider;
    const char *asked, *reason;
} kinds[TALLY_KINDS] = {
    [TALLY_FETCHED] = {AUDIT_IDENTIFIED, AUDIT_DECIDER_ENTRY, NULL, NULL},
    [TALLY_USED] = {AUDIT_USED, AUDIT_DECIDER_ENTRY, "sign", NULL},
    [TALLY_FAILED] = {AUDIT_USED, AUDIT_DECIDER_ENTRY, "sign",
                      "allowed, but no signature came of it: the keystore failed or the key was "
                      "withdrawn meanwhile"},
    [TALLY_DENIED_NODE] = {AUDIT_DENIED, AUDIT_DECIDER_NODE, "sign",
                           "the audit log cannot be written"},
    [TALLY_DENIED_PROGRAM] = {AUDIT_DENIED, AUDIT_DECIDER_PROCESS, "sign", subject_changed},
    [TALLY_DENIED_ENDED] = {AUDIT_DENIED, AUDIT_DECIDER_PROCESS, "sign", subject_ended},
    [TALLY_DENIED_TIME] = {AUDIT_DENIED, AUDIT_DECIDER_RULE, "sign",
                           "the time during which it may be used is over"},
    [TALLY_DENIED_USES] = {AUDIT_DENIED, AUDIT_DECIDER_RULE, "sign",
                           "the process has used up max_uses"},
    [TALLY_DENIED_RATE] = {AUDIT_DENIED, AUDIT_DECIDER_RULE, "sign",
                           "more signatures than sign_rate allows"},
    [TALLY_DENIED_OUTSIDE] = {AUDIT_DENIED, AUDIT_DECIDER_OUTSIDE, "sign",
                              "the outside policy does not allow it"},
};

struct tally *tally_ref(struct tally *tally)
{
    atomic_fetch_add(&tally->references, 1);
    return tally;
}

void tally_unref(struct tally *tally)
{
    if (atomic_fetch_sub(&tally->references, 1) == 1) {
        holding_unref(tally->holding);
        free(tally->serial);
        free(tally->entry_id);
        free(tally->rule);
        free(tally);
    }
}

void tally_set_rule(struct tally *tally, const char *pattern)
{
    if (!tally->rule || !pattern || strcmp(tally->rule, pattern) != 0) {
        free(tally->rule);
        tally->rule = memory_copy_text(pattern);
    }
}

static const char *decider_id_of(const struct tally *tally, enum audit_decider decider)
{
    return decider == AUDIT_DECIDER_ENTRY  ? tally->entry_id
           : decider == AUDIT_DECIDER_RULE ? tally->rule
                                           : NULL;
}

/* since_ms: when the first of them was. */
static void record_kind(const struct tally *tally, enum tally_kind kind, uint64_t count,
                        int64_t since_ms)
{
    const struct audit_credential credential = {
        .kind = "x509-svid",
        .serial = tally->serial,
        .fingerprint = tally->fingerprint,
        .key_id = tally->key_id,
        .protection = key_protection_name(tally->protection),
        .expires_at_s = tally->expires_at_s,
    };
    const struct audit_event event = {
        .action = kinds[kind].action,
        .is_failure = kind != TALLY_FETCHED && kind != TALLY_USED,
        .spiffe_id = tally->holding->spiffe_id,
        .process = tally->subject ? &tally->subject->process : NULL,
        .asked = kinds[kind].asked ? kinds[kind].asked : tally->asked,
        .decider = kinds[kind].decider,
        .decider_id = decider_id_of(tally, kinds[kind].decider),
        .reason = kinds[kind].reason,
        .credential = &credential,
        .count = count,
        .first_ms = count > 1 ? since_ms : 0,
    };
    record_event(tally->access, &event);
}

/* The process is another program, or gone: not only this key of it is concerned. By now it may have
 * ended, or be what it was again, so what was seen when it asked counts. */
static void look_at_process(struct tally *tally)
{
    struct subject *subject = tally->subject;
    if (!subject || !subject->peer) {
        return;
    }
    if (atomic_load(&tally->counts[TALLY_DENIED_PROGRAM]) > 0) {
        watches_end_changed(subject, subject_changed);
    } else if (atomic_load(&tally->counts[TALLY_DENIED_ENDED]) > 0) {
        watches_end(subject, subject_ended);
    }
}

static void list(struct tally *tally)
{
    if (!tally->is_listed) {
        tally->is_listed = true;
        (void)tally_ref(tally);
        TAILQ_INSERT_TAIL(&tally->access->tallies, tally, gather);
        tally->access->tallies_listed++;
        access_beat(tally->access);
    }
}

/* What is the first of its kind for a while. */
static void record_first(struct tally *tally)
{
    for (unsigned kind = 0; kind < TALLY_KINDS; kind++) {
        unsigned bit = 1U << kind;
        bool is_first = !(atomic_load(&tally->gathered) & bit);
        unsigned count = is_first ? atomic_exchange(&tally->counts[kind], 0) : 0;
        if (count > 0) {
            (void)atomic_fetch_or(&tally->gathered, bit);
            list(tally);
            record_kind(tally, (enum tally_kind)kind, count, record_now_ms());
        }
    }
}

static void deliver(struct mailbox_message *message)
{
    struct tally *tally = container_of(message, struct tally, message);
    atomic_store(&tally->is_in_mail, false);
    look_at_process(tally);
    record_first(tally);
    tally_unref(tally);
}

static void post(struct tally *tally)
{
    if (!atomic_exchange(&tally->is_in_mail, true)) {
        mailbox_post(tally->access->mailbox, &tally_ref(tally)->message);
    }
}

void tally_count(struct tally *tally, enum tally_kind kind)
{
    (void)atomic_fetch_add(&tally->counts[kind], 1);
    if (!(atomic_load(&tally->gathered) & (1U << kind))) {
        post(tally);
    }
}

void tally_fetched(struct tally *tally, const char *asked)
{
    tally->asked = asked;
    (void)atomic_fetch_add(&tally->counts[TALLY_FETCHED], 1);
    record_first(tally);
}

/* Returns whether any kind is still gathered. */
static bool gather(struct tally *tally)
{
    unsigned bits = atomic_load(&tally->gathered);
    for (unsigned kind = 0; kind < TALLY_KINDS; kind++) {
        unsigned bit = 1U << kind;
        unsigned count = bits & bit ? atomic_exchange(&tally->counts[kind], 0) : 0;
        if (count > 0) {
            record_kind(tally, (enum tally_kind)kind, count, tally->gathered_since_ms);
        } else if (bits & bit) {
            (void)atomic_fetch_and(&tally->gathered, ~bit);
            if (atomic_load(&tally->counts[kind]) > 0) { /* between the two */
                post(tally);
            }
        }
    }
    tally->gathered_since_ms = record_now_ms();
    return atomic_load(&tally->gathered) != 0;
}

static void gather_first(struct access *access)
{
    struct tally *tally = TAILQ_FIRST(&access->tallies);
    TAILQ_REMOVE(&access->tallies, tally, gather);
    if (gather(tally)) {
        TAILQ_INSERT_TAIL(&access->tallies, tally, gather);
    } else {
        tally->is_listed = false;
        access->tallies_listed--;
        tally_unref(tally);
    }
}

bool tallies_gather(struct access *access)
{
    for (int i = 0; i < TALLIES_AT_ONCE && access->tallies_due > 0; i++) {
        access->tallies_due--;
        gather_first(access);
    }
    return access->tallies_due > 0;
}

void tallies_gather_all(struct access *access)
{
    while (access->tallies_listed > 0) {
        gather_first(access);
    }
    access->tallies_due = 0;
}

static void describe(struct tally *tally, const struct svid_x509 *svid)
{
    _cleanup_(free_cleanup) char *key_id = text_hex((struct bytes){svid->key_id, KEY_ID_BYTES});
    (void)snprintf(tally->key_id, sizeof(tally->key_id), "%s", key_id);
    record_fingerprint(svid, tally->fingerprint);
    tally->serial = memory_copy_text(svid->serial);
    tally->entry_id = memory_copy_text(svid->entry->id);
    tally->protection = svid->protection;
    tally->expires_at_s = svid->expires_at_s;
}

/* A process that lives for months has had many keys. */
static void drop_expired(struct subject *subject)
{
    struct tally *next;
    for (struct tally *tally = LIST_FIRST(&subject->tallies); tally; tally = next) {
        next = LIST_NEXT(tally, of_subject);
        if (tally->expires_at_s < clock_now_s() && atomic_load(&tally->references) == 1) {
            LIST_REMOVE(tally, of_subject);
            tally_unref(tally);
        }
    }
}

struct tally *tally_get(struct subject *subject, const struct svid_x509 *svid)
{
    uint64_t tag = access_tag(svid);
    struct tally *tally;
    LIST_FOREACH (tally, &subject->tallies, of_subject) {
        if (tally->tag == tag) {
            return tally;
        }
    }
    drop_expired(subject);
    tally = NEW(struct tally);
    atomic_init(&tally->references, 1);
    tally->message.deliver = deliver;
    tally->access = subject->access;
    tally->subject = subject;
    tally->holding = holding_ref(subject_holding(subject, svid->entry->spiffe_id));
    tally->tag = tag;
    tally->handle = token_private_key_handle(svid->key_id);
    tally->gathered_since_ms = record_now_ms();
    describe(tally, svid);
    LIST_INSERT_HEAD(&subject->tallies, tally, of_subject);
    return tally;
}
