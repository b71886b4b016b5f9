/* What the firmware measured: its version, its separators, the images that it started. */
#include <string.h>

#include "attest/facts_boot.h"
#include "lib/base/memory.h"

enum { PCR_FIRMWARE = 0, PCR_IMAGES = 4, PCR_FIRMWARE_LAST = 7 };
enum { TYPE_S_CRTM_VERSION = 8, GUID_BYTES = 16 };

/* "complete" says: in each quoted register of the firmware there is the place where it ended. */
static void draw_separators(struct boot *boot)
{
    bool is_complete = true;
    unsigned first = PCR_FIRMWARE_LAST + 1;
    for (unsigned pcr = PCR_FIRMWARE_LAST + 1; pcr-- > 0;) {
        const struct register_log *log = boot_register(boot, pcr);
        first = log ? pcr : first;
        is_complete = is_complete && (!log || log->separator < log->count);
    }
    if (first <= PCR_FIRMWARE_LAST) {
        boot_add_fact(boot, "separators", first,
                      memory_copy_text(is_complete ? "complete" : "missing"));
    }
}

/* RFC 4122 with the first three fields turned, as UEFI writes it. */
static char *guid_text(struct bytes guid)
{
    struct reader reader = reader_of(guid);
    const uint32_t low = reader_u32_le(&reader);
    const uint16_t mid = reader_u16_le(&reader);
    const uint16_t high = reader_u16_le(&reader);
    const uint16_t clock = reader_u16(&reader);
    _cleanup_(free_cleanup) char *node = text_hex(reader.rest);
    return text_format("%08x-%04x-%04x-%04x-%s", low, mid, high, clock, node);
}

/* UTF-16 as the standard wants it, a GUID (which may look like UTF-16 that nobody would write), or
 * whatever else the vendor has. */
static char *version_text(struct bytes data)
{
    _cleanup_(free_cleanup) char *text = boot_printable_utf16(data);
    if (text && text[0] && (data.size != GUID_BYTES || !strchr(text, '\\'))) {
        return take_ptr(text);
    }
    if (data.size == 0 || (text && !text[0])) {
        return NULL; /* nobody gave it a name */
    }
    if (data.size == GUID_BYTES) {
        return guid_text(data);
    }
    if (data.data[data.size - 1] == 0) {
        data.size--;
    }
    return boot_printable(data);
}

/* Vouched for by: the digest in PCR 0 is the data's hash, before the separator, so the firmware
 * wrote it. A type can be rewritten, so only the first event there that its data explains counts
 * (the standard has the version first; Boot Guard's event before it has a digest of its own). An
 * attacker can at most have no version shown, or what the firmware measured next, as the type says
 * so. */
static void draw_version(struct boot *boot)
{
    const struct register_log *log = boot_register(boot, PCR_FIRMWARE);
    for (size_t i = 0; log && log->separator < log->count && i < log->separator; i++) {
        const struct measurement *item = &log->items[i];
        if (!boot_is_covered(boot, item)) {
            continue;
        }
        if (item->event->type == TYPE_S_CRTM_VERSION) {
            boot_add_fact(boot, "firmware_version", PCR_FIRMWARE, version_text(item->event->data));
        }
        return;
    }
}

/* What the firmware says beside the images; known by the digest, for an image's own bytes could be
 * put into the log as if they were such a text. */
static const char *const remarks[] = {
    "Calling EFI Application from Boot Option",
    "Returning from EFI Application from Boot Option",
    "BOOT ATTEMPTS OMITTED",
};
enum { REMARKS = ARRAY_SIZE(remarks) };

struct remark_digests {
    uint8_t digests[REMARKS][HASH_MAX_BYTES];
};

static bool compute_remarks(const struct boot *boot, struct remark_digests *ret_digests)
{
    for (size_t i = 0; i < REMARKS; i++) {
        const struct bytes text = bytes_of_text(remarks[i]);
        if (hash_compute(boot->hash, &text, 1, ret_digests->digests[i], NULL) < 0) {
            return false;
        }
    }
    return true;
}

static bool is_remark(const struct remark_digests *known, struct bytes digest)
{
    for (size_t i = 0; i < REMARKS; i++) {
        if (bytes_is_equal(digest, (struct bytes){known->digests[i], digest.size})) {
            return true;
        }
    }
    return false;
}

static void add_application(struct boot *boot, unsigned number, struct bytes digest)
{
    _cleanup_(free_cleanup) char *name = number == 1 ? memory_copy_text("boot_application")
                                                     : text_format("boot_application.%u", number);
    boot_add_fact(boot, name, PCR_IMAGES, boot_digest_text(boot->hash, digest));
}

/* Vouched for by: the digest itself and its place after the separator of PCR 4. The first was
 * measured by the firmware before any other code ran. Each later one was measured by the one
 * before it at the earliest, so it is worth as much as those before it; that is why they carry
 * numbers: the first cannot be put after others. The device path in the data is not covered, so it
 * is not told. */
static void draw_applications(struct boot *boot)
{
    const struct register_log *log = boot_register(boot, PCR_IMAGES);
    struct remark_digests known;
    if (!log || !compute_remarks(boot, &known)) {
        return;
    }
    unsigned number = 0;
    for (size_t i = log->separator + 1; i < log->count && number < FACT_APPLICATIONS_MAX; i++) {
        if (!is_remark(&known, log->items[i].digest)) {
            add_application(boot, ++number, log->items[i].digest);
        }
    }
}

void boot_draw_firmware(struct boot *boot)
{
    draw_separators(boot);
    draw_version(boot);
    draw_applications(boot);
}
