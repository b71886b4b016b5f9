/* The way to a TPM: a TCTI, and the SAPI context that commands are put together in. */
#pragma once

#include <tss2/tss2_sys.h>

#include "pkcs11/tpm/tpm_rc.h"

struct tpm_transport {
    char *conf;              /* the TCTI loader's string; owned */
    TSS2_TCTI_CONTEXT *tcti; /* NULL: not open */
    TSS2_SYS_CONTEXT *sys;   /* NULL: not open */
    const char *command;     /* name of the last command, for error texts */
    int limit_ms;            /* for each answer; 0: what suits the command */
    bool is_overdue;         /* an answer is overdue: good for nothing but to be closed */
};

/* Opens tcti and sys; they must be closed. Answers of the transport alone: the TPM behind it is not
 * asked. */
TSS2_RC tpm_transport_open(struct tpm_transport *transport);
void tpm_transport_close(struct tpm_transport *transport);

/* Whether a simulator is at the other end, which no firmware starts up. */
bool tpm_transport_is_simulator(const struct tpm_transport *transport);
/* Whether a resource manager hides the handles of other programs from us and ours from them. */
bool tpm_transport_is_managed(const struct tpm_transport *transport);

/* Sends the command that was prepared in sys and waits for its answer. While the TPM asks for it
 * (RETRY, YIELDED, TESTING, CANCELED, NV_RATE), the same bytes are sent again, for three seconds at
 * most. An answer that takes far longer than any TPM is TPM_RC_OVERDUE, and so is every command
 * after it until the transport is opened anew. command NULL: part of cleaning up, so not what an
 * error text names. */
TSS2_RC tpm_transport_execute(struct tpm_transport *transport, const char *command);

/* Waits. */
void tpm_transport_pause(unsigned pause_ms);
