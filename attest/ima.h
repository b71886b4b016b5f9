/* The kernel's list of measured files (IMA), its binary form; PCR 10. Every thread. */
#pragma once

#include "attest/pcr.h"

enum { IMA_MAX_BYTES = 16 << 20, IMA_MAX_ENTRIES = 1 << 18 };

struct ima_entry {
    struct bytes template_digest; /* 20 bytes, SHA-1 */
    struct bytes template_name;   /* "ima", "ima-ng", "ima-sig", "ima-buf", … */
    struct bytes template_data;
    bool is_violation; /* the file changed while it was measured; nothing vouches for the data */
};

struct ima_list {
    struct ima_entry *entries;
    size_t count;
};

/* Borrows the bytes. DataLoss says where it cannot be read. */
int ima_parse(struct bytes bytes, struct ima_list *ret_list, struct error *err);
void ima_clear(struct ima_list *list);

/* How many entries from the first on lead to the value that was quoted of PCR 10; the rest came
 * after the quote. NotFound: none do. DataLoss: an entry's digest is not that of its data.
 * SHA-1 bank: template digests; other banks: the hash of the data (kernels from 5.8 on), or the
 * template digest padded with zeros. */
int ima_replay(const struct ima_list *list, TPM2_ALG_ID bank, const uint8_t *quoted,
               size_t *ret_count, struct error *err);
/* Path and digest ("sha256:HEX") of an entry, for people; false: of another template. The caller
 * frees both. */
bool ima_entry_file(const struct ima_entry *entry, char **ret_path, char **ret_digest);
