#include "agent/access/subject.h"

#include <string.h>

#include "agent/access/record.h"
#include "agent/access/state.h"
#include "agent/workload/facts.h"
#include "lib/base/clock.h"
#include "lib/base/memory.h"

const char subject_changed[] = "the process runs another program than when it connected";
const char subject_ended[] = "the process that connected has ended";

static void clear_process(struct audit_process *process)
{
    free((char *)process->executable);
    free((char *)process->sha256);
    free((char *)process->container_id);
    free((char *)process->unit);
    *process = (struct audit_process){0};
}

static void forget_known(struct subject *subject)
{
    struct subjects *subjects = &subject->access->subjects;
    if (subject->is_known) {
        subject->is_known = false;
        HASH_DEL(subjects->by_process, subject);
    }
}

static void free_subject(struct subject *subject)
{
    forget_known(subject);
    for (struct tally *tally; (tally = LIST_FIRST(&subject->tallies)) != NULL;) {
        LIST_REMOVE(tally, of_subject);
        tally->subject = NULL;
        tally_unref(tally);
    }
    for (struct holding *holding; (holding = LIST_FIRST(&subject->holdings)) != NULL;) {
        LIST_REMOVE(holding, link);
        holding_unref(holding);
    }
    clear_process(&subject->process);
    text_list_clear(&subject->selectors);
    denials_forget(subject);
    free(subject);
}

static void set_idle(struct subject *subject)
{
    struct subjects *subjects = &subject->access->subjects;
    if (subject->peer) { /* two descriptors */
        peer_unref(take_ptr(subject->peer));
    }
    subject->idle_since_s = clock_now_s();
    TAILQ_INSERT_TAIL(&subjects->idle, subject, idle);
    if (++subjects->idle_count > SUBJECTS_IDLE_MAX) {
        struct subject *oldest = TAILQ_FIRST(&subjects->idle);
        TAILQ_REMOVE(&subjects->idle, oldest, idle);
        subjects->idle_count--;
        free_subject(oldest);
    }
    access_beat(subject->access);
}

struct subject *subject_ref(struct subject *subject)
{
    subject->references++;
    return subject;
}

void subject_unref(struct subject *subject)
{
    if (--subject->references == 0) {
        set_idle(subject);
    }
}

bool subject_is_same(const struct subject *subject)
{
    return !subject->is_over &&
           peer_runs(subject->peer, subject->is_program_known ? &subject->program : NULL);
}

static void describe(struct subject *subject)
{
    struct process_facts facts = {0};
    struct audit_process *process = &subject->process;
    *process = (struct audit_process){
        .pid = subject->pid,
        .uid = subject->peer->uid,
        .gid = subject->peer->gid,
        .start_time = subject->start_time,
        .selectors = &subject->selectors,
    };
    if (peer_facts(subject->peer, &facts) == 0) {
        subject->is_program_known = facts.is_program_known;
        subject->program = facts.program;
        process->started_at_ms = facts.started_at_ms;
        process->executable = take_ptr(facts.executable);
        process->unit = take_ptr(facts.unit);
        process->container_id = take_ptr(facts.container_id);
    }
    process_facts_clear(&facts);
}

static struct subject_key key_of(const struct peer *peer)
{
    return (struct subject_key){(uint64_t)peer->pid, peer->start_time, peer->uid, peer->gid};
}

/* NOLINTNEXTLINE(readability-function-size): the size is that of uthash's macro. */
static void make_known(struct subject *subject)
{
    subject->is_known = true;
    HASH_ADD(hh, subject->access->subjects.by_process, key, sizeof(subject->key), subject);
}

static struct subject *new_subject(struct access *access, struct peer *peer)
{
    struct subject *subject = NEW(struct subject);
    subject->access = access;
    subject->references = 1;
    subject->key = key_of(peer);
    subject->pid = peer->pid;
    subject->start_time = peer->start_time;
    subject->peer = peer_ref(peer);
    LIST_INIT(&subject->holdings);
    LIST_INIT(&subject->tallies);
    LIST_INIT(&subject->denials);
    TAILQ_INIT(&subject->watches);
    describe(subject);
    subject->rechecked_s = clock_now_s();
    make_known(subject);
    return subject;
}

