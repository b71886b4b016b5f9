#include <string.h>

#include "attest/facts_boot.h"
#include "lib/base/memory.h"

char *boot_printable(struct bytes bytes)
{
    static const char digits[] = "0123456789abcdef";
    char value[FACT_VALUE_MAX_BYTES + 1];
    size_t size = 0;
    for (size_t i = 0; i < bytes.size; i++) {
        const uint8_t byte = bytes.data[i];
        const bool is_plain = byte >= ' ' && byte <= '~' && byte != '\\';
        if (size + (is_plain ? 1 : 4) > FACT_VALUE_MAX_BYTES) {
            return NULL;
        }
        if (is_plain) {
            value[size++] = (char)byte;
            continue;
        }
        value[size++] = '\\';
        value[size++] = 'x';
        value[size++] = digits[byte >> 4];
        value[size++] = digits[byte & 15];
    }
    value[size] = 0;
    return memory_copy_text(value);
}

/* A unit alone, surrogates too: what is meant is that different texts stay different. */
static void append_utf8(struct buffer *buffer, uint16_t unit)
{
    if (unit < 0x80) {
        buffer_append_u8(buffer, (uint8_t)unit);
    } else if (unit < 0x800) {
        buffer_append_u8(buffer, (uint8_t)(0xc0 | unit >> 6));
        buffer_append_u8(buffer, (uint8_t)(0x80 | (unit & 0x3f)));
    } else {
        buffer_append_u8(buffer, (uint8_t)(0xe0 | unit >> 12));
        buffer_append_u8(buffer, (uint8_t)(0x80 | (unit >> 6 & 0x3f)));
        buffer_append_u8(buffer, (uint8_t)(0x80 | (unit & 0x3f)));
    }
}

char *boot_printable_utf16(struct bytes bytes)
{
    _cleanup_(buffer_clear) struct buffer text = {0};
    struct reader reader = reader_of(bytes);
    if (bytes.size % 2 != 0 || bytes.size > (size_t)2 * (FACT_VALUE_MAX_BYTES + 1)) {
        return NULL;
    }
    while (reader.rest.size > 0) {
        const uint16_t unit = reader_u16_le(&reader);
        if (unit == 0) {
            return reader.rest.size == 0 ? boot_printable(buffer_bytes(&text)) : NULL;
        }
        append_utf8(&text, unit);
    }
    return NULL;
}

char *boot_digest_text(const struct hash_algorithm *hash, struct bytes digest)
{
    _cleanup_(free_cleanup) char *hex = text_hex(digest);
    return text_format("%s:%s", hash->name, hex);
}
