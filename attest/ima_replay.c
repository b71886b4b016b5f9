#include <string.h>

#include "attest/ima.h"

/* Two ways in which kernels extend a bank other than SHA-1's: by that bank's hash of the data (5.8
 * and later), and before by the SHA-1 digest with zeros after it. The quote tells which it was. */
enum way { WAY_HASHED, WAY_PADDED };
enum { WAYS = 2, PATH_FIELD_BYTES = 256 };

struct replay {
    const struct hash_algorithm *bank, *sha1;
    uint8_t values[WAYS][HASH_MAX_BYTES];
};

/* What the kernel hashes: of the oldest template the path without its length, in a field of its
 * own size; of all others the data as it stands in the list. */
static int hash_entry(const struct ima_entry *entry, const struct hash_algorithm *hash,
                      uint8_t ret_digest[HASH_MAX_BYTES], struct error *err)
{
    static const uint8_t zeros[PATH_FIELD_BYTES];
    const bool is_first = bytes_is_equal(entry->template_name, bytes_of_text("ima"));
    if (!is_first) {
        return hash_compute(hash, &entry->template_data, 1, ret_digest, err);
    }
    struct reader reader = reader_of(entry->template_data);
    struct bytes digest = reader_bytes(&reader, hash_by_id(TPM2_ALG_SHA1)->size);
    struct bytes path = reader_bytes(&reader, reader_u32_le(&reader));
    if (!reader_is_done(&reader) || path.size > sizeof(zeros)) {
        return error_set(err, ERROR_DATA_LOSS, "its data has not the form of its template");
    }
    const struct bytes parts[] = {digest, path, {zeros, sizeof(zeros) - path.size}};
    return hash_compute(hash, parts, ARRAY_SIZE(parts), ret_digest, err);
}

static int check_digest(const struct replay *replay, const struct ima_entry *entry,
                        struct error *err)
{
    uint8_t digest[HASH_MAX_BYTES];
    TRY(hash_entry(entry, replay->sha1, digest, err));
    const struct bytes computed = {digest, replay->sha1->size};
    if (!bytes_is_equal(computed, entry->template_digest)) {
        return error_set(err, ERROR_DATA_LOSS, "its digest is not that of its data");
    }
    return 0;
}

static int extend(struct replay *replay, enum way way, const uint8_t *digest, struct error *err)
{
    const struct bytes parts[] = {{replay->values[way], replay->bank->size},
                                  {digest, replay->bank->size}};
    return hash_compute(replay->bank, parts, ARRAY_SIZE(parts), replay->values[way], err);
}

/* A violation stands in the list with a digest of zeros and was extended as ones: nothing vouches
 * for its data. */
static int add_violation(struct replay *replay, struct error *err)
{
    uint8_t ones[HASH_MAX_BYTES];
    memset(ones, 0xff, sizeof(ones));
    TRY(extend(replay, WAY_HASHED, ones, err));
    memset(ones + replay->sha1->size, 0, sizeof(ones) - replay->sha1->size);
    return extend(replay, WAY_PADDED, ones, err);
}

static int add_entry(struct replay *replay, const struct ima_entry *entry, struct error *err)
{
    if (entry->is_violation) {
        return add_violation(replay, err);
    }
    TRY(check_digest(replay, entry, err));
    uint8_t padded[HASH_MAX_BYTES] = {0};
    memcpy(padded, entry->template_digest.data, entry->template_digest.size);
    if (replay->bank == replay->sha1) { /* the two ways are one */
        return extend(replay, WAY_PADDED, padded, err);
    }
    uint8_t hashed[HASH_MAX_BYTES];
    TRY(hash_entry(entry, replay->bank, hashed, err));
    TRY(extend(replay, WAY_HASHED, hashed, err));
    return extend(replay, WAY_PADDED, padded, err);
}

/* With a bank of SHA-1 only WAY_PADDED is kept up: the other one lacks the files. */
static bool leads_to(const struct replay *replay, const uint8_t *quoted)
{
    for (size_t way = replay->bank == replay->sha1 ? WAY_PADDED : WAY_HASHED; way < WAYS; way++) {
        if (memcmp(replay->values[way], quoted, replay->bank->size) == 0) {
            return true;
        }
    }
    return false;
}

int ima_replay(const struct ima_list *list, TPM2_ALG_ID bank, const uint8_t *quoted,
               size_t *ret_count, struct error *err)
{
    struct replay replay = {.bank = hash_by_id(bank), .sha1 = hash_by_id(TPM2_ALG_SHA1)};
    if (!replay.bank) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "replaying the IMA list: PCR bank 0x%04x is none of sha1, sha256, sha384 "
                         "and sha512",
                         bank);
    }
    for (size_t i = 0; i < list->count; i++) {
        if (add_entry(&replay, &list->entries[i], err) < 0) {
            return error_prepend(err, "replaying the IMA list: entry %zu", i);
        }
        if (leads_to(&replay, quoted)) {
            *ret_count = i + 1;
            return 0;
        }
    }
    return error_set(err, ERROR_NOT_FOUND,
                     "replaying the IMA list: none of its %zu entries leads to the value that was "
                     "quoted of PCR 10 (%s)",
                     list->count, replay.bank->name);
}
