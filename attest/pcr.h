/* Platform configuration registers: which ones are meant, what is in them. Values are trusted only
 * through the digest of a quote (TPM 2.0 Part 1 17, Part 2 10.6). Every thread. */
#pragma once

#include "attest/hash.h"
#include "lib/base/text.h"

enum { PCR_COUNT = 24, PCR_BANKS_MAX = 4 };

/* What a firmware measures of itself and of what it starts; where nothing is named. */
#define PCR_DEFAULT_SELECTION "sha256:0,1,2,3,4,5,6,7"

/* "sha256:0,2,7+sha1:4": banks in this order, registers ascending, none twice. */
struct pcr_selection {
    struct {
        TPM2_ALG_ID bank;
        uint32_t mask; /* bit n: register n */
    } banks[PCR_BANKS_MAX];
    size_t count;
};

/* InvalidArgument names what is wrong and shows the form. */
int pcr_selection_parse(const char *text, struct pcr_selection *ret_selection, struct error *err);
/* The caller frees it. */
char *pcr_selection_text(const struct pcr_selection *selection);
void pcr_selection_tpm(const struct pcr_selection *selection, TPML_PCR_SELECTION *ret_list);
/* Bit for bit and in order, as a quote has to answer it. */
bool pcr_selection_is_quoted(const struct pcr_selection *selection,
                             const TPML_PCR_SELECTION *quoted);

struct pcr_bank {
    TPM2_ALG_ID bank;
    uint32_t mask; /* which registers are known */
    uint8_t values[PCR_COUNT][HASH_MAX_BYTES];
};
struct pcr_set {
    struct pcr_bank banks[PCR_BANKS_MAX];
    size_t count;
};

/* NULL: the set has no such bank, or no such register. */
const struct pcr_bank *pcr_set_bank(const struct pcr_set *set, TPM2_ALG_ID bank);
const uint8_t *pcr_set_value(const struct pcr_set *set, TPM2_ALG_ID bank, unsigned index);
/* Adds or replaces one. InvalidArgument: bank, index or size cannot be, or too many banks. */
int pcr_set_put(struct pcr_set *set, TPM2_ALG_ID bank, unsigned index, struct bytes value,
                struct error *err);
/* "sha256:7=HEX", as in the configuration. */
int pcr_set_put_text(struct pcr_set *set, const char *text, struct error *err);

/* What a quote signs: the values in the order of the selection, hashed. FailedPrecondition: a
 * register is not in the set. */
int pcr_set_digest(const struct pcr_set *set, const struct pcr_selection *selection,
                   const struct hash_algorithm *hash, uint8_t ret_digest[HASH_MAX_BYTES],
                   struct error *err);
