#include "client/svid_write.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/certificate.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

enum { KEY_PEM_MAX_BYTES = 16384 };

static char *path_of(const char *folder, const char *stem, size_t index, const char *extension)
{
    return text_format("%s/%s.%zu.%s", folder, stem, index, extension);
}

static int write_certificates(const char *folder, const char *stem, size_t index, struct bytes der,
                              struct error *err)
{
    struct certificate items[CERTIFICATES_MAX];
    size_t count = 0;
    _cleanup_(free_cleanup) char *path = path_of(folder, stem, index, "pem");
    _cleanup_(buffer_clear) struct buffer pem = {0};
    TRY(certificates_read(der, items, &count, err));
    certificates_append_pem(&pem, items, count);
    for (size_t i = 0; i < count; i++) {
        certificate_clear(&items[i]);
    }
    return file_write_atomic(path, buffer_bytes(&pem), 0644, err);
}

static void cleanse_and_clear(struct buffer *buffer)
{
    if (buffer->data) {
        OPENSSL_cleanse(buffer->data, buffer->size);
    }
    buffer_clear(buffer);
}

static int write_key(const char *path, struct bytes key, struct error *err)
{
    _cleanup_(cleanse_and_clear) struct buffer pem = {0};
    if (key.size > KEY_PEM_MAX_BYTES / 2) {
        return error_set(err, ERROR_DATA_LOSS, "writing %s: the key has %zu bytes", path, key.size);
    }
    /* Room at once: growing would leave copies behind. */
    (void)buffer_extend(&pem, KEY_PEM_MAX_BYTES);
    buffer_reset(&pem);
    pem_append(&pem, "PRIVATE KEY", key);
    return file_write_atomic(path, buffer_bytes(&pem), 0600, err);
}

static int write_uri(const char *path, const char *uri, struct error *err)
{
    _cleanup_(free_cleanup) char *line = text_format("%s\n", uri);
    return file_write_atomic(path, bytes_of_text(line), 0644, err);
}

static int remove_file(const char *path, struct error *err)
{
    return unlink(path) < 0 && errno != ENOENT ? error_set_errno(err, errno, "removing %s", path)
                                               : 0;
}

/* The key comes before the certificate that names it, so whoever waits for the certificate finds
 * the key there. */
static int write_identity(const char *folder, size_t index, const struct identity *identity,
                          struct error *err)
{
    _cleanup_(free_cleanup) char *key_path = path_of(folder, "svid", index, "key");
    _cleanup_(free_cleanup) char *uri_path = path_of(folder, "svid", index, "uri");
    if (identity->key.size > 0) {
        TRY(write_key(key_path, identity->key, err));
        TRY(remove_file(uri_path, err));
    } else {
        TRY(write_uri(uri_path, identity->key_uri, err));
        TRY(remove_file(key_path, err));
    }
    TRY(write_certificates(folder, "bundle", index, identity->bundle, err));
    return write_certificates(folder, "svid", index, identity->chain, err);
}

int svid_write(const char *folder, const struct identity_list *list, struct error *err)
{
    struct stat status;
    if (stat(folder, &status) < 0) {
        return error_set_errno(err, errno, "looking at the folder %s", folder);
    }
    if (!S_ISDIR(status.st_mode)) {
        return error_set(err, ERROR_FAILED_PRECONDITION, "writing into %s: it is not a folder",
                         folder);
    }
    for (size_t i = 0; i < list->count; i++) {
        TRY(write_identity(folder, i, &list->items[i], err));
    }
    return 0;
}
