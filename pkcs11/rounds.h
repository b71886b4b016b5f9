/* Whose turn it is among many who want one again and again. Turns come in rounds: nobody has one of
 * the next round before all that wait had theirs of this one. Whoever wanted nothing for a while
 * still has the turns of the last ROUNDS_LEAD rounds and takes them at once: who asks now and then
 * does not wait behind a thousand who ask without end, and they have all that it leaves. Has no
 * lock of its own. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

enum {
    ROUNDS_LEAD = 8,
    /* Turns saved up that are taken in a row, before one of somebody with fewer of them: newcomers
     * without end starve nobody. */
    ROUNDS_RUN = 8,
};

/* Embed it; zero to begin with. */
struct rounds_turn {
    TAILQ_ENTRY(rounds_turn) link;
    uint64_t round; /* to which the next turn counts */
    bool is_waiting;
};

TAILQ_HEAD(rounds_list, rounds_turn);

/* Those that wait belong to a round from now - ROUNDS_LEAD to now + 1. */
struct rounds {
    struct rounds_list lists[ROUNDS_LEAD + 2]; /* by the remainder of the round */
    uint64_t now;                              /* the latest round that has begun */
    unsigned run;                              /* turns of earlier rounds in a row */
    unsigned patience; /* runs that were broken off: each time another round comes first */
    unsigned waiting;
};

void rounds_init(struct rounds *rounds);
/* Nothing happens to one that waits already. */
void rounds_add(struct rounds *rounds, struct rounds_turn *turn);
/* Without having had its turn; nothing happens to one that does not wait. */
void rounds_remove(struct rounds *rounds, struct rounds_turn *turn);
/* Takes out the one whose turn it is; NULL: none waits. */
struct rounds_turn *rounds_next(struct rounds *rounds);
