/* What /proc tells of a process, read through the descriptor of its own folder, so that a process
 * that took over its pid is never read by mistake: once a process is gone its folder gives ESRCH.
 * Reading: loop thread. Parsing: every thread. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "agent/workload/file_identity.h"

enum { PROC_GROUPS_MAX = 4096, PROC_STATUS_MAX_BYTES = 65536, PROC_PATH_MAX_BYTES = 4096 };

/* Who it acts as: effective user and group, supplementary groups as the kernel lists them. */
struct proc_credentials {
    uid_t uid;
    gid_t gid;
    gid_t *groups;
    size_t group_count;
};

/* Frees the groups. Also for _cleanup_. */
void proc_credentials_clear(struct proc_credentials *credentials);

/* The text of /proc/PID/status: its lines Uid, Gid and Groups, each exactly once. More than
 * PROC_GROUPS_MAX groups are ResourceExhausted. */
int proc_parse_status(struct bytes text, struct proc_credentials *ret_credentials,
                      struct error *err);
/* The text of /proc/PID/stat: field 22, clock ticks since boot. */
int proc_parse_start_time(struct bytes text, uint64_t *ret_ticks, struct error *err);

/* proc is the descriptor of /proc/PID. */
int proc_read_credentials(int proc, struct proc_credentials *ret_credentials, struct error *err);
/* The text for cgroup_parse; appended. */
int proc_read_cgroup(int proc, struct buffer *ret_text, struct error *err);
int proc_read_start_time(int proc, uint64_t *ret_ticks, struct error *err);

/* A namespace, by what stat says of its file below /proc/PID/ns. */
struct proc_namespace {
    dev_t device;
    ino_t inode;
};
/* The user namespace of this program. */
int proc_own_user_namespace(struct proc_namespace *ret_namespace, struct error *err);

/* The program that a process runs. All zero where it cannot be told: a kernel thread, a process
 * that is gone, or one that this agent may not look into. */
struct proc_program {
    bool is_known;
    struct file_identity file;
    /* The name of the file in the process's own mount namespace. Empty where a name means nothing:
     * the file was deleted or replaced since, or the process lives in another user namespace than
     * home, where anybody may mount anything at any name. */
    char path[PROC_PATH_MAX_BYTES];
};

void proc_read_program(int proc, const struct proc_namespace *home,
                       struct proc_program *ret_program);
/* Whether the process still runs that very file. */
bool proc_program_is_running(int proc, const struct proc_program *program);
