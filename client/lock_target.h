/* What `signet lock` and `signet unlock` are told to lock. */
#pragma once

#include "client/command.h"

struct lock_target {
    const char *kind; /* as in admin.proto; static */
    char *what;       /* owned */
};
/* Also for _cleanup_. */
void lock_target_clear(struct lock_target *target);

/* Exactly one of --spiffe-id, --pid, --executable and --node has to be given. */
int lock_target_choose(const struct arguments *arguments, struct lock_target *ret_target,
                       struct error *err);
/* "sha256:HEX" as it is, or that of the file of that path; the caller frees it. */
int lock_target_digest(const char *executable, char **ret_digest, struct error *err);
