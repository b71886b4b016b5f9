#include "agent/workload/attest.h"

#include "agent/workload/turns.h"
#include "agent/workload/unix.h"
#include "lib/base/memory.h"

enum { DEFAULT_HASH_CACHE_ENTRIES = 1024 };
/* How often a process may change under our eyes, or an answer run out, before we give up. */
enum { PASSES_MAX = 5 };

struct attestor {
    struct unix_attestor *unix_attestor;
    struct turns *turns;
};

struct attestation {
    struct attestor *attestor;
    struct peer *peer;
    void (*done)(void *user, const struct text_list *selectors, const struct error *failure);
    void *user;
    struct unix_errand errand;
    struct turn turn;
    unsigned passes;
};

int attestor_new(uv_loop_t *loop, const struct attestor_config *config,
                 struct attestor **ret_attestor, struct error *err)
{
    struct unix_attestor *unix_attestor = NULL;
    const struct unix_config unix_config = {
        .sha256_limit_bytes = config->sha256_limit_bytes,
        .hash_cache_entries =
            config->hash_cache_entries ? config->hash_cache_entries : DEFAULT_HASH_CACHE_ENTRIES,
    };
    TRY(unix_attestor_new(&unix_config, &unix_attestor, err));
    struct attestor *attestor = NEW(struct attestor);
    attestor->unix_attestor = unix_attestor;
    attestor->turns = turns_new(loop);
    *ret_attestor = attestor;
    return 0;
}

void attestor_free(struct attestor *attestor)
{
    turns_free(attestor->turns);
    unix_attestor_free(attestor->unix_attestor);
    free(attestor);
}

void attestor_set_needs_sha256(struct attestor *attestor, bool is_needed)
{
    unix_attestor_set_needs_sha256(attestor->unix_attestor, is_needed);
}

/* A program started with more rights (setuid) must not lend them to whoever holds the connection of
 * the process that started it. */
static int check_unchanged(const struct peer *peer, const struct proc_credentials *now,
                           struct error *err)
{
    if (now->uid != peer->uid || now->gid != peer->gid) {
        return error_set(err, ERROR_PERMISSION_DENIED,
                         "it connected as uid %u gid %u and acts as uid %u gid %u now; it has to "
                         "connect again",
                         peer->uid, peer->gid, now->uid, now->gid);
    }
    return 0;
}

enum outcome { OUTCOME_FOUND, OUTCOME_MISSING, OUTCOME_AGAIN, OUTCOME_FAILED };

/* One look at the process. */
static enum outcome look(struct attestation *attestation, struct text_list *ret_selectors,
                         struct error *err)
{
    struct peer *peer = attestation->peer;
    struct unix_attestor *unix_attestor = attestation->attestor->unix_attestor;
    _cleanup_(unix_snapshot_clear) struct unix_snapshot snapshot = {0};
    if (unix_snapshot_read(unix_attestor, peer->proc, &snapshot, err) < 0) {
        enum error_code code = err->code;
        err->code = ERROR_UNAVAILABLE;
        return code == ERROR_ABORTED ? OUTCOME_AGAIN : OUTCOME_FAILED;
    }
    if (check_unchanged(peer, &snapshot.credentials, err) < 0) {
        return OUTCOME_FAILED;
    }
    if (!unix_attestor_find(unix_attestor, &snapshot, &attestation->errand, ret_selectors)) {
        return OUTCOME_MISSING;
    }
    if (!peer_is_alive(peer)) {
        (void)error_set(err, ERROR_UNAVAILABLE, "it has ended");
        return OUTCOME_FAILED;
    }
    return OUTCOME_FOUND;
}

static void end(struct attestation *attestation, const struct text_list *selectors,
                struct error *failure)
{
    if (failure) {
        (void)error_prepend(failure, "attesting the process of pid %d", attestation->peer->pid);
    }
    attestation->done(attestation->user, selectors, failure);
    unix_errand_clear(&attestation->errand);
    peer_unref(attestation->peer);
    free(attestation);
}

static void advance(struct attestation *attestation)
{
    _cleanup_(text_list_clear) struct text_list selectors = {0};
    struct error err;
    enum outcome outcome = OUTCOME_AGAIN;
    (void)error_set(&err, ERROR_UNAVAILABLE, "what was found out about it kept changing");
    while (outcome == OUTCOME_AGAIN && attestation->passes++ < PASSES_MAX) {
        outcome = look(attestation, &selectors, &err);
    }
    switch (outcome) {
    case OUTCOME_FOUND:
        text_list_sort_unique(&selectors);
        end(attestation, &selectors, NULL);
        break;
    case OUTCOME_MISSING:
        turns_wait(attestation->attestor->turns, &attestation->turn);
        break;
    case OUTCOME_AGAIN:
    case OUTCOME_FAILED:
        end(attestation, NULL, &err);
        break;
    }
}

static bool is_errand_needed(struct turn *turn)
{
    struct attestation *attestation = container_of(turn, struct attestation, turn);
    return unix_attestor_prune(attestation->attestor->unix_attestor, &attestation->errand);
}

static void run_errand(struct turn *turn)
{
    struct attestation *attestation = container_of(turn, struct attestation, turn);
    unix_errand_run(&attestation->errand, attestation->peer->proc);
}

static void finish_errand(struct turn *turn)
{
    struct attestation *attestation = container_of(turn, struct attestation, turn);
    unix_attestor_learn(attestation->attestor->unix_attestor, &attestation->errand);
    advance(attestation);
}

void attestor_attest(struct attestor *attestor, struct peer *peer,
                     void (*done)(void *user, const struct text_list *selectors,
                                  const struct error *failure),
                     void *user)
{
    struct attestation *attestation = NEW(struct attestation);
    *attestation = (struct attestation){
        .attestor = attestor,
        .peer = peer_ref(peer),
        .done = done,
        .user = user,
        .turn = {.uid = peer->uid,
                 .is_needed = is_errand_needed,
                 .run = run_errand,
                 .done = finish_errand},
    };
    advance(attestation);
}
