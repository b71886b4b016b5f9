/* The inside of the front door, shared by the files of this room. Loop thread only. */
#pragma once

#include "agent/access/access.h"
#include "agent/access/subject.h"
#include "agent/svid/svid.h"

struct access {
    struct access_config config;
    struct mailbox *mailbox; /* from gates, on the token's thread */
    uv_poll_t mailbox_poll;
    uv_timer_t beat; /* each second while there is something that time changes */
    unsigned open_handles;
    bool is_beating;
    int64_t beat_s; /* wall clock at the last beat */
    struct subjects subjects;
    struct access_watch_list watches;
    struct tally_list tallies; /* whose counts are gathered; those that are due come first */
    size_t tallies_listed, tallies_due;
    uv_timer_t gathering; /* while any is due */
    struct denial_list denials;
    struct crowd *crowds; /* by uid */
    bool has_lock_ended;
    LIST_HEAD(, issuance_record) unrecorded; /* issuances on their way to the disk */
    /* A record of one was not known to be on the disk when somebody stopped waiting for it. */
    bool has_doubtful_record;
    bool has_uncommitted; /* a watch was told that what it may have cannot be recorded */
    struct access_status status;
    /* While a change takes effect: what was lost by it. */
    struct access_effect *effect;
    void (*stopped)(void *user);
    void *stopped_user;
};

enum {
    ACCESS_BEAT_MS = 1000,
    ACCESS_IDLE_S = 10, /* how long a process is remembered that has nothing any more */
};

/* access.c: the beat starts, and goes on as long as anything needs it. */
void access_beat(struct access *access);

/* watch.c */

struct access_watch {
    struct access *access;
    struct account *account; /* only until it is attested */
    struct subject *subject;
    enum access_purpose purpose;
    const char *asked;
    bool (*wanted)(const struct svid_x509 *svid);
    void (*changed)(void *user, const struct access_offer *offer);
    void *user;
    struct subscription *subscription;
    struct identity_set *set;     /* that entries give; NULL: none told */
    struct identity_set *offered; /* of it, what was told last; NULL: none */
    struct question *questions;   /* to the outside policy, under way */
    size_t question_count, questions_open;
    struct refusal *refusal; /* of the first that was denied; NULL: none was */
    struct audit_wait commit;
    bool is_committing;
    struct token_guard *guard; /* of what was offered last */
    int64_t until_s;           /* the decision may change then */
    unsigned busy;             /* callbacks in progress or to come that use the watch */
    bool is_freed, is_over;
    struct access_watch_list *queue; /* of what happens to each in turn; NULL: in none */
    TAILQ_ENTRY(access_watch) link, of_subject, queued;
};

/* Queues: what happens to one watch may end any of them, and begin others. */
void watch_enqueue(struct access_watch *watch, struct access_watch_list *queue);
/* NULL: empty. */
struct access_watch *watch_dequeue(struct access_watch_list *queue);

/* Around whatever may call back: the watch lives as long, even if it is freed within. */
void watch_enter(struct access_watch *watch);
void watch_left(struct access_watch *watch);
/* The process has other selectors than before. */
void watches_follow_anew(struct subject *subject);
/* All watches of a process that is not who it was any more: that was seen alive as something else,
 * or that may as well have ended. */
void watches_end_changed(struct subject *subject, const char *reason);
void watches_end(struct subject *subject, const char *reason);

/* decide.c */

/* Decides about the set anew, and offers what may be had. */
void watch_decide(struct access_watch *watch);
/* Whatever is under way decides about something older. */
void watch_forget(struct access_watch *watch);
/* Nothing is there, for now, or (is_over) for good. decider: of what is lost by it. */
void watch_offer_failure(struct access_watch *watch, const struct error *failure, bool is_over,
                         enum audit_decider decider);
/* Nothing is issued, as something denies it: the records tell what. */
void watch_note_unissued(struct access_watch *watch, const struct error *failure);

static inline void watch_drop_set(struct identity_set **set)
{
    if (*set) {
        identity_set_unref(take_ptr(*set));
    }
}

/* gate.c: the guard of a process's token while it is offered this set, as it was decided now. */
struct token_guard *gate_new(const struct access_watch *watch, const struct identity_set *set);

/* recheck.c: looks at some of the processes again. Returns whether any is left to be looked at
 * later. */
bool recheck_some(struct access *access, int64_t now_s);
