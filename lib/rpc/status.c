#include "lib/rpc/status.h"

static bool is_plain(uint8_t byte)
{
    return byte >= 0x20 && byte <= 0x7e && byte != '%';
}

void rpc_status_encode_text(const char *text, struct buffer *to)
{
    static const char digits[] = "0123456789ABCDEF";
    struct bytes bytes = bytes_of_text(text);
    for (size_t i = 0; i < bytes.size; i++) {
        uint8_t byte = bytes.data[i];
        if (is_plain(byte)) {
            buffer_append_u8(to, byte);
        } else {
            const char escape[] = {'%', digits[byte >> 4], digits[byte & 15]};
            buffer_append(to, escape, sizeof(escape));
        }
    }
}

static int digit_value(uint8_t digit)
{
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    if (digit >= 'A' && digit <= 'F') {
        return digit - 'A' + 10;
    }
    if (digit >= 'a' && digit <= 'f') {
        return digit - 'a' + 10;
    }
    return -1;
}

/* The byte of the %XX that rest starts with, or -1. */
static int escaped_byte(struct reader rest)
{
    uint8_t percent = reader_u8(&rest);
    int high = digit_value(reader_u8(&rest));
    int low = digit_value(reader_u8(&rest));
    return percent != '%' || rest.is_bad || high < 0 || low < 0 ? -1 : high * 16 + low;
}

void rpc_status_decode_text(struct bytes value, struct buffer *to)
{
    struct reader reader = reader_of(value);
    while (!reader_is_done(&reader) && !reader.is_bad) {
        int escaped = escaped_byte(reader);
        if (escaped >= 0) {
            (void)reader_bytes(&reader, 3);
            buffer_append_u8(to, (uint8_t)escaped);
        } else {
            buffer_append_u8(to, reader_u8(&reader));
        }
    }
}

enum error_code rpc_status_parse_code(struct bytes value)
{
    unsigned code = 0;
    if (value.size < 1 || value.size > 2) {
        return ERROR_UNKNOWN;
    }
    for (size_t i = 0; i < value.size; i++) {
        if (value.data[i] < '0' || value.data[i] > '9') {
            return ERROR_UNKNOWN;
        }
        code = code * 10 + (unsigned)(value.data[i] - '0');
    }
    return code <= ERROR_UNAUTHENTICATED ? (enum error_code)code : ERROR_UNKNOWN;
}

enum error_code rpc_status_of_http(unsigned http_status)
{
    static const struct {
        unsigned http_status;
        enum error_code code;
    } codes[] = {
        {400, ERROR_INTERNAL},      {401, ERROR_UNAUTHENTICATED}, {403, ERROR_PERMISSION_DENIED},
        {404, ERROR_UNIMPLEMENTED}, {429, ERROR_UNAVAILABLE},     {502, ERROR_UNAVAILABLE},
        {503, ERROR_UNAVAILABLE},   {504, ERROR_UNAVAILABLE},
    };
    for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
        if (codes[i].http_status == http_status) {
            return codes[i].code;
        }
    }
    return ERROR_UNKNOWN;
}
