/* The keystore's state: how it is lost, asked again with back-off, and back; and who is told. For
 * the files of this folder. */
#pragma once

#include "pkcs11/worker.h"

/* The hardware did not answer. */
void outage_begin(struct worker *worker, const struct error *reason);

/* Whether it is time to ask the hardware. With the lock held. */
bool outage_is_probe_due(const struct keystore *keystore);
/* Asks it. Called and returns with the lock held. */
void outage_probe(struct worker *worker);
/* Waits for work, or for the time to ask the hardware. Called and returns with the lock held. */
void outage_wait(struct keystore *keystore);

/* Calls what keystore_on_change has set; from a borrowed worker, has a thread of the keystore call
 * it. Without the lock. */
void outage_tell(struct worker *worker);
/* The same if the driver has said in its last command that keys were lost. */
void outage_tell_lost_keys(struct worker *worker);
