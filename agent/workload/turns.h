/* Work on libuv's thread pool in turns, so that no user of the host can keep others waiting: at
 * most one piece of each uid runs at a time, and not so many in all that the pool is used up. Loop
 * thread. */
#pragma once

#include <stdbool.h>
#include <sys/queue.h>
#include <sys/types.h>
#include <uv.h>

struct turns;

/* Embed it; it belongs to turns from turns_wait until done is called. */
struct turn {
    uid_t uid; /* for whom */
    /* On the loop, when the turn has come: whether there is still something to run. Others of the
     * same uid may have done it meanwhile. */
    bool (*is_needed)(struct turn *turn);
    void (*run)(struct turn *turn);  /* on a thread of the pool */
    void (*done)(struct turn *turn); /* on the loop, whether it was needed or not */
    struct turns *turns;             /* the rest is of turns.c */
    uv_work_t work;
    TAILQ_ENTRY(turn) link;
};

struct turns *turns_new(uv_loop_t *loop);
/* None may be waiting or running. */
void turns_free(struct turns *turns);
/* Never calls back before it returns, unless the turn comes at once and nothing is needed. */
void turns_wait(struct turns *turns, struct turn *turn);
