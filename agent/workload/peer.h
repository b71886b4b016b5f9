/* Who is at the other end of a unix socket, by the word of the kernel alone. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "agent/workload/file_identity.h"
#include "lib/base/error.h"

struct ucred; /* sys/socket.h */

/* A process, pinned: its pid cannot come to mean another one unnoticed. Made on the loop thread;
 * then it does not change, and is reference counted: every thread. */
struct peer {
    atomic_uint references;
    pid_t pid;
    uid_t uid;
    gid_t gid;
    int pidfd;           /* owned */
    int proc;            /* descriptor of the process's own /proc folder, owned */
    uint64_t start_time; /* field 22 of /proc/PID/stat, clock ticks since boot */
};

/* The process that connected. SO_PEERPIDFD where the kernel has it (6.5); else SO_PEERCRED,
 * pidfd_open and a check that the process started before the connection was accepted and has the
 * credentials' uid. An ended process is NotFound. */
int peer_of_socket(int socket, struct peer **ret_peer, struct error *err);
/* The second of these ways by itself: the process that has the credentials' pid now, if it has
 * their uid and gid too and started no later than newest_start_time (ticks as in struct peer). */
int peer_of_credentials(const struct ucred *credentials, uint64_t newest_start_time,
                        struct peer **ret_peer, struct error *err);
/* The process that has the pid now, with its effective uid and gid; for questions about one that
 * has not connected. NotFound: there is none; InvalidArgument: a thread's. */
int peer_of_pid(pid_t pid, struct peer **ret_peer, struct error *err);
struct peer *peer_ref(struct peer *peer);
void peer_unref(struct peer *peer);
/* Whether it still runs. One system call: while the pidfd is not readable, the pid is its own. */
bool peer_is_alive(const struct peer *peer);
/* Whether it still runs, and that very program: another one that it starts ends this. program is of
 * proc_program or process_facts; only device and inode are compared, as a file that is run can be
 * neither changed nor removed for good. NULL, where it could not be told: whether it still runs.
 * One system call, which asks no file server. Whatever cannot be seen is a no: also a process whose
 * first thread has ended before others. */
bool peer_runs(const struct peer *peer, const struct file_identity *program);
