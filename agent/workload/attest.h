/* A workload's selectors. Loop thread; hashing of executables happens on libuv's thread pool. */
#pragma once

#include <uv.h>

#include "agent/selector.h"
#include "agent/workload/peer.h"

struct attestor;

struct attestor_config {
    uint64_t sha256_limit_bytes; /* larger executables get no unix:sha256; 0: no limit */
    size_t hash_cache_entries;   /* 0 means 1024 */
};

int attestor_new(uv_loop_t *loop, const struct attestor_config *config,
                 struct attestor **ret_attestor, struct error *err);
/* No attestation may be under way. */
void attestor_free(struct attestor *attestor);
/* Whether any entry asks for unix:sha256; without one nothing is hashed. The manager says so when
 * entries change. */
void attestor_set_needs_sha256(struct attestor *attestor, bool is_needed);

/* Finds the selectors: unix:uid, user, gid, group, supplementary_gid, supplementary_group, path,
 * sha256, fsverity. done runs exactly once, before the return where nothing has to be waited for (a
 * digest, or a name that the name service has to be asked for). selectors is sorted and borrowed;
 * failure is set instead: Unavailable when the process ended or could not be read, PermissionDenied
 * when it acts as another user or group than when it connected. Checked again at the end that the
 * process still runs. There is no path where a name means nothing (proc.h), and whatever cannot be
 * told is left out, so that less is granted. */
void attestor_attest(struct attestor *attestor, struct peer *peer,
                     void (*done)(void *user, const struct text_list *selectors,
                                  const struct error *failure),
                     void *user);
