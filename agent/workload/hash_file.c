#include <errno.h>
#include <fcntl.h>
#include <linux/fsverity.h>
#include <linux/magic.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "agent/workload/hash_cache.h"
#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "lib/base/text.h"

/* Read at once. */
enum { CHUNK_BYTES = 65536 };
/* The coarsest clock that a file system keeps change times by: two changes within one tick of it
 * look like one. */
enum { CHANGE_TIME_TICK_S = 2 };

DEFINE_CLEANUP(EVP_MD_CTX, digest_context, EVP_MD_CTX_free);

/* Appends at most size_bytes of the file to the digest; 0 where it had exactly so many. */
static int digest_contents(int descriptor, uint64_t size_bytes, EVP_MD_CTX *context)
{
    _cleanup_(free_cleanup) uint8_t *chunk = memory_new_array(CHUNK_BYTES, 1);
    uint64_t done = 0;
    for (;;) {
        ssize_t count = read(descriptor, chunk, CHUNK_BYTES);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count <= 0 || (uint64_t)count > size_bytes - done) {
            return count == 0 && done == size_bytes ? 0 : -1;
        }
        if (EVP_DigestUpdate(context, chunk, (size_t)count) != 1) {
            return -1;
        }
        done += (uint64_t)count;
    }
}

static int digest_file(int descriptor, uint64_t size_bytes, char ret_digest[HASH_DIGEST_BYTES])
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    _cleanup_(digest_context_cleanup) EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (!context || EVP_DigestInit_ex(context, EVP_sha256(), NULL) != 1 ||
        digest_contents(descriptor, size_bytes, context) < 0 ||
        EVP_DigestFinal_ex(context, digest, &size) != 1) {
        return -1;
    }
    _cleanup_(free_cleanup) char *hex = text_hex((struct bytes){digest, size});
    (void)snprintf(ret_digest, HASH_DIGEST_BYTES, "%s", hex);
    return 0;
}

/* A program in user space answers for a FUSE file: what it gave the kernel to run need not be what
 * it gives us to read. */
static bool is_trustworthy(int descriptor)
{
    struct statfs status;
    return fstatfs(descriptor, &status) == 0 && status.f_type != FUSE_SUPER_MAGIC;
}

/* The file, and what it is, where its file system can be believed; else -1. */
static int open_file(int folder, const char *name, struct file_identity *ret_identity)
{
    uint32_t links;
    _cleanup_(file_close_cleanup) int descriptor =
        openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (descriptor < 0 || !is_trustworthy(descriptor) ||
        file_identity_read(descriptor, "", ret_identity, &links) < 0) {
        return -1;
    }
    return file_take(&descriptor);
}

/* What was found out about the file, if it has stayed the same meanwhile. */
static void answer(int descriptor, const struct file_identity *before, const char *digest,
                   int64_t started_s, struct hash_answer *ret_answer)
{
    struct file_identity after;
    uint32_t links;
    if (file_identity_read(descriptor, "", &after, &links) < 0 ||
        !file_identity_is_equal(before, &after)) {
        return;
    }
    ret_answer->file = *before;
    (void)snprintf(ret_answer->digest, sizeof(ret_answer->digest), "%s", digest);
    ret_answer->is_lasting = before->changed_s < started_s - CHANGE_TIME_TICK_S;
}

void hash_file(int folder, const char *name, const struct file_identity *expected,
               uint64_t limit_bytes, struct hash_answer *ret_answer)
{
    struct file_identity file;
    char digest[HASH_DIGEST_BYTES];
    int64_t started_s = clock_now_s();
    *ret_answer = (struct hash_answer){.file = *expected};
    _cleanup_(file_close_cleanup) int descriptor = open_file(folder, name, &file);
    if (descriptor < 0 || (limit_bytes > 0 && file.size_bytes > limit_bytes) ||
        digest_file(descriptor, file.size_bytes, digest) < 0) {
        return;
    }
    answer(descriptor, &file, digest, started_s, ret_answer);
}

/* Names as in fsverity(1). */
static const struct {
    uint16_t algorithm, size;
    const char *name;
} verity_digests[] = {{FS_VERITY_HASH_ALG_SHA256, 32, "sha256"},
                      {FS_VERITY_HASH_ALG_SHA512, 64, "sha512"}};

static int measure(int descriptor, char ret_digest[HASH_DIGEST_BYTES])
{
    union {
        struct fsverity_digest head;
        uint8_t bytes[sizeof(struct fsverity_digest) + 64];
    } measured = {.head = {.digest_size = sizeof(measured) - sizeof(measured.head)}};
    if (ioctl(descriptor, FS_IOC_MEASURE_VERITY, &measured) < 0) {
        return -1;
    }
    for (size_t i = 0; i < ARRAY_SIZE(verity_digests); i++) {
        if (measured.head.digest_algorithm == verity_digests[i].algorithm &&
            measured.head.digest_size == verity_digests[i].size) {
            const struct bytes digest = {measured.bytes + sizeof(measured.head),
                                         verity_digests[i].size};
            _cleanup_(free_cleanup) char *hex = text_hex(digest);
            (void)snprintf(ret_digest, HASH_DIGEST_BYTES, "%s:%s", verity_digests[i].name, hex);
            return 0;
        }
    }
    return -1;
}

void hash_measure(int folder, const char *name, const struct file_identity *expected,
                  struct hash_answer *ret_answer)
{
    struct file_identity file;
    char digest[HASH_DIGEST_BYTES];
    int64_t started_s = clock_now_s();
    *ret_answer = (struct hash_answer){.file = *expected};
    _cleanup_(file_close_cleanup) int descriptor = open_file(folder, name, &file);
    if (descriptor >= 0 && measure(descriptor, digest) == 0) {
        answer(descriptor, &file, digest, started_s, ret_answer);
    }
}
