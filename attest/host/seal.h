/* Secrets that only this TPM gives back, and only while the host is in a state that was agreed to
 * (TPM 2.0 Part 1 27, policies 19.7). A sealed file is JSON, version 1, and no secret. One thread;
 * blocks. */
#pragma once

#include "attest/pcr.h"
#include "lib/base/secret.h"
#include "pkcs11/tpm/tpm_device.h"

enum { SEAL_SECRET_MAX_BYTES = 128, SEAL_FILE_MAX_BYTES = 64 << 10 };
/* Not the counter of the node (counter.h), which goes on by itself. */
enum { SEAL_COUNTER_INDEX_DEFAULT = 0x01805348 };

struct seal_request {
    struct bytes secret; /* in guarded memory, 1 to 128 bytes */
    struct pcr_selection selection;
    const struct pcr_set *pcrs; /* values to seal to; NULL: those of now */
    /* PolicyAuthorize: whoever holds the private half may agree to other PCR values later, by
     * seal_authorize; PEM of a P-256 public key. Empty: only the PCRs above. */
    struct bytes authority_pem;
    uint32_t counter_index; /* PolicyNV: void once the counter has gone on; 0: none */
    /* For the counter's next value: opens once counter_step was called, which voids the files of
     * before. So there is a file that opens at every moment. */
    bool is_for_next_step;
};

/* The file's text is appended. */
int seal_make(struct tpm_device *device, const struct seal_request *request,
              struct buffer *ret_file, struct error *err);
/* PermissionDenied: PCRs are not as agreed (which ones is said where it is known), the counter has
 * gone on, or another TPM sealed it; DataLoss: the file is damaged. */
int seal_open(struct tpm_device *device, struct bytes file, struct secret *ret_secret,
              struct error *err);
/* The registers as they are now; FailedPrecondition: the TPM has not all of them. */
int seal_read_pcrs(struct tpm_device *device, const struct pcr_selection *selection,
                   struct pcr_set *ret_pcrs, struct error *err);
/* Which registers a file goes by. */
int seal_selection(struct bytes file, struct pcr_selection *ret_selection, struct error *err);

/* What the authority signs so that other values are accepted too: appended are the bytes to sign
 * (ECDSA with SHA-256). Needs no TPM. */
int seal_approval_request(struct bytes file, const struct pcr_set *pcrs, struct buffer *ret_to_sign,
                          struct error *err);
/* The file with the approval in it, appended: pcrs and signature (DER). Old ones stay. Needs no
 * TPM: the signature is checked in software, and by the TPM when it is used. */
int seal_approve(struct bytes file, const struct pcr_set *pcrs, struct bytes signature,
                 struct buffer *ret_file, struct error *err);
