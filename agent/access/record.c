#include "agent/access/record.h"

#include <openssl/evp.h>
#include <string.h>
#include <time.h>

#include "agent/access/state.h"
#include "lib/base/clock.h"
#include "lib/base/memory.h"

int64_t record_now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void count(struct access *access, const struct audit_event *event)
{
    struct usage *usage = access->config.usage;
    struct access_status *status = &access->status;
    uint64_t times = MAX(event->count, (uint64_t)1);
    int64_t now_s = clock_now_s();
    if (event->action == AUDIT_DENIED) {
        status->denied_by[event->decider] += times;
    } else if (event->action == AUDIT_IDENTIFIED) {
        status->identified += times;
    } else if (event->action == AUDIT_USED && !event->is_failure) {
        status->used += times;
    }
    if (!usage || !event->spiffe_id) {
        return;
    }
    if (event->action == AUDIT_DENIED) {
        usage_denied(usage, event->spiffe_id, times, now_s);
    } else if (event->action == AUDIT_IDENTIFIED) {
        usage_fetched(usage, event->spiffe_id, now_s);
    } else if (event->action == AUDIT_USED && !event->is_failure) {
        usage_used(usage, event->spiffe_id, times, now_s);
    } else if (event->action == AUDIT_ISSUED || event->action == AUDIT_RENEWED) {
        usage_issued(usage, event->spiffe_id, now_s);
    }
}

void record_event(struct access *access, const struct audit_event *event)
{
    if (access->config.audit) {
        audit_write(access->config.audit, event);
    }
    count(access, event);
}

/* The first of the certificates, which were made and checked by this agent. */
static struct bytes leaf_of(struct bytes chain)
{
    const unsigned char *at = chain.data;
    long size = 0;
    int tag = 0;
    int class = 0;
    if ((ASN1_get_object(&at, &size, &tag, &class, (long)chain.size) & 0x80) || size < 0) {
        return chain;
    }
    return (struct bytes){chain.data, (size_t)(at - chain.data) + (size_t)size};
}

void record_fingerprint(const struct svid_x509 *svid, char ret_hex[65])
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    struct bytes leaf = leaf_of(buffer_bytes(&svid->chain));
    ret_hex[0] = '\0';
    if (EVP_Digest(leaf.data, leaf.size, digest, NULL, EVP_sha256(), NULL) == 1) {
        _cleanup_(free_cleanup) char *hex = text_hex((struct bytes){digest, 32});
        (void)snprintf(ret_hex, 65, "%s", hex);
    }
}

struct outside_question subject_question(const struct subject *subject, const struct entry *entry,
                                         const char *action)
{
    const struct rules *rules = policy_rules(subject->access->config.policy);
    const struct rule *rule = rules_find(rules, entry->spiffe_id);
    return (struct outside_question){
        .action = action,
        .spiffe_id = entry->spiffe_id,
        .entry_id = entry->id,
        .rule = rule ? rule->pattern : NULL,
        .process = &subject->process,
    };
}

enum { DENIALS_MAX = 8 };

static bool is_same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static void write_denial(const struct denial *denial, uint64_t times, int64_t since_ms)
{
    const struct audit_event event = {
        .action = AUDIT_DENIED,
        .is_failure = true,
        .spiffe_id = denial->spiffe_id,
        .process = &denial->subject->process,
        .asked = denial->asked,
        .decider = denial->decider,
        .decider_id = denial->decider_id,
        .reason = denial->reason,
        .count = times,
        .first_ms = since_ms,
    };
    record_event(denial->subject->access, &event);
}

/* Returns whether there was anything. */
static bool flush(struct denial *denial)
{
    bool is_any = denial->count > 0;
    if (is_any) {
        write_denial(denial, denial->count, denial->since_ms);
        denial->count = 0;
    }
    denial->since_ms = record_now_ms();
    return is_any;
}

static void free_denial(struct denial *denial)
{
    denial->subject->denial_count--;
    LIST_REMOVE(denial, of_subject);
    TAILQ_REMOVE(&denial->subject->access->denials, denial, gather);
    free(denial->spiffe_id);
    free(denial->decider_id);
    free(denial->reason);
    free(denial);
}

void denials_forget(struct subject *subject)
{
    for (struct denial *denial; (denial = LIST_FIRST(&subject->denials)) != NULL;) {
        (void)flush(denial);
        free_denial(denial);
    }
}

/* One of many kinds is counted as another, so that a process cannot fill the log by asking for ever
 * different things. */
static struct denial *find_denial(const struct subject *subject, const char *spiffe_id,
                                  const char *asked, enum audit_decider decider)
{
    struct denial *denial;
    LIST_FOREACH (denial, &subject->denials, of_subject) {
        if ((denial->decider == decider && is_same_text(denial->spiffe_id, spiffe_id) &&
             strcmp(denial->asked, asked) == 0) ||
            (subject->denial_count >= DENIALS_MAX && !LIST_NEXT(denial, of_subject))) {
            return denial;
        }
    }
    return NULL;
}

void denial_note_many(struct subject *subject, const char *spiffe_id, const char *asked,
                      enum audit_decider decider, const char *decider_id, const char *reason,
                      uint64_t count)
{
    struct denial *denial = find_denial(subject, spiffe_id, asked, decider);
    if (denial) {
        denial->count += count;
        return;
    }
    bool is_nobody = decider == AUDIT_DECIDER_ENTRY && LIST_EMPTY(&subject->holdings);
    if (is_nobody && crowd_hides(subject->access, subject->key.uid, asked)) {
        return;
    }
    denial = NEW(struct denial);
    *denial = (struct denial){
        .subject = subject,
        .spiffe_id = memory_copy_text(spiffe_id),
        .decider_id = memory_copy_text(decider_id),
        .reason = memory_copy_text(reason),
        .asked = asked,
        .decider = decider,
        .since_ms = record_now_ms(),
    };
    subject->denial_count++;
    LIST_INSERT_HEAD(&subject->denials, denial, of_subject);
    TAILQ_INSERT_TAIL(&subject->access->denials, denial, gather);
    write_denial(denial, count, 0);
    access_beat(subject->access);
}

void denial_note(struct subject *subject, const char *spiffe_id, const char *asked,
                 enum audit_decider decider, const char *decider_id, const char *reason)
{
    denial_note_many(subject, spiffe_id, asked, decider, decider_id, reason, 1);
}

bool denials_gather(struct access *access)
{
    struct denial *next;
    for (struct denial *denial = TAILQ_FIRST(&access->denials); denial; denial = next) {
        next = TAILQ_NEXT(denial, gather);
        if (!flush(denial)) {
            free_denial(denial);
        }
    }
    return !TAILQ_EMPTY(&access->denials);
}
