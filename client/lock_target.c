#include "client/lock_target.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/memory.h"

enum { READ_BYTES = 65536, SHA256_BYTES = 32 };

DEFINE_CLEANUP(EVP_MD_CTX, digest, EVP_MD_CTX_free);

void lock_target_clear(struct lock_target *target)
{
    free(target->what);
    *target = (struct lock_target){0};
}

static int open_executable(const char *path, int *ret_descriptor, struct error *err)
{
    struct stat status;
    /* Not to be kept waiting by what is no file. */
    _cleanup_(file_close_cleanup) int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0 || fstat(descriptor, &status) < 0) {
        return error_set_errno(err, errno, "reading the executable %s", path);
    }
    if (!S_ISREG(status.st_mode)) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "reading the executable %s: it is not a regular file", path);
    }
    *ret_descriptor = file_take(&descriptor);
    return 0;
}

static int hash_descriptor(int descriptor, const char *path, uint8_t ret_digest[SHA256_BYTES],
                           struct error *err)
{
    _cleanup_(digest_cleanup) EVP_MD_CTX *digest = EVP_MD_CTX_new();
    _cleanup_(free_cleanup) uint8_t *piece = memory_new(READ_BYTES);
    ssize_t count = 0;
    int is_good = digest && EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1;
    while (is_good && (count = read(descriptor, piece, READ_BYTES)) > 0) {
        is_good = EVP_DigestUpdate(digest, piece, (size_t)count) == 1;
    }
    if (count < 0) {
        return error_set_errno(err, errno, "reading the executable %s", path);
    }
    if (!is_good || EVP_DigestFinal_ex(digest, ret_digest, NULL) != 1) {
        return error_set_openssl(err, ERROR_INTERNAL, "hashing the executable %s", path);
    }
    return 0;
}

int lock_target_digest(const char *executable, char **ret_digest, struct error *err)
{
    static const char prefix[] = "sha256:";
    uint8_t digest[SHA256_BYTES];
    _cleanup_(file_close_cleanup) int descriptor = -1;
    if (strncmp(executable, prefix, sizeof(prefix) - 1) == 0) {
        *ret_digest = memory_copy_text(executable);
        return 0;
    }
    TRY(open_executable(executable, &descriptor, err));
    TRY(hash_descriptor(descriptor, executable, digest, err));
    _cleanup_(free_cleanup) char *hex = text_hex((struct bytes){digest, sizeof(digest)});
    *ret_digest = text_format("%s%s", prefix, hex);
    return 0;
}

int lock_target_choose(const struct arguments *arguments, struct lock_target *ret_target,
                       struct error *err)
{
    int given = (arguments->spiffe_id ? 1 : 0) + (arguments->pid > 0 ? 1 : 0) +
                (arguments->executable ? 1 : 0) + (arguments->is_node ? 1 : 0);
    if (given != 1) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "%s of --spiffe-id, --pid, --executable and --node is needed",
                         given == 0 ? "one" : "only one");
    }
    if (arguments->spiffe_id) {
        *ret_target = (struct lock_target){"spiffe_id", memory_copy_text(arguments->spiffe_id)};
    } else if (arguments->pid > 0) {
        *ret_target =
            (struct lock_target){"pid", text_format("%llu", (unsigned long long)arguments->pid)};
    } else if (arguments->is_node) {
        *ret_target = (struct lock_target){"node", memory_copy_text("")};
    } else {
        char *digest = NULL;
        TRY(lock_target_digest(arguments->executable, &digest, err));
        *ret_target = (struct lock_target){"executable", digest};
    }
    return 0;
}
