/* A streaming call that follows the identities of its caller: attests the caller, subscribes, and
 * sends what a service makes of each identity set. */
#pragma once

#include "agent/api/context.h"

struct watch_kind {
    const char *method; /* for the log */
    /* The message for a set of at least one identity; borrowed from the set or the api. before is
     * the set that was answered last, or NULL. PermissionDenied ends the stream. */
    int (*encode)(struct api *api, struct identity_set *set, struct identity_set *before,
                  struct rpc_message **ret_message, struct error *err);
    /* The message where identities exist but none could be issued for now; NULL or no message:
     * the stream ends with that failure unless it has sent something before. */
    struct rpc_message *(*encode_unissued)(struct api *api);
    /* For the log: whether the message speaks of this identity; NULL: of none. */
    bool (*has)(const struct svid_x509 *svid);
};

/* The handler of such a method. The peer of the call is a struct caller. */
void watch_start(struct api *api, struct rpc_call *call, const struct watch_kind *kind);
