#include "agent/workload/hash_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <uthash.h>

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

static int digest_file(int descriptor, uint64_t size_bytes, char ret_hex[HASH_HEX_BYTES])
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
    memcpy(ret_hex, hex, HASH_HEX_BYTES);
    return 0;
}

/* A program in user space answers for a FUSE file: what it gave the kernel to run need not be what
 * it gives us to read. */
static bool is_trustworthy(int descriptor)
{
    struct statfs status;
    return fstatfs(descriptor, &status) == 0 && status.f_type != FUSE_SUPER_MAGIC;
}

void hash_file(int folder, const char *name, const struct file_identity *expected,
               uint64_t limit_bytes, struct hash_answer *ret_answer)
{
    struct file_identity before, after;
    uint32_t links;
    int64_t started_s = clock_now_s();
    *ret_answer = (struct hash_answer){.file = *expected};
    _cleanup_(file_close_cleanup) int descriptor =
        openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (descriptor < 0 || !is_trustworthy(descriptor) ||
        file_identity_read(descriptor, "", &before, &links) < 0 ||
        (limit_bytes > 0 && before.size_bytes > limit_bytes)) {
        return;
    }
    char hex[HASH_HEX_BYTES];
    if (digest_file(descriptor, before.size_bytes, hex) < 0 ||
        file_identity_read(descriptor, "", &after, &links) < 0 ||
        !file_identity_is_equal(&before, &after)) {
        return;
    }
    ret_answer->file = before;
    memcpy(ret_answer->hex, hex, sizeof(hex));
    ret_answer->is_lasting = before.changed_s < started_s - CHANGE_TIME_TICK_S;
}

struct known_hash {
    struct hash_answer answer;
    UT_hash_handle hh;
};

struct hash_cache {
    struct known_hash *all; /* in the order of use */
    size_t entries_max;
};

struct hash_cache *hash_cache_new(size_t entries_max)
{
    struct hash_cache *cache = NEW(struct hash_cache);
    cache->entries_max = entries_max;
    return cache;
}

static void drop(struct hash_cache *cache, struct known_hash *known)
{
    HASH_DEL(cache->all, known); /* NOLINT(clang-analyzer-*): uthash takes it out whole */
    free(known);
}

void hash_cache_free(struct hash_cache *cache)
{
    struct known_hash *known, *next;
    HASH_ITER (hh, cache->all, known, next) {
        drop(cache, known);
    }
    free(cache);
}

static struct known_hash *find(struct hash_cache *cache, const struct file_identity *file)
{
    struct known_hash *known;
    HASH_FIND(hh, cache->all, file, sizeof(*file), known);
    return known;
}

static void add(struct hash_cache *cache, struct known_hash *known)
{
    /* NOLINTNEXTLINE(clang-analyzer-*): it was taken out whole where it was freed */
    HASH_ADD(hh, cache->all, answer.file, sizeof(known->answer.file), known);
}

const char *hash_cache_find(struct hash_cache *cache, const struct file_identity *file)
{
    struct known_hash *known = find(cache, file);
    if (!known) {
        return NULL;
    }
    HASH_DEL(cache->all, known); /* NOLINT(clang-analyzer-*): uthash takes it out whole */
    add(cache, known);
    return known->answer.hex;
}

void hash_cache_store(struct hash_cache *cache, const struct hash_answer *answer)
{
    if (!answer->is_lasting || find(cache, &answer->file)) {
        return;
    }
    if (HASH_COUNT(cache->all) >= cache->entries_max) {
        drop(cache, cache->all);
    }
    struct known_hash *known = NEW(struct known_hash);
    known->answer = *answer;
    add(cache, known);
}
