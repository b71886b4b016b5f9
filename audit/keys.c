#include "audit/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/pem.h>
#include <string.h>
#include <unistd.h>

#include "audit/files.h"
#include "audit/head.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "lib/base/pem.h"

DEFINE_CLEANUP(BIO, bio, BIO_free_all);

enum { KEY_FILE_MAX_BYTES = 4096, KEY_ID_DIGITS = 40 };

static int read_key_file(const char *folder_name, const char *name, struct buffer *ret_pem,
                         struct error *err)
{
    _cleanup_(file_close_cleanup) int folder =
        open(folder_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_(file_close_cleanup) int descriptor = -1;
    if (folder < 0) {
        return error_set_errno(err, errno, "opening the folder of keys %s", folder_name);
    }
    TRY(audit_file_open(folder, folder_name, name, O_RDONLY, &descriptor, err));
    return buffer_read_descriptor(descriptor, name, KEY_FILE_MAX_BYTES, ret_pem, err);
}

/* The bytes within the PEM block, as they are: the identifier is over them. */
static int decode_pem(struct bytes pem, struct buffer *ret_key)
{
    _cleanup_(bio_cleanup) BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.size);
    uint8_t *key = NULL;
    long size = 0;
    if (!bio ||
        PEM_bytes_read_bio(&key, &size, NULL, PEM_STRING_PUBLIC, bio, pem_no_password, NULL) != 1) {
        return -1;
    }
    buffer_append(ret_key, key, (size_t)size);
    OPENSSL_free(key);
    return 0;
}

int audit_keys_read(const char *folder, const char *key_id, struct buffer *ret_key,
                    struct error *err)
{
    _cleanup_(buffer_clear) struct buffer pem = {0};
    _cleanup_(free_cleanup) char *name = text_format("%s.pem", key_id);
    char found_id[KEY_ID_DIGITS + 1];
    size_t before = ret_key->size;
    if (strlen(key_id) != KEY_ID_DIGITS || strspn(key_id, "0123456789abcdef") != KEY_ID_DIGITS) {
        return error_set(err, ERROR_NOT_FOUND, "\"%s\" is not an identifier of a key", key_id);
    }
    TRY(read_key_file(folder, name, &pem, err));
    if (decode_pem(buffer_bytes(&pem), ret_key) < 0) {
        return error_set_openssl(err, ERROR_DATA_LOSS, "reading %s/%s: it has no PEM public key",
                                 folder, name);
    }
    audit_key_id((struct bytes){ret_key->data + before, ret_key->size - before}, found_id);
    if (strcmp(found_id, key_id) != 0) {
        ret_key->size = before;
        return error_set(err, ERROR_DATA_LOSS, "reading %s/%s: it holds the key %s", folder, name,
                         found_id);
    }
    return 0;
}

int audit_keys_write(const char *folder, struct bytes public_key, struct error *err)
{
    char key_id[KEY_ID_DIGITS + 1];
    char *pem = NULL;
    _cleanup_(bio_cleanup) BIO *bio = BIO_new(BIO_s_mem());
    _cleanup_(buffer_clear) struct buffer present = {0};
    audit_key_id(public_key, key_id);
    if (audit_keys_read(folder, key_id, &present, NULL) == 0) {
        return 0;
    }
    if (!bio ||
        PEM_write_bio(bio, PEM_STRING_PUBLIC, "", public_key.data, (long)public_key.size) <= 0) {
        return error_set_openssl(err, ERROR_INTERNAL, "writing the public key of signed heads");
    }
    long size = BIO_get_mem_data(bio, &pem);
    _cleanup_(free_cleanup) char *path = text_format("%s/%s.pem", folder, key_id);
    TRY(file_make_folder(folder, 0700, err));
    return file_write_atomic(path, (struct bytes){(const uint8_t *)pem, (size_t)size}, 0600, err);
}
