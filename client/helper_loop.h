/* The helper's main loop. */
#pragma once

#include "client/helper_task.h"

struct helper_loop {
    const struct arguments *arguments;
    struct helper helper;
    char **command; /* words of COMMAND; NULL: none. Borrowed */
    bool is_once;
    uint64_t timeout_ms; /* with is_once */
    int signals;         /* a signalfd; -1: closed */
    bool is_ready, is_reread_wanted, is_over;
    int status; /* to exit with */
};

/* Blocks the signals that the loop handles. To be called before any thread starts. */
int helper_loop_prepare(struct helper_loop *loop, struct error *err);
/* Runs until there is nothing more to do; loop->status is then set. The secrets in files are gone,
 * except with is_once. */
int helper_loop_run(struct helper_loop *loop, struct error *err);

/* What the command line asks for, checked, folders too (helper.c). */
int helper_configure(const struct arguments *arguments, struct helper_config *ret_config,
                     struct error *err);
