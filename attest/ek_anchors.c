#include "attest/ek_anchors.h"

#include <dirent.h>
#include <errno.h>
#include <openssl/err.h>
#include <sys/stat.h>

#include "attest/ek.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "lib/base/pem.h"

DEFINE_CLEANUP(X509, x509, X509_free);

enum { FILES_MAX = 10000, FILE_MAX_BYTES = 64 << 10, DER_FIRST_BYTE = 0x30 };

static void close_folder(DIR **folder)
{
    if (*folder) {
        (void)closedir(*folder);
    }
}

static int refuse(const char *path, struct error *err, const char *why)
{
    ERR_clear_error();
    return error_set(err, ERROR_INVALID_ARGUMENT, "reading EK CA certificates from %s: %s", path,
                     why);
}

static int add(X509_STORE *anchors, X509 *certificate, const char *path, size_t *count,
               struct error *err)
{
    if (X509_STORE_add_cert(anchors, certificate) != 1) {
        return error_set_openssl(err, ERROR_INTERNAL, "adding the certificate in %s", path);
    }
    (*count)++;
    return 0;
}

static int add_der(X509_STORE *anchors, struct bytes contents, const char *path, size_t *count,
                   struct error *err)
{
    size_t size = 0;
    _cleanup_(x509_cleanup) X509 *certificate = NULL;
    if (ek_certificate_parse(contents, &certificate, &size, NULL) < 0 || size != contents.size) {
        return refuse(path, err, "it is neither a certificate in DER nor PEM");
    }
    return add(anchors, certificate, path, count, err);
}

static int add_pem(X509_STORE *anchors, struct bytes contents, const char *path, size_t *count,
                   struct error *err)
{
    size_t found = 0;
    struct reader reader = reader_of(contents);
    for (;;) {
        _cleanup_(x509_cleanup) X509 *certificate = NULL;
        int got = pem_certificate_next(&reader, &certificate);
        if (got < 0) {
            return refuse(path, err, "a certificate in it is damaged");
        }
        if (got == 0) {
            break;
        }
        TRY(add(anchors, certificate, path, &found, err));
    }
    if (found == 0) {
        return refuse(path, err, "it holds no certificate; remove it, or put one in (PEM or DER)");
    }
    ERR_clear_error();
    *count += found;
    return 0;
}

static int add_file(X509_STORE *anchors, const char *path, size_t *count, struct error *err)
{
    struct stat status;
    _cleanup_(buffer_clear) struct buffer contents = {0};
    if (stat(path, &status) < 0) {
        return error_set_errno(err, errno, "reading EK CA certificates from %s", path);
    }
    if (!S_ISREG(status.st_mode)) {
        return refuse(path, err, "it is not a file; put the certificates into the folder itself");
    }
    TRY(buffer_read_file(path, FILE_MAX_BYTES, &contents, err));
    const bool is_der = contents.size > 0 && contents.data[0] == DER_FIRST_BYTE;
    ERR_clear_error();
    return is_der ? add_der(anchors, buffer_bytes(&contents), path, count, err)
                  : add_pem(anchors, buffer_bytes(&contents), path, count, err);
}

static int add_entries(X509_STORE *anchors, DIR *folder, const char *path, size_t *count,
                       struct error *err)
{
    size_t files = 0;
    errno = 0;
    for (const struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        if (++files > FILES_MAX) {
            return error_set(
                err, ERROR_INVALID_ARGUMENT,
                "reading EK CA certificates from %s: the folder has more than %d files", path,
                FILES_MAX);
        }
        _cleanup_(free_cleanup) char *file = file_join(path, entry->d_name);
        TRY(add_file(anchors, file, count, err));
        errno = 0;
    }
    return errno ? error_set_errno(err, errno, "reading the folder %s", path) : 0;
}

int ek_anchors_load(X509_STORE *anchors, const char *path, size_t *ret_count, struct error *err)
{
    size_t count = 0;
    _cleanup_(close_folder) DIR *folder = opendir(path);
    if (!folder) {
        return error_set_errno(err, errno, "opening the folder of EK CA certificates %s", path);
    }
    TRY(add_entries(anchors, folder, path, &count, err));
    if (count == 0) {
        return refuse(path, err,
                      "the folder is empty; put the certificates of the TPM manufacturers' CAs "
                      "into it");
    }
    *ret_count += count;
    return 0;
}
