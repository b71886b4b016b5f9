/* What a TPM, its transport or this driver answers to a command, what to do about it and how to say
 * it. Functions that send commands return such a code, 0 for success; where an operation ends it is
 * turned into a struct error once. */
#pragma once

#include <stdbool.h>
#include <tss2/tss2_common.h>
#include <tss2/tss2_tpm2_types.h>

#include "lib/base/error.h"

/* Codes of this driver's own, in a layer that no specification uses. */
#define TPM_RC_LOCAL(number) ((TSS2_RC)(TSS2_RC_LAYER(0xfe) | (number)))
#define TPM_RC_TAMPERED TPM_RC_LOCAL(1)
#define TPM_RC_OTHER_PRIMARY TPM_RC_LOCAL(2)
#define TPM_RC_NO_PRIMARY TPM_RC_LOCAL(3)
#define TPM_RC_BAD_ANSWER TPM_RC_LOCAL(4)
#define TPM_RC_CRYPTO TPM_RC_LOCAL(5)
#define TPM_RC_PSS_SALT TPM_RC_LOCAL(6)
#define TPM_RC_BAD_REQUEST TPM_RC_LOCAL(7)
#define TPM_RC_OVERDUE TPM_RC_LOCAL(8)
#define TPM_RC_OTHER_EK TPM_RC_LOCAL(9)
#define TPM_RC_ENDORSEMENT_PASSWORD TPM_RC_LOCAL(10)
#define TPM_RC_EK_LOCKOUT TPM_RC_LOCAL(11)
#define TPM_RC_CREDENTIAL TPM_RC_LOCAL(12)

enum tpm_reaction {
    TPM_REACTION_FAIL,        /* trying again changes nothing */
    TPM_REACTION_RESEND,      /* the same bytes again, after a pause */
    TPM_REACTION_MAKE_ROOM,   /* flush objects, then again */
    TPM_REACTION_NEW_SESSION, /* flush the session, then again with another */
    TPM_REACTION_REBUILD,     /* handles or session are not what we think: forget them, again */
    TPM_REACTION_STARTUP,     /* send TPM2_Startup where that is ours to do, then again */
    TPM_REACTION_REOPEN,      /* the way to the TPM is broken: open another, again */
};

/* What to do about rc, which is not 0. Unknown codes: FAIL. */
enum tpm_reaction tpm_rc_reaction(TSS2_RC rc);

/* Whether a TPM answered with code, such as TPM2_RC_POLICY_FAIL, whatever layer passed it on and
 * whichever parameter, handle or session it speaks of. */
bool tpm_rc_is(TSS2_RC rc, TSS2_RC code);

/* Whether the TPM found that a blob or saved context is not its own, or no longer. */
bool tpm_rc_is_integrity(TSS2_RC rc);

/* Whether there is no object at the handle. */
bool tpm_rc_is_handle(TSS2_RC rc);

/* Whether an authorization value is not what was given, where no dictionary attack counts. */
bool tpm_rc_is_bad_auth(TSS2_RC rc);

/* Whether the TPM refused a parameter of the command, as it does with algorithms it lacks. */
bool tpm_rc_is_parameter(TSS2_RC rc);

/* Sets err for rc: "COMMAND failed: text (0xcode); advice". Returns -1. */
int tpm_rc_error(struct error *err, TSS2_RC rc, const char *command);
