#include "lib/base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <sodium.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/file.h"

/* Where OpenSSL keeps the private numbers of keys while it makes them. */
enum { SECURE_HEAP_BYTES = 65536, SECURE_HEAP_MINIMUM_BYTES = 32 };

int secret_init(struct error *err)
{
    if (sodium_init() < 0) {
        return error_set(err, ERROR_INTERNAL,
                         "preparing libsodium: it found no source of randomness");
    }
    const struct rlimit no_core = {0, 0};
    if (prctl(PR_SET_DUMPABLE, 0) < 0 || setrlimit(RLIMIT_CORE, &no_core) < 0) {
        return error_set_errno(err, errno, "forbidding core dumps");
    }
    struct rlimit locked;
    if (getrlimit(RLIMIT_MEMLOCK, &locked) == 0) {
        struct rlimit wanted = {RLIM_INFINITY, RLIM_INFINITY};
        if (setrlimit(RLIMIT_MEMLOCK, &wanted) < 0) {
            locked.rlim_cur = locked.rlim_max;
            (void)setrlimit(RLIMIT_MEMLOCK, &locked);
        }
    }
    if (!CRYPTO_secure_malloc_initialized() &&
        CRYPTO_secure_malloc_init(SECURE_HEAP_BYTES, SECURE_HEAP_MINIMUM_BYTES) == 0) {
        return error_set_openssl(
            err, ERROR_RESOURCE_EXHAUSTED,
            "locking %d bytes of memory for keys (is RLIMIT_MEMLOCK too small?)",
            SECURE_HEAP_BYTES);
    }
    return 0;
}

int secret_new(size_t size, struct secret *ret_secret, struct error *err)
{
    uint8_t *data = sodium_malloc(size ? size : 1);
    if (!data) {
        return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                         "taking %zu bytes of locked memory for a secret: the system refused; "
                         "raise RLIMIT_MEMLOCK "
                         "(LimitMEMLOCK= in systemd)",
                         size);
    }
    sodium_memzero(data, size);
    *ret_secret = (struct secret){data, size};
    return 0;
}

int secret_copy(struct bytes from, struct secret *ret_secret, struct error *err)
{
    TRY(secret_new(from.size, ret_secret, err));
    if (from.size > 0) {
        memcpy(ret_secret->data, from.data, from.size);
    }
    return 0;
}

struct bytes secret_bytes(const struct secret *secret)
{
    return (struct bytes){secret->data, secret->size};
}

void secret_clear(struct secret *secret)
{
    sodium_free(secret->data);
    *secret = (struct secret){0};
}

static int check_secret_file(const char *path, const struct stat *status, size_t limit_bytes,
                             struct error *err)
{
    if (!S_ISREG(status->st_mode)) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "reading the secret in %s: it is not a regular file", path);
    }
    if (status->st_uid != geteuid() && status->st_uid != 0) {
        return error_set(
            err, ERROR_PERMISSION_DENIED,
            "reading the secret in %s: it belongs to uid %u; it must belong to uid %u or root",
            path, status->st_uid, geteuid());
    }
    if (status->st_mode & 0077) {
        return error_set(err, ERROR_PERMISSION_DENIED,
                         "reading the secret in %s: its mode %04o lets others read or change it; "
                         "run chmod 0600 %s",
                         path, status->st_mode & 07777, path);
    }
    if (status->st_size <= 0 || (size_t)status->st_size > limit_bytes) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "reading the secret in %s: it has %lld bytes; 1 to %zu are expected", path,
                         (long long)status->st_size, limit_bytes);
    }
    return 0;
}

int secret_read_file(const char *path, size_t limit_bytes, struct secret *ret_secret,
                     struct error *err)
{
    _cleanup_(file_close_cleanup) int descriptor =
        open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat status;
    if (descriptor < 0 || fstat(descriptor, &status) < 0) {
        return error_set_errno(err, errno, "opening the secret in %s", path);
    }
    TRY(check_secret_file(path, &status, limit_bytes, err));
    _cleanup_(secret_clear) struct secret secret = {0};
    TRY(secret_new((size_t)status.st_size, &secret, err));
    ssize_t count = read(descriptor, secret.data, secret.size);
    if (count != (ssize_t)secret.size) {
        return error_set_errno(err, count < 0 ? errno : EIO, "reading the secret in %s", path);
    }
    if (secret.data[secret.size - 1] == '\n') {
        secret.size--;
    }
    *ret_secret = secret;
    secret = (struct secret){0};
    return 0;
}
