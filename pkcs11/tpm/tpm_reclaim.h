/* Slots of a TPM without resource manager that nobody will free: what an earlier life of this
 * program left when it was killed. */
#pragma once

#include "pkcs11/tpm/tpm_device.h"

/* Flushes objects that are not ours now but can only have been: the storage primary itself, and
 * its children of the template of signing keys. */
void tpm_reclaim_objects(struct tpm_device *device);
/* Flushes HMAC sessions that nobody freed while we waited for 200 ms. Whose they are cannot be
 * seen, so this is only for when there is no other way. */
void tpm_reclaim_sessions(struct tpm_device *device);
/* Flushes the session that a lost answer has left behind: an HMAC session that was not there before
 * and that nobody frees while we wait for 200 ms. */
void tpm_reclaim_astray_session(struct tpm_device *device);
