/* The text of a sealed file: JSON, version 1. Nothing in it is secret, and nothing in it is
 * trusted: the TPM holds the sealed object to the policy that its public area names, whatever else
 * the file says. There is one text for one content, which ends in a checksum, so a file that was
 * damaged is told from one that does not fit this host. Every thread. */
#pragma once

#include <openssl/evp.h>

#include "attest/pcr.h"
#include "pkcs11/tpm/tpm_public.h"

enum { SEAL_STATES_MAX = 32, SEAL_SIGNATURE_MAX_BYTES = 80 };

/* Values of the registers that open the file. */
struct seal_state {
    struct pcr_set pcrs;
    /* The authority's, DER; empty in the first state, which was agreed to by sealing. */
    uint8_t signature[SEAL_SIGNATURE_MAX_BYTES];
    size_t signature_size;
};

struct seal_counter {
    uint32_t index; /* 0: none */
    struct tpm_name name;
    uint64_t value;
};

struct seal_file {
    struct tpm_name parent; /* the storage primary that it was sealed under */
    TPM2B_PUBLIC public;
    TPM2B_PRIVATE private;
    struct pcr_selection selection;
    struct seal_state *states; /* owned; the first one is there always */
    size_t state_count;
    EVP_PKEY *authority; /* P-256; NULL: none */
    struct seal_counter counter;
};

/* DataLoss: the text is not one that seal_file_encode made; FailedPrecondition: a later version. */
int seal_file_decode(struct bytes text, struct seal_file **ret_file, struct error *err);
/* Appended. */
int seal_file_encode(const struct seal_file *file, struct buffer *ret_text, struct error *err);
void seal_file_free(struct seal_file *file);
DEFINE_CLEANUP(struct seal_file, seal_file_free, seal_file_free);

/* Adds a state without signature, of the registers of the selection alone; FailedPrecondition where
 * pcrs lacks one. ResourceExhausted: there are too many. The state is valid until the next one is
 * added. */
int seal_file_add(struct seal_file *file, const struct pcr_set *pcrs, struct seal_state **ret_state,
                  struct error *err);
/* The state whose registers have these values; NULL: none. */
const struct seal_state *seal_file_find(const struct seal_file *file, const struct pcr_set *pcrs);
/* Names the registers in which pcrs differs from the state that is nearest, such as
 * "sha256:0, sha256:7"; the caller frees it. */
char *seal_file_difference(const struct seal_file *file, const struct pcr_set *pcrs);
