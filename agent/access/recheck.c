/* A process may become another one while it holds what it was given: it is looked at again. */
#include "agent/access/record.h"
#include "agent/access/state.h"
#include "lib/base/clock.h"
#include "lib/base/memory.h"

/* In one beat at most: a host with very many processes is looked at more slowly. */
enum { RECHECKS_AT_ONCE = 512 };

static void rechecked(void *user, const struct text_list *selectors, const struct error *failure)
{
    struct subject *subject = user;
    subject->is_rechecking = false;
    if (!subject->is_over && !TAILQ_EMPTY(&subject->watches)) {
        if (failure) {
            watches_end(subject, failure->text);
        } else if (!subject_is_same(subject)) {
            watches_end(subject, subject_changed);
        } else if (subject_set_selectors(subject, selectors)) {
            watches_follow_anew(subject);
        }
    }
    subject_unref(subject);
}

static void recheck(struct subject *subject, int64_t now_s)
{
    struct access *access = subject->access;
    subject->is_rechecking = true;
    subject->rechecked_s = now_s;
    access->status.rechecks++;
    attestor_attest(access->config.attestor, subject_ref(subject)->peer, rechecked, subject);
}

bool recheck_some(struct access *access, int64_t now_s)
{
    struct subject *due[RECHECKS_AT_ONCE];
    size_t count = 0;
    bool is_any = false;
    struct subject *subject;
    struct subject *next;
    if (access->config.recheck_interval_s == 0) {
        return false;
    }
    HASH_ITER (hh, access->subjects.by_process, subject, next) {
        int64_t age_s = now_s - subject->rechecked_s;
        bool is_due = age_s < 0 || age_s >= (int64_t)access->config.recheck_interval_s;
        is_any = is_any || !TAILQ_EMPTY(&subject->watches);
        if (is_due && !TAILQ_EMPTY(&subject->watches) && !subject->is_rechecking &&
            count < ARRAY_SIZE(due)) {
            due[count++] = subject_ref(subject);
        }
    }
    /* Afterwards: what is found out may end subjects. */
    for (size_t i = 0; i < count; i++) {
        recheck(due[i], now_s);
        subject_unref(due[i]);
    }
    return is_any;
}
