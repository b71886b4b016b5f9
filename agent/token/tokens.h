/* pkcs11.sock: finds out who connects, follows what identities that process has, and shows them as
 * the objects of its PKCS#11 token. The calls themselves are served by pkcs11/token/server.h. Loop
 * thread only. */
#pragma once

#include <uv.h>

#include "agent/access/access.h"
#include "pkcs11/token/server.h"

struct tokens;

/* Borrowed; all of it outlives the tokens. */
struct tokens_config {
    struct access *access;
    struct accounts *accounts; /* shared with the API: a uid has one limit of connections */
};

/* Begins to serve on a listening unix socket, which is taken. */
int tokens_new(uv_loop_t *loop, const struct tokens_config *config, int listener,
               struct tokens **ret_tokens, struct error *err);
/* Ends all connections, waits for work in hand, then calls stopped; the tokens are freed. */
void tokens_stop(struct tokens *tokens, void (*stopped)(void *user), void *user);
/* Ends serving all connections and tells of each, before tokens_stop; takes the descriptor. */
void tokens_save(struct tokens *tokens,
                 void (*each)(void *user, int descriptor, const struct peer *peer,
                              struct bytes state),
                 void *user);
/* Goes on with one that tokens_save of an earlier process told of. The descriptor is taken; closed
 * where its process, known by pid and start time, is gone. */
void tokens_restore(struct tokens *tokens, int descriptor, pid_t pid, uint64_t start_time,
                    struct bytes state);
void tokens_counters(struct tokens *tokens, struct token_counters *ret_counters);
