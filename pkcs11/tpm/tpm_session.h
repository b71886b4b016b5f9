/* An HMAC session: it authorizes commands, keeps the first parameter of command and answer from a
 * reader on the bus, and proves both unchanged (TPM 2.0 Part 1 19 and 21).
 *
 * It is salted to the storage primary, whose name was checked, so only that TPM knows its key. As
 * keys have no authorization value, that key alone keys the HMAC; the HMAC covers the names of the
 * objects that a command works on, so a handle that means another object by now is refused. Nonces
 * are fresh for each command. */
#pragma once

#include "pkcs11/tpm/tpm_salt.h"
#include "pkcs11/tpm/tpm_transport.h"

struct tpm_command {
    const char *name;
    TPM2_CC code;
    TPMA_SESSION attributes; /* DECRYPT, ENCRYPT: the first parameter of command, of answer, is
                                sized and so can be encrypted */
};

/* A handle of a command: the name of what is behind it, and what authorizes its use. */
struct tpm_operand {
    struct bytes name;
    /* 0: the HMAC session, for one of them at most; TPM2_RS_PW: the empty authorization value;
     * TPM2_RH_NULL: it needs none; else the handle of a policy session, which is used up. */
    TPM2_HANDLE authorization;
};
/* More handles no command has. */
enum { TPM_OPERANDS_MAX = 3 };

/* As many as a TPM has slots for loaded sessions, on all that are known. */
enum { TPM_SESSIONS_ENDED_MAX = 3 };

struct tpm_session {
    struct tpm_transport *transport;
    const struct tpm_crypto *crypto;
    struct secret secrets; /* struct session_secrets */
    TPM2_HANDLE handle;    /* 0: no session */
    EVP_MAC_CTX *mac;      /* keyed with the session key */
    TPM2B_NONCE nonce_tpm;
    TPM2B_NONCE nonce_caller;
    unsigned commands; /* used up after a while, so that no key lives forever */
    TPM2_HANDLE ended[TPM_SESSIONS_ENDED_MAX]; /* those that the TPM may still hold; 0: none */
};

/* Takes guarded memory; both pointers are borrowed until tpm_session_close. */
int tpm_session_open(struct tpm_session *session, struct tpm_transport *transport,
                     const struct tpm_crypto *crypto, struct error *err);
/* Frees; the TPM is not asked. */
void tpm_session_close(struct tpm_session *session);

bool tpm_session_is_usable(const struct tpm_session *session);
/* Starts a session salted to the loaded primary; none may be there. */
TSS2_RC tpm_session_start(struct tpm_session *session, TPM2_HANDLE primary,
                          const TPM2B_PUBLIC *public);
/* Forgets the session; in the TPM too when may_flush says that the handle is still ours. What
 * cannot be flushed now is flushed when this is called again. */
void tpm_session_end(struct tpm_session *session, bool may_flush);

/* Sends the command that was prepared in transport->sys, whose only handle is the object of that
 * name, under the session. Success means: this TPM did just that and the answer is its own; where
 * the command encrypts it is decrypted in place. TPM_RC_TAMPERED: the answer is not authentic, and
 * the session can no longer be used. */
TSS2_RC tpm_session_execute(struct tpm_session *session, const struct tpm_command *command,
                            const struct tpm_name *name);
/* The same for a command with several handles, in their order. Where the session authorizes none of
 * them it comes last and only protects what passes; the answer of a policy session is not checked,
 * which the HMAC session's makes up for. At most two may need another authorization. */
TSS2_RC tpm_session_execute_on(struct tpm_session *session, const struct tpm_command *command,
                               const struct tpm_operand *operands, size_t count);
