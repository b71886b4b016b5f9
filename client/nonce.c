#include "client/nonce.h"

#include <sodium.h>
#include <string.h>

#include "attest/evidence.h"
#include "lib/base/text.h"

#define HOW_TO_MAKE_ONE "make one by: openssl rand -hex 16"

enum { TEXT_MAX = 2 * EVIDENCE_NONCE_MAX_BYTES + 16 };

static bool decode_hex(const char *text, uint8_t ret_bytes[TEXT_MAX], size_t *ret_size)
{
    const char *end = NULL;
    return sodium_hex2bin(ret_bytes, TEXT_MAX, text, strlen(text), NULL, ret_size, &end) == 0 &&
           *end == '\0';
}

static bool decode_base64(const char *text, uint8_t ret_bytes[TEXT_MAX], size_t *ret_size)
{
    static const int variants[] = {
        sodium_base64_VARIANT_ORIGINAL, sodium_base64_VARIANT_ORIGINAL_NO_PADDING,
        sodium_base64_VARIANT_URLSAFE, sodium_base64_VARIANT_URLSAFE_NO_PADDING};
    for (size_t i = 0; i < ARRAY_SIZE(variants); i++) {
        const char *end = NULL;
        if (sodium_base642bin(ret_bytes, TEXT_MAX, text, strlen(text), NULL, ret_size, &end,
                              variants[i]) == 0 &&
            *end == '\0') {
            return true;
        }
    }
    return false;
}

int nonce_parse(const char *text, struct buffer *ret_nonce, struct error *err)
{
    static const char prefix[] = "base64:";
    bool is_base64 = strncmp(text, prefix, strlen(prefix)) == 0;
    uint8_t bytes[TEXT_MAX];
    size_t size = 0;
    if (strlen(text) >= TEXT_MAX || !(is_base64 ? decode_base64(text + strlen(prefix), bytes, &size)
                                                : decode_hex(text, bytes, &size))) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "\"%.80s\" is not an even number of hexadecimal digits, nor base64: and "
                         "base64, for %d to %d bytes; " HOW_TO_MAKE_ONE,
                         text, EVIDENCE_NONCE_MIN_BYTES, EVIDENCE_NONCE_MAX_BYTES);
    }
    if (size < EVIDENCE_NONCE_MIN_BYTES || size > EVIDENCE_NONCE_MAX_BYTES) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "\"%s\" stands for %zu bytes and not for %d to %d; " HOW_TO_MAKE_ONE, text,
                         size, EVIDENCE_NONCE_MIN_BYTES, EVIDENCE_NONCE_MAX_BYTES);
    }
    buffer_append(ret_nonce, bytes, size);
    return 0;
}

int nonce_set(void *field, const char *text, struct error *err)
{
    struct buffer *nonce = field;
    buffer_reset(nonce);
    return nonce_parse(text, nonce, err);
}
