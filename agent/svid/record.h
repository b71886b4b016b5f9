/* X.509-SVIDs whose keys a later process of the agent can open again, as bytes: so that a restart
 * does not take a key from under a workload that uses it. No secret is in them. Loop thread only.
 */
#pragma once

#include "agent/svid/manager.h"

/* Appends the SVID with those before it; nothing where the hardware could not open its key again.
 */
void record_append(const struct svid_x509 *svid, struct buffer *records);

struct svid_record {
    char *entry_id, *spiffe_id;
    struct svid_x509 *svid; /* without an entry; the newest of its chain */
};

/* The next record; keys are opened, which blocks. NotFound: one of its keys cannot be opened any
 * more; the reader stands at the next record. DataLoss: these are no records. */
int record_read(struct reader *reader, const struct manager_keystore *keystores,
                size_t keystore_count, struct svid_record *ret_record, struct error *err);
void svid_record_clear(struct svid_record *record);