struct subject *subject_get(struct access *access, struct peer *peer)
{
    struct subject *subject = NULL;
    const struct subject_key key = key_of(peer);
    HASH_FIND(hh, access->subjects.by_process, &key, sizeof(key), subject);
    if (!subject) {
        return new_subject(access, peer);
    }
    if (subject->references == 0) {
        TAILQ_REMOVE(&access->subjects.idle, subject, idle);
        access->subjects.idle_count--;
    }
    subject->references++;
    if (!subject->peer) {
        subject->peer = peer_ref(peer);
    }
    if (subject_is_same(subject)) {
        return subject;
    }
    /* By now the process is another program: what it was has nothing to do with what it gets. */
    forget_known(subject);
    watches_end(subject, subject_changed);
    subject_unref(subject);
    return new_subject(access, peer);
}

bool subject_set_selectors(struct subject *subject, const struct text_list *selectors)
{
    static const char digest[] = "unix:sha256:";
    bool is_first = subject->selectors.count == 0;
    if (text_list_is_equal(&subject->selectors, selectors)) {
        return false;
    }
    text_list_clear(&subject->selectors);
    text_list_copy(&subject->selectors, selectors);
    free(take_ptr(*(char **)&subject->process.sha256));
    for (size_t i = 0; i < selectors->count; i++) {
        if (strncmp(selectors->items[i], digest, sizeof(digest) - 1) == 0) {
            subject->process.sha256 = memory_copy_text(selectors->items[i] + sizeof(digest) - 1);
        }
    }
    return !is_first;
}

/* Asked once in a while: it costs descriptors for a moment. */
static bool still_runs(struct subject *subject, int64_t now_s)
{
    enum { PAUSE_S = 60 };
    struct peer *peer = NULL;
    if (!subject->is_known || peer_of_pid(subject->pid, &peer, NULL) < 0) {
        return false;
    }
    bool is_it = peer->start_time == subject->start_time;
    peer_unref(peer);
    subject->idle_since_s = now_s + PAUSE_S - ACCESS_IDLE_S;
    return is_it;
}

/* A process that has limits that count over its life is remembered until it ends. */
static bool is_needed(struct subject *subject, int64_t now_s)
{
    const struct tally *tally;
    if (!LIST_EMPTY(&subject->denials)) {
        return true;
    }
    LIST_FOREACH (tally, &subject->tallies, of_subject) {
        if (tally->is_listed) {
            return true;
        }
    }
    if (now_s - subject->idle_since_s < ACCESS_IDLE_S) {
        return true;
    }
    const struct holding *holding;
    LIST_FOREACH (holding, &subject->holdings, link) {
        if (holding->has_limits) {
            return still_runs(subject, now_s);
        }
    }
    return false;
}

bool subjects_sweep(struct access *access, int64_t now_s)
{
    struct subjects *subjects = &access->subjects;
    struct subject *next;
    for (struct subject *subject = TAILQ_FIRST(&subjects->idle); subject; subject = next) {
        next = TAILQ_NEXT(subject, idle);
        if (!is_needed(subject, now_s)) {
            TAILQ_REMOVE(&subjects->idle, subject, idle);
            subjects->idle_count--;
            free_subject(subject);
        }
    }
    return subjects->idle_count > 0;
}

void subjects_clear(struct access *access)
{
    struct subjects *subjects = &access->subjects;
    for (struct subject *subject; (subject = TAILQ_FIRST(&subjects->idle)) != NULL;) {
        TAILQ_REMOVE(&subjects->idle, subject, idle);
        subjects->idle_count--;
        free_subject(subject);
    }
}

struct holding *subject_holding(struct subject *subject, const char *spiffe_id)
{
    struct holding *holding;
    LIST_FOREACH (holding, &subject->holdings, link) {
        if (strcmp(holding->spiffe_id, spiffe_id) == 0) {
            return holding;
        }
    }
    holding = NEW(struct holding);
    atomic_init(&holding->references, 1);
    atomic_init(&holding->uses, 0);
    holding->spiffe_id = memory_copy_text(spiffe_id);
    LIST_INSERT_HEAD(&subject->holdings, holding, link);
    return holding;
}

struct holding *holding_ref(struct holding *holding)
{
    atomic_fetch_add(&holding->references, 1);
    return holding;
}

void holding_unref(struct holding *holding)
{
    if (atomic_fetch_sub(&holding->references, 1) == 1) {
        free(holding->spiffe_id);
        free(holding->refusal);
        free(holding);
    }
}
