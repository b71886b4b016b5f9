/* Secure boot, from PCR 7 alone (TCG PFP 3.3.4.8). */
#include <string.h>

#include "attest/facts_boot.h"
#include "lib/base/memory.h"

enum { PCR_SECURE_BOOT = 7, GUID_BYTES = 16, NAME_UNITS_MAX = 16 };

static const uint8_t global_guid[GUID_BYTES] = {0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11,
                                                0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c};
static const uint8_t database_guid[GUID_BYTES] = {0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45,
                                                  0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f};

/* UEFI_VARIABLE_DATA of TCG PFP 10.2.6. */
struct variable {
    struct bytes guid;
    char name[NAME_UNITS_MAX + 1];
    struct bytes data;
};

static bool read_u64_size(struct reader *reader, size_t *ret_size)
{
    *ret_size = reader_u32_le(reader);
    return reader_u32_le(reader) == 0;
}

/* The whole of it, nothing after; names that are longer or not ASCII are none of ours. */
static bool parse_variable(struct bytes bytes, struct variable *ret_variable)
{
    struct reader reader = reader_of(bytes);
    size_t units, size;
    *ret_variable = (struct variable){.guid = reader_bytes(&reader, GUID_BYTES)};
    const bool is_short = read_u64_size(&reader, &units) && read_u64_size(&reader, &size);
    if (reader.is_bad || !is_short || units == 0 || units > NAME_UNITS_MAX) {
        return false;
    }
    for (size_t i = 0; i < units; i++) {
        const uint16_t unit = reader_u16_le(&reader);
        if (unit <= ' ' || unit > '~') {
            return false;
        }
        ret_variable->name[i] = (char)unit;
    }
    ret_variable->data = reader_bytes(&reader, size);
    return reader_is_done(&reader);
}

static bool is_variable(const struct variable *variable, const uint8_t *guid, const char *name)
{
    return bytes_is_equal(variable->guid, (struct bytes){guid, GUID_BYTES}) &&
           strcmp(variable->name, name) == 0;
}

static bool was_measured(const struct boot *boot, const struct register_log *log,
                         const uint8_t *data, size_t size)
{
    const struct bytes whole = {data, size};
    return boot_find(boot, log, log->separator, whole) < log->separator;
}

/* Vouched for by: the digest itself. There are three things that firmware can say of the variable
 * SecureBoot (1, 0, not there), so their digests are known beforehand and are looked for before the
 * separator: no rewritten type or data can hide the one that is there, and nothing after the boot
 * can add one. Firmware that said both says nothing. Returns whether it is on. */
static bool draw_state(struct boot *boot, const struct register_log *log)
{
    uint8_t data[GUID_BYTES + 16 + 20 + 1] = {0};
    const char name[] = "SecureBoot";
    const size_t absent = sizeof(data) - 1;
    memcpy(data, global_guid, GUID_BYTES);
    data[GUID_BYTES] = sizeof(name) - 1;
    for (size_t i = 0; i < sizeof(name) - 1; i++) {
        data[GUID_BYTES + 16 + 2 * i] = (uint8_t)name[i];
    }
    bool is_off = was_measured(boot, log, data, absent);
    data[GUID_BYTES + 8] = 1; /* bytes of data */
    is_off = was_measured(boot, log, data, sizeof(data)) || is_off;
    data[absent] = 1;
    const bool is_on = was_measured(boot, log, data, sizeof(data));
    if (is_on != is_off) {
        boot_add_fact(boot, "secure_boot", PCR_SECURE_BOOT, memory_copy_text(is_on ? "on" : "off"));
    }
    return is_on && !is_off;
}

static char *sha256_text(struct bytes data)
{
    const struct hash_algorithm *sha256 = hash_by_id(TPM2_ALG_SHA256);
    uint8_t digest[HASH_MAX_BYTES];
    return hash_compute(sha256, &data, 1, digest, NULL) < 0
               ? NULL
               : boot_digest_text(sha256, (struct bytes){digest, sha256->size});
}

/* UEFI 32.4.1, a row of EFI_SIGNATURE_LIST, as a key database is. The single entry of db that
 * vouched for an image has the name "db" too and is none. */
static bool is_signature_lists(struct bytes data)
{
    enum { HEADER_BYTES = GUID_BYTES + 3 * 4 };
    struct reader reader = reader_of(data);
    while (reader.rest.size > 0 && !reader.is_bad) {
        (void)reader_bytes(&reader, GUID_BYTES);
        const uint32_t size = reader_u32_le(&reader);
        if (size < HEADER_BYTES) {
            return false;
        }
        (void)reader_bytes(&reader, size - GUID_BYTES - 4);
    }
    return reader_is_done(&reader);
}

static bool is_all_covered(const struct boot *boot, const struct register_log *log)
{
    for (size_t i = 0; i < log->separator; i++) {
        if (!boot_is_covered(boot, &log->items[i])) {
            return false;
        }
    }
    return true;
}

/* Vouched for by: the digest is the hash of the whole UEFI_VARIABLE_DATA, name and GUID with it,
 * before the separator. One that is measured twice with different contents is left out. */
static void draw_database(struct boot *boot, const struct register_log *log, const uint8_t *guid,
                          const char *name)
{
    struct variable variable;
    struct bytes found = {0};
    bool is_found = false;
    for (size_t i = 0; i < log->separator; i++) {
        if (!parse_variable(log->items[i].event->data, &variable) ||
            !is_variable(&variable, guid, name) || !is_signature_lists(variable.data)) {
            continue;
        }
        if (is_found && !bytes_is_equal(found, variable.data)) {
            return;
        }
        is_found = true;
        found = variable.data;
    }
    if (is_found) {
        _cleanup_(free_cleanup) char *fact = text_format("secure_boot.%s", name);
        boot_add_fact(boot, fact, PCR_SECURE_BOOT, sha256_text(found));
    }
}

static void draw_databases(struct boot *boot, const struct register_log *log)
{
    static const struct {
        const uint8_t *guid;
        const char *name;
    } databases[] = {
        {global_guid, "PK"},
        {global_guid, "KEK"},
        {database_guid, "db"},
        {database_guid, "dbx"},
    };
    /* Else a second, later measurement of one of them could be hidden behind other data. */
    if (!is_all_covered(boot, log)) {
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(databases); i++) {
        draw_database(boot, log, databases[i].guid, databases[i].name);
    }
}

/* Vouched for by: the digest is the hash of the whole UEFI_VARIABLE_DATA and it is the first event
 * after the separator, while secure boot is on: then the firmware measured it before it started
 * the first image. With secure boot off, and further down, it may be anybody's. */
static void draw_authority(struct boot *boot, const struct register_log *log)
{
    const size_t first = log->separator + 1;
    struct variable variable;
    if (first < log->count && boot_is_covered(boot, &log->items[first]) &&
        parse_variable(log->items[first].event->data, &variable) &&
        is_variable(&variable, database_guid, "db")) {
        boot_add_fact(boot, "secure_boot.authority", PCR_SECURE_BOOT, sha256_text(variable.data));
    }
}

void boot_draw_secure_boot(struct boot *boot)
{
    const struct register_log *log = boot_register(boot, PCR_SECURE_BOOT);
    if (!log || log->separator == log->count) {
        return;
    }
    const bool is_on = draw_state(boot, log);
    draw_databases(boot, log);
    if (is_on) {
        draw_authority(boot, log);
    }
}
