#include "agent/audit/head_key.h"

#include <jansson.h>
#include <sodium.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "lib/base/text.h"

enum { FILE_MAX_BYTES = 65536, FILE_MODE = 0600 };

/* What the file says. */
struct saved_key {
    char *keystore;
    uint8_t id[16];
    struct buffer reference; /* empty: the agent died while the key was made */
};

static void saved_key_clear(struct saved_key *saved)
{
    free(saved->keystore);
    buffer_clear(&saved->reference);
}

static void decref_cleanup(json_t **json)
{
    json_decref(*json);
}

static int write_file(const char *path, const char *keystore, const uint8_t id[16],
                      struct bytes reference, struct error *err)
{
    _cleanup_(free_cleanup) char *hex = text_hex((struct bytes){id, 16});
    _cleanup_(free_cleanup) char *encoded = text_base64url(reference);
    _cleanup_(decref_cleanup) json_t *root =
        json_pack("{s:s, s:s, s:s}", "keystore", keystore, "id", hex, "reference", encoded);
    _cleanup_(free_cleanup) char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
    if (!text) {
        return error_set(err, ERROR_INTERNAL, "writing %s: the keystore's name is not UTF-8", path);
    }
    return file_write_atomic(path, bytes_of_text(text), FILE_MODE, err);
}

static int read_file(const char *path, struct saved_key *ret_saved, struct error *err)
{
    _cleanup_(buffer_clear) struct buffer contents = {0};
    TRY(buffer_read_file(path, FILE_MAX_BYTES, &contents, err));
    _cleanup_(decref_cleanup) json_t *root =
        json_loadb((const char *)contents.data, contents.size, JSON_REJECT_DUPLICATES, NULL);
    const char *keystore = NULL;
    const char *id = NULL;
    const char *reference = NULL;
    size_t id_size = 0;
    if (!root ||
        json_unpack(root, "{s:s, s:s, s:s}", "keystore", &keystore, "id", &id, "reference",
                    &reference) < 0 ||
        sodium_hex2bin(ret_saved->id, sizeof(ret_saved->id), id, strlen(id), NULL, &id_size,
                       NULL) != 0 ||
        id_size != sizeof(ret_saved->id) ||
        text_base64url_decode(reference, strlen(reference), &ret_saved->reference, err) < 0) {
        return error_set(err, ERROR_DATA_LOSS, "reading %s: it does not name a key", path);
    }
    ret_saved->keystore = memory_copy_text(keystore);
    return 0;
}

/* Makes the key. Its id is on disk before the key is in the hardware, so that a crash in between
 * leaves nothing behind that nobody knows. */
static int make_key(struct keystore *keystore, const char *path, struct audit_head_key *key,
                    struct error *err)
{
    _cleanup_(buffer_clear) struct buffer reference = {0};
    const char *name = keystore_name(keystore);
    key->is_lasting = keystore_protection(keystore) == KEY_PROTECTION_HARDWARE;
    if (!key->is_lasting) {
        return keystore_key_generate(keystore, KEY_TYPE_EC_P256, NULL, KEYSTORE_PRIORITY_ISSUE,
                                     &key->key, err);
    }
    randombytes_buf(key->id, sizeof(key->id));
    TRY(write_file(path, name, key->id, (struct bytes){0}, err));
    TRY(keystore_key_generate(keystore, KEY_TYPE_EC_P256, key->id, KEYSTORE_PRIORITY_ISSUE,
                              &key->key, err));
    key_reference(key->key, &reference);
    if (write_file(path, name, key->id, buffer_bytes(&reference), err) < 0) {
        /* It could not be found again: the next try makes another. */
        (void)keystore_destroy_id(keystore, key->id, NULL);
        audit_head_key_clear(key);
        return -1;
    }
    return 0;
}

/* Opens what the file names. Sets ret_why, the caller frees it, where a new key is needed instead.
 */
static int open_saved(struct keystore *keystore, const char *path, struct audit_head_key *key,
                      char **ret_why, struct error *err)
{
    _cleanup_(saved_key_clear) struct saved_key saved = {0};
    struct error failure;
    if (read_file(path, &saved, &failure) < 0) {
        *ret_why = failure.code == ERROR_NOT_FOUND ? memory_copy_text("there was none")
                                                   : memory_copy_text(failure.text);
        return 0;
    }
    if (strcmp(saved.keystore, keystore_name(keystore)) != 0) {
        *ret_why = text_format("the one before is in the keystore \"%s\"", saved.keystore);
        return 0;
    }
    if (saved.reference.size == 0) {
        *ret_why = memory_copy_text("the agent ended while the one before was being made");
        return keystore_destroy_id(keystore, saved.id, err);
    }
    if (keystore_key_open(keystore, KEY_TYPE_EC_P256, saved.id, buffer_bytes(&saved.reference),
                          &key->key, &failure) == 0) {
        memcpy(key->id, saved.id, sizeof(key->id));
        key->is_lasting = true;
        return 0;
    }
    if (failure.code != ERROR_NOT_FOUND && failure.code != ERROR_DATA_LOSS) {
        *err = failure;
        return -1;
    }
    *ret_why = memory_copy_text(failure.text);
    return 0;
}

static int open_or_make(struct keystore *keystore, const char *path, struct audit_head_key *key,
                        char **ret_why, struct error *err)
{
    if (keystore_protection(keystore) != KEY_PROTECTION_HARDWARE) {
        *ret_why = memory_copy_text("the keystore forgets its keys with the process");
    } else {
        TRY(open_saved(keystore, path, key, ret_why, err));
    }
    return key->key ? 0 : make_key(keystore, path, key, err);
}

int audit_head_key_open(struct keystore *keystore, const char *path, struct audit_head_key *ret_key,
                        char **ret_notice, struct error *err)
{
    _cleanup_(audit_head_key_clear) struct audit_head_key key = {0};
    _cleanup_(free_cleanup) char *why = NULL;
    if (open_or_make(keystore, path, &key, &why, err) < 0) {
        return error_prepend(err, "opening the key that signs heads of the audit log");
    }
    if (why) {
        _cleanup_(free_cleanup) char *hex = text_hex((struct bytes){key_id(key.key), KEY_ID_BYTES});
        *ret_notice = text_format("heads are signed by the new key %s in the keystore \"%s\": %s",
                                  hex, keystore_name(keystore), why);
    }
    *ret_key = key;
    key = (struct audit_head_key){0};
    return 0;
}

int audit_head_key_keep(const struct audit_head_key *key, const char *path, struct error *err)
{
    _cleanup_(buffer_clear) struct buffer reference = {0};
    if (!key->is_lasting || access(path, F_OK) == 0) {
        return 0;
    }
    key_reference(key->key, &reference);
    return write_file(path, keystore_name(key_keystore(key->key)), key->id,
                      buffer_bytes(&reference), err);
}

void audit_head_key_clear(struct audit_head_key *key)
{
    if (key->key) {
        key_unref(key->key);
    }
    *key = (struct audit_head_key){0};
}
