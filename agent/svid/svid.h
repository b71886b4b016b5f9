/* Making SVIDs and sets of them; the rest of the room shares this. Loop thread only. */
#pragma once

#include "agent/svid/key_pool.h"
#include "agent/svid/manager.h"

/* From a request that succeeded and the key that it was made for. The material, the chain and the
 * serial number are taken. */
struct svid_x509 *svid_x509_new(struct entry *entry, enum key_protection protection,
                                struct key_material *material, struct x509_request *request);
/* The same certificate and key under a changed entry (another hint, say). */
int svid_x509_rename(const struct svid_x509 *svid, struct entry *entry, struct svid_x509 **ret_svid,
                     struct error *err);

/* References to the SVIDs and the bundle are taken. bundle may be NULL where count is 0. */
struct identity_set *identity_set_new(struct svid_x509 *const *svids, size_t count,
                                      struct bundle *bundle);
/* Whether both say the same; either may be NULL, which says nothing. */
bool identity_set_is_equal(const struct identity_set *a, const struct identity_set *b);
