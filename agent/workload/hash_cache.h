/* Digests of executables, found out once for each state of a file. */
#pragma once

#include "agent/workload/file_identity.h"

/* The longest is "sha512:" and 128 digits. */
enum { HASH_DIGEST_BYTES = 136 };

/* The digest of one state of a file. */
struct hash_answer {
    struct file_identity file;
    char digest[HASH_DIGEST_BYTES]; /* hexadecimal; empty: it has none, since it cannot be read, is
                                       too large, or lies on a file system that can answer
                                       differently each time */
    bool is_lasting; /* the file cannot have changed since without a change of its identity */
};

/* Reads the file that name leads to, below folder, and sets its SHA-256 and the identity of exactly
 * what was read. Where it cannot be read, or changes meanwhile, the digest is empty and the
 * identity is that of expected. limit_bytes 0: none. Any thread; blocks. */
void hash_file(int folder, const char *name, const struct file_identity *expected,
               uint64_t limit_bytes, struct hash_answer *ret_answer);

/* As hash_file for what fs-verity makes the kernel compare each read with: "sha256:HEX" or
 * "sha512:HEX", whatever the size of the file. */
void hash_measure(int folder, const char *name, const struct file_identity *expected,
                  struct hash_answer *ret_answer);

/* Answers that last, the least recently used going first. Loop thread. */
struct hash_cache;

struct hash_cache *hash_cache_new(size_t entries_max);
void hash_cache_free(struct hash_cache *cache);
/* NULL where there is none; borrowed until the next store. */
const char *hash_cache_find(struct hash_cache *cache, const struct file_identity *file);
/* Keeps the answer if it is one that lasts. */
void hash_cache_store(struct hash_cache *cache, const struct hash_answer *answer);
