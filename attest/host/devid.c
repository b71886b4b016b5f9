#include "attest/host/devid.h"

#include <sys/stat.h>

#include "attest/host/devid_files.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

static int write_file(const char *folder, const char *name, const struct buffer *contents,
                      struct error *err)
{
    _cleanup_(free_cleanup) char *path = file_join(folder, name);
    return file_write_atomic(path, buffer_bytes(contents), 0600, err);
}

static int refuse_existing(const char *folder, struct error *err)
{
    struct stat status;
    _cleanup_(free_cleanup) char *path = file_join(folder, DEVID_PUBLIC_FILE);
    if (stat(path, &status) == 0) {
        return error_set(err, ERROR_ALREADY_EXISTS,
                         "there is one in %s already; remove its files, or choose another folder",
                         folder);
    }
    return 0;
}

/* The public blob comes last: with it there is a key. */
static int write_key(const struct devid_key *key, const char *folder, struct error *err)
{
    _cleanup_(buffer_clear) struct buffer public = {0};
    _cleanup_(buffer_clear) struct buffer private = {0};
    TRY(devid_key_blobs(key, &public, &private, err));
    TRY(write_file(folder, DEVID_PRIVATE_FILE, &private, err));
    return write_file(folder, DEVID_PUBLIC_FILE, &public, err);
}

static int init(struct tpm_device *device, const char *folder, enum key_type type,
                struct error *err)
{
    _cleanup_(devid_key_close_cleanup) struct devid_key *key = NULL;
    TRY(file_make_folder(folder, 0755, err));
    TRY(refuse_existing(folder, err));
    TRY(devid_key_new(device, type, &key, err));
    return write_key(key, folder, err);
}

int devid_init(struct tpm_device *device, const char *folder, enum key_type type, struct error *err)
{
    return init(device, folder, type, err) < 0 ? error_prepend(err, "making a DevID's key") : 0;
}

static int read_file(const char *folder, const char *name, struct buffer *ret_contents,
                     struct error *err)
{
    _cleanup_(free_cleanup) char *path = file_join(folder, name);
    return buffer_read_file(path, DEVID_BLOB_MAX_BYTES, ret_contents, err);
}

int devid_files_open(struct tpm_device *device, const char *folder, struct devid_key **ret_key,
                     struct error *err)
{
    _cleanup_(buffer_clear) struct buffer public = {0};
    _cleanup_(buffer_clear) struct buffer private = {0};
    if (read_file(folder, DEVID_PUBLIC_FILE, &public, err) < 0 ||
        read_file(folder, DEVID_PRIVATE_FILE, &private, err) < 0 ||
        devid_key_open(device, buffer_bytes(&public), buffer_bytes(&private), ret_key, err) < 0) {
        return error_prepend(err, "opening the DevID's key in %s", folder);
    }
    return 0;
}
