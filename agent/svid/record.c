#include "agent/svid/record.h"

#include <string.h>

#include "agent/svid/svid.h"
#include "lib/base/memory.h"

enum { RECORD_BYTES_MAX = 1 << 20, GENERATIONS_MAX = 16 };

static char *text_of(struct bytes bytes)
{
    return text_format("%.*s", (int)bytes.size, bytes.size > 0 ? (const char *)bytes.data : "");
}

static bool can_outlive(const struct svid_x509 *svid)
{
    _cleanup_(buffer_clear) struct buffer reference = {0};
    if (svid->protection != KEY_PROTECTION_HARDWARE || !key_is_alive(svid->key)) {
        return false;
    }
    key_reference(svid->key, &reference);
    return reference.size > 0;
}

static void append_generation(const struct svid_x509 *svid, struct buffer *to)
{
    _cleanup_(buffer_clear) struct buffer reference = {0};
    key_reference(svid->key, &reference);
    buffer_append_sized(to, bytes_of_text(keystore_name(key_keystore(svid->key))));
    buffer_append_u8(to, (uint8_t)key_type(svid->key));
    buffer_append_sized(to, buffer_bytes(&reference));
    buffer_append_sized(to, buffer_bytes(&svid->chain));
    buffer_append_sized(to, bytes_of_text(svid->serial));
    buffer_append_u64(to, (uint64_t)svid->not_before_s);
    buffer_append_u64(to, (uint64_t)svid->expires_at_s);
}

void record_append(const struct svid_x509 *svid, struct buffer *records)
{
    _cleanup_(buffer_clear) struct buffer generations = {0};
    uint8_t count = 0;
    for (const struct svid_x509 *at = svid; at && can_outlive(at) && count < GENERATIONS_MAX;
         at = at->previous) {
        append_generation(at, &generations);
        count++;
    }
    if (count == 0) {
        return;
    }
    _cleanup_(buffer_clear) struct buffer record = {0};
    buffer_append_sized(&record, bytes_of_text(svid->entry->id));
    buffer_append_sized(&record, bytes_of_text(svid->entry->spiffe_id));
    buffer_append_u8(&record, count);
    buffer_append(&record, generations.data, generations.size);
    buffer_append_sized(records, buffer_bytes(&record));
}

static struct keystore *find_keystore(const struct manager_keystore *keystores, size_t count,
                                      struct bytes name)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes_is_equal(bytes_of_text(keystores[i].name), name)) {
            return keystores[i].keystore;
        }
    }
    return NULL;
}

static int read_generation(struct reader *reader, const struct manager_keystore *keystores,
                           size_t keystore_count, struct svid_x509 **ret_svid, struct error *err)
{
    static const uint8_t any_id[16];
    struct keystore *keystore = find_keystore(keystores, keystore_count, reader_sized(reader));
    uint8_t type = reader_u8(reader);
    struct bytes reference = reader_sized(reader);
    struct bytes chain = reader_sized(reader);
    _cleanup_(free_cleanup) char *serial = text_of(reader_sized(reader));
    int64_t not_before_s = (int64_t)reader_u64(reader);
    int64_t expires_at_s = (int64_t)reader_u64(reader);
    struct key *key = NULL;
    if (reader->is_bad || type >= KEY_TYPE_COUNT) {
        return error_set(err, ERROR_DATA_LOSS,
                         "reading an SVID that an earlier process left: its "
                         "bytes are damaged");
    }
    if (!keystore) {
        return error_set(err, ERROR_NOT_FOUND, "its keystore is no longer configured");
    }
    TRY(keystore_key_open(keystore, (enum key_type)type, any_id, reference, &key, err));
    *ret_svid = svid_x509_restore(key, chain, take_ptr(serial), not_before_s, expires_at_s);
    return 0;
}

static int read_generations(struct reader *reader, const struct manager_keystore *keystores,
                            size_t keystore_count, struct svid_x509 **ret_newest, struct error *err)
{
    size_t count = reader_u8(reader);
    struct svid_x509 *newest = NULL;
    struct svid_x509 **place = &newest;
    int result = 0;
    for (size_t i = 0; i < count && result == 0; i++) {
        result = read_generation(reader, keystores, keystore_count, place, err);
        place = *place ? &(*place)->previous : place;
    }
    /* The newest alone is worth having. */
    if (!newest) {
        return result < 0 ? result : error_set(err, ERROR_DATA_LOSS, "an SVID without a key");
    }
    *ret_newest = newest;
    return 0;
}

int record_read(struct reader *reader, const struct manager_keystore *keystores,
                size_t keystore_count, struct svid_record *ret_record, struct error *err)
{
    struct reader record = reader_of(reader_sized(reader));
    struct bytes entry_id = reader_sized(&record);
    struct bytes spiffe_id = reader_sized(&record);
    struct svid_x509 *svid = NULL;
    if (reader->is_bad || record.is_bad || record.rest.size > RECORD_BYTES_MAX) {
        return error_set(err, ERROR_DATA_LOSS,
                         "reading the SVIDs that an earlier process left: they are damaged");
    }
    if (read_generations(&record, keystores, keystore_count, &svid, err) < 0) {
        err->code = ERROR_NOT_FOUND;
        return -1;
    }
    *ret_record = (struct svid_record){text_of(entry_id), text_of(spiffe_id), svid};
    return 0;
}

void svid_record_clear(struct svid_record *record)
{
    free(record->entry_id);
    free(record->spiffe_id);
    if (record->svid) {
        svid_x509_unref(record->svid);
    }
    *record = (struct svid_record){0};
}
