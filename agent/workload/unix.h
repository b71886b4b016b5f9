/* The unix attestor: selectors out of a process's credentials and program, as SPIRE's has them.
 * What takes long to find out is put into an errand, to be run on another thread. Loop thread but
 * for unix_errand_run. */
#pragma once

#include "agent/selector.h"
#include "agent/workload/hash_cache.h"
#include "agent/workload/names.h"
#include "agent/workload/peer.h"
#include "agent/workload/proc.h"

struct unix_config {
    uint64_t sha256_limit_bytes; /* 0: no limit */
    size_t hash_cache_entries;
};

struct unix_attestor;

int unix_attestor_new(const struct unix_config *config, struct unix_attestor **ret_attestor,
                      struct error *err);
void unix_attestor_free(struct unix_attestor *attestor);
void unix_attestor_set_needs_sha256(struct unix_attestor *attestor, bool is_needed);

/* A process at one moment. All zero is empty. */
struct unix_snapshot {
    struct proc_credentials credentials;
    struct proc_program program;
};
/* Also for _cleanup_. */
void unix_snapshot_clear(struct unix_snapshot *snapshot);

/* Reads both, and that they belong together: no other program was started in between. Aborted: one
 * was. */
int unix_snapshot_read(const struct unix_attestor *attestor, int proc,
                       struct unix_snapshot *ret_snapshot, struct error *err);

/* What has to be asked elsewhere before the selectors are known. All zero is empty. */
struct unix_errand {
    struct name_question *questions;
    size_t question_count;
    struct digest_errand {
        bool is_needed;
        struct file_identity file;
        struct hash_answer answer; /* the newest, until unix_errand_clear */
        bool has_answer;
    } sha256, verity;
    uint64_t sha256_limit_bytes;
};
/* Frees what it holds. Also for _cleanup_. */
void unix_errand_clear(struct unix_errand *errand);

/* Returns true and adds all selectors, or returns false and says in the errand what is missing. */
bool unix_attestor_find(struct unix_attestor *attestor, const struct unix_snapshot *snapshot,
                        struct unix_errand *errand, struct text_list *ret_selectors);
/* Drops what has become known meanwhile; returns whether anything is left to be run. */
bool unix_attestor_prune(struct unix_attestor *attestor, struct unix_errand *errand);
/* On any thread; blocks. proc is the folder of the process. */
void unix_errand_run(struct unix_errand *errand, int proc);
/* Keeps the answers for unix_attestor_find. */
void unix_attestor_learn(struct unix_attestor *attestor, struct unix_errand *errand);
