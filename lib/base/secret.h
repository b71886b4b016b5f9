/* Guarded memory for secrets: locked against swap, left out of core dumps, between guard pages,
 * zeroed when freed. Each secret costs at least three pages: for keys and PINs, not for bulk. Every
 * thread. */
#pragma once

#include <stdbool.h>

#include "lib/base/bytes.h"

/* Owned guarded bytes. All zero is empty. */
struct secret {
    uint8_t *data;
    size_t size;
};

/* Call once before any other thread starts: prepares libsodium and OpenSSL's secure heap, forbids
 * core dumps and ptrace by others of this user (PR_SET_DUMPABLE), raises the limit of locked memory
 * as far as allowed. */
int secret_init(struct error *err);

/* size zeroed guarded bytes. Fails with ResourceExhausted where the limit of locked memory is
 * reached. */
int secret_new(size_t size, struct secret *ret_secret, struct error *err);
/* A guarded copy. */
int secret_copy(struct bytes from, struct secret *ret_secret, struct error *err);
struct bytes secret_bytes(const struct secret *secret);
/* Zeroes and frees; empty afterwards. Also for _cleanup_. */
void secret_clear(struct secret *secret);

/* Reads a secret from a file into guarded memory without a copy elsewhere: a regular file of at
 * most limit_bytes that belongs to this user or root and that group and others can neither read nor
 * write. One trailing newline is dropped. The error names the file and the chmod that helps. */
int secret_read_file(const char *path, size_t limit_bytes, struct secret *ret_secret,
                     struct error *err);
