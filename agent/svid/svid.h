/* Making SVIDs and sets of them; the rest of the room shares this. Loop thread only. */
#pragma once

#include "agent/svid/manager.h"
#include "agent/svid/plan.h"

/* From a request that succeeded now and the key that was made for it by this plan. The material,
 * the chain and the serial number are taken. */
struct svid_x509 *svid_x509_new(struct entry *entry, const struct plan *plan, int64_t now_s,
                                struct key_material *material, struct x509_request *request);
/* The same certificate and key under a changed entry (another hint, say). */
int svid_x509_rename(const struct svid_x509 *svid, struct entry *entry, struct svid_x509 **ret_svid,
                     struct error *err);

/* One made by an earlier process; key and serial are taken. It gets its entry before anybody else
 * sees it. */
struct svid_x509 *svid_x509_restore(struct key *key, struct bytes chain, char *serial,
                                    int64_t not_before_s, int64_t expires_at_s);
void svid_x509_set_entry(struct svid_x509 *svid, struct entry *entry);
/* Lets a workload that uses the key of the one before go on with it until that expires: keeps the
 * reference to previous, which is taken, if both have keys that stay. */
void svid_x509_keep_previous(struct svid_x509 *svid, struct svid_x509 *previous, int64_t now_s);

/* References to the SVIDs and the bundle are taken. bundle may be NULL where count is 0. */
struct identity_set *identity_set_new(struct svid_x509 *const *svids, size_t count,
                                      struct bundle *bundle);
/* Whether both say the same; either may be NULL, which says nothing. */
bool identity_set_is_equal(const struct identity_set *a, const struct identity_set *b);
