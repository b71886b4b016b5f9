/* Tells software that its files have changed: a signal, and a command of bounded time. */
#pragma once

#include "client/helper_config.h"

/* Of one output. All zero: nothing runs. */
struct helper_reload {
    pid_t pid; /* of the command that runs; 0: none */
    uint64_t deadline_ms;
    bool is_wanted; /* once more when it has ended */
    bool has_failed;
};

/* The files of output have changed. command: the pid of COMMAND, 0 where there is none. Failures
 * are logged, and it is tried again at the next change. */
void helper_reload_start(struct helper_reload *reload, const struct helper_output *output,
                         pid_t command);
/* The process that reload->pid names has ended with the status of waitpid. */
void helper_reload_ended(struct helper_reload *reload, const struct helper_output *output,
                         int status);
/* Kills a command that takes too long. Returns when to call it again; UINT64_MAX: never. */
uint64_t helper_reload_expire(struct helper_reload *reload, const struct helper_output *output,
                              uint64_t now_ms);

/* Sends the signal to the process that the first line of the file names. A pid file of another user
 * than root and this one names a process of that user only. */
int helper_reload_signal_pid_file(const char *path, int number, struct error *err);

/* Starts a program with the signals of a fresh process. is_own_group: it can be killed with all of
 * its children; else it is asked to end when the helper ends. */
int helper_reload_spawn(char *const *words, bool is_own_group, pid_t *ret_pid, struct error *err);
