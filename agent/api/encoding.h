/* Answers encoded once for an identity set and shared by all who hold it. */
#pragma once

#include "agent/svid/manager.h"
#include "lib/rpc/server.h"

/* Chooses identities of a set. */
typedef bool identity_filter(const struct svid_x509 *svid);

size_t identity_set_count(const struct identity_set *set, identity_filter *is_wanted);

/* The set has an encoding in the slot already, or takes over that of before (may be NULL), which
 * says the same: the chosen identities and the X.509 authorities are the same. False: neither. */
bool identity_set_reuse(struct identity_set *set, const struct identity_set *before, size_t slot,
                        identity_filter *is_wanted);
/* Gives the set an encoding, which is taken. */
void identity_set_keep(struct identity_set *set, size_t slot, struct rpc_message *message);
