/* The trust bundle as the Workload API sends it: the same bytes for every caller, so encoded once
 * for all. */
#pragma once

#include "agent/issuer/bundle.h"
#include "lib/rpc/server.h"

/* Kept as long as what it says is the same, so equal pointers mean equal answers. All zero is
 * empty. */
struct bundle_messages {
    struct bundle *bundle;
    struct rpc_message *x509, *jwt;
};

/* X509BundlesResponse and JWTBundlesResponse for the bundle; borrowed until the next call. */
struct rpc_message *bundle_messages_x509(struct bundle_messages *messages, struct bundle *bundle);
struct rpc_message *bundle_messages_jwt(struct bundle_messages *messages, struct bundle *bundle);
void bundle_messages_clear(struct bundle_messages *messages);
