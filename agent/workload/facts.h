/* What there is to know of a process for those who read about it later. Loop thread. */
#pragma once

#include "agent/workload/peer.h"

/* All zero knows nothing. */
struct process_facts {
    int64_t started_at_ms; /* wall clock since 1970; 0: unknown */
    bool is_program_known;
    struct file_identity program; /* for peer_runs */
    char *executable;             /* its path, as proc_program has it; NULL: unknown */
    char *unit;                   /* of systemd, as in cgroup.h; NULL: none known */
    char *container_id;           /* NULL: none known */
};

/* Reads what can be read, without waiting for anybody; what cannot stays unknown. -1: the process
 * has ended, and nothing is set. The process may start another program at any time: where it
 * matters that facts and selectors are of one program, ask for the facts first and for peer_runs
 * after the attestation. */
int peer_facts(const struct peer *peer, struct process_facts *ret_facts);
/* Frees what it holds. Also for _cleanup_. */
void process_facts_clear(struct process_facts *facts);
