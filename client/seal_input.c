#include "client/seal_input.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "attest/host/seal.h"

/* With a newline, and one more to see that there is too much. */
enum { INPUT_MAX_BYTES = SEAL_SECRET_MAX_BYTES + 2 };

static int read_standard_input(struct secret *ret_secret, struct error *err)
{
    _cleanup_(secret_clear) struct secret input = {0};
    size_t size = 0;
    TRY(secret_new(INPUT_MAX_BYTES, &input, err));
    while (size < INPUT_MAX_BYTES) {
        ssize_t count = read(STDIN_FILENO, input.data + size, INPUT_MAX_BYTES - size);
        if (count < 0 && errno != EINTR) {
            return error_set_errno(err, errno, "reading the secret from standard input");
        }
        if (count == 0) {
            break;
        }
        size += count > 0 ? (size_t)count : 0;
    }
    if (size > 0 && input.data[size - 1] == '\n') {
        size--;
    }
    return secret_copy((struct bytes){input.data, size}, ret_secret, err);
}

int seal_input_secret(const char *path, struct secret *ret_secret, struct error *err)
{
    if (strcmp(path, "-") == 0) {
        TRY(read_standard_input(ret_secret, err));
    } else {
        TRY(secret_read_file(path, INPUT_MAX_BYTES, ret_secret, err));
    }
    if (ret_secret->size < 1 || ret_secret->size > SEAL_SECRET_MAX_BYTES) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "%s has %s; a TPM seals 1 to %d bytes: seal a key, and encrypt the rest "
                         "by it",
                         strcmp(path, "-") == 0 ? "standard input" : path,
                         ret_secret->size ? "more than that" : "nothing in it",
                         SEAL_SECRET_MAX_BYTES);
    }
    return 0;
}
