/* libsignet: what a workload asks of the signet agent on its host.
 *
 * Evidence proves to somebody else that the key of one of this process's identities lives in the
 * TPM of this host, was made there, cannot leave it, and in what state the host is. It is a JSON
 * document that anybody can judge, without a TPM and without an agent:
 *
 *     signet attest verify FILE --nonce N --ek-cas DIR
 *
 * The agent decides by itself which process asks. It makes evidence about identities whose rule
 * says evidence = true and whose key is in the TPM.
 *
 *     struct signet_evidence_request request = {
 *         .struct_size = sizeof(request), .nonce = nonce, .nonce_size = sizeof(nonce)};
 *     struct signet_error error;
 *     char *evidence;
 *     if (signet_evidence_fetch(&request, &evidence, &error) < 0) {
 *         fprintf(stderr, "%s\n", error.text);
 *     } else {
 *         fputs(evidence, file);
 *         signet_evidence_free(evidence);
 *     }
 *
 * Every thread; several at once. Nothing is kept between calls. Flags: pkg-config signet. */
#ifndef SIGNET_EVIDENCE_H
#define SIGNET_EVIDENCE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Why something failed. */
struct signet_error {
    /* gRPC's status codes. Those to tell apart: */
    int code;
    /* For people: what was attempted, why it failed, what to do. Never a secret; ends in NUL. */
    char text[512];
};
#define SIGNET_INVALID_ARGUMENT 3    /* the request cannot be answered as it is */
#define SIGNET_DEADLINE_EXCEEDED 4   /* no answer in time: try again later */
#define SIGNET_PERMISSION_DENIED 7   /* no such identity, its key elsewhere, or not by its rule */
#define SIGNET_RESOURCE_EXHAUSTED 8  /* too much is asked of the agent now: try again later */
#define SIGNET_FAILED_PRECONDITION 9 /* the host does not attest itself */
#define SIGNET_UNAVAILABLE 14        /* no agent there, or its hardware is away: try again later */

#define SIGNET_NONCE_MIN_BYTES 8
#define SIGNET_NONCE_MAX_BYTES 32

/* What is zero or NULL takes its default. Everything is borrowed for the call. */
struct signet_evidence_request {
    size_t struct_size; /* sizeof(struct signet_evidence_request): later versions may add to it */
    /* What the verifier chose, and never twice; 8 to 32 bytes. */
    const void *nonce;
    size_t nonce_size;
    /* The identity; NULL: the only one of this process that has such a key. */
    const char *spiffe_id;
    /* A verifier's challenge to the TPM, JSON, as `signet attest challenge` makes it; NULL: none.
     */
    const char *challenge;
    /* The Workload API's socket; NULL: that of SPIFFE_ENDPOINT_SOCKET, else api.sock in
     * SIGNET_RUN_DIR, else /run/signet/api.sock. */
    const char *socket_path;
    /* The longest to wait for connecting, and then for the answer; 0: 60000. A TPM takes its time,
     * and with a challenge more of it. */
    uint32_t timeout_ms;
};

/* Asks the agent and waits for it. Returns 0 with the evidence, JSON text that ends in NUL, to be
 * freed with signet_evidence_free; -1 with ret_error set (NULL is allowed). */
int signet_evidence_fetch(const struct signet_evidence_request *request, char **ret_evidence,
                          struct signet_error *ret_error);
/* NULL is allowed. */
void signet_evidence_free(char *evidence);

#ifdef __cplusplus
}
#endif

#endif
