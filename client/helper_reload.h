/* Tells software that its files have changed: a signal, and a command of bounded time. */
#pragma once

#include "client/helper_config.h"

/* Of one output. All zero: nothing runs. */
struct helper_reload {
    pid_t pid; /* of the command that runs; 0: none */
    uint64_t deadline_ms;
    bool is_wanted;                             /* once more when it has ended */
    bool has_signal_failed, has_command_failed; /* the software does not know of its files */
    uint64_t retry_at_ms, retry_delay_ms;       /* of what has failed; 0: nothing to try again */
};

/* The files of output have changed. command: the pid of COMMAND, 0 where there is none. What fails
 * is logged, and helper_reload_tick tries it again, each time later. */
void helper_reload_start(struct helper_reload *reload, const struct helper_output *output,
                         pid_t command);
/* The process that reload->pid names has ended with the status of waitpid. */
void helper_reload_ended(struct helper_reload *reload, const struct helper_output *output,
                         int status);
/* Kills a command that takes too long and tries again what has failed. command is as above. Returns
 * when to call it again; UINT64_MAX: never. */
uint64_t helper_reload_tick(struct helper_reload *reload, const struct helper_output *output,
                            pid_t command, uint64_t now_ms);
bool helper_reload_has_failed(const struct helper_reload *reload);
/* Whether there is nothing left to tell. */
bool helper_reload_is_done(const struct helper_reload *reload);

/* Sends the signal to the process that the first line of the file names. A pid file of another user
 * than root and this one names a process of that user only. */
int helper_reload_signal_pid_file(const char *path, int number, struct error *err);

/* Starts a program with the signals of a fresh process. is_own_group: it can be killed with all of
 * its children; else it is asked to end when the helper ends. */
int helper_reload_spawn(char *const *words, bool is_own_group, pid_t *ret_pid, struct error *err);
