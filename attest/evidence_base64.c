#include "attest/evidence_scan.h"

/* lib/base decodes base64 in constant time, for secrets, at a tenth of the speed; what is read here
 * is public and large. */

/* The letter's value plus one; 0: no letter of base64. */
static const uint8_t values[256] = {
    ['A'] = 1,  ['B'] = 2,  ['C'] = 3,  ['D'] = 4,  ['E'] = 5,  ['F'] = 6,  ['G'] = 7,  ['H'] = 8,
    ['I'] = 9,  ['J'] = 10, ['K'] = 11, ['L'] = 12, ['M'] = 13, ['N'] = 14, ['O'] = 15, ['P'] = 16,
    ['Q'] = 17, ['R'] = 18, ['S'] = 19, ['T'] = 20, ['U'] = 21, ['V'] = 22, ['W'] = 23, ['X'] = 24,
    ['Y'] = 25, ['Z'] = 26, ['a'] = 27, ['b'] = 28, ['c'] = 29, ['d'] = 30, ['e'] = 31, ['f'] = 32,
    ['g'] = 33, ['h'] = 34, ['i'] = 35, ['j'] = 36, ['k'] = 37, ['l'] = 38, ['m'] = 39, ['n'] = 40,
    ['o'] = 41, ['p'] = 42, ['q'] = 43, ['r'] = 44, ['s'] = 45, ['t'] = 46, ['u'] = 47, ['v'] = 48,
    ['w'] = 49, ['x'] = 50, ['y'] = 51, ['z'] = 52, ['0'] = 53, ['1'] = 54, ['2'] = 55, ['3'] = 56,
    ['4'] = 57, ['5'] = 58, ['6'] = 59, ['7'] = 60, ['8'] = 61, ['9'] = 62, ['+'] = 63, ['/'] = 64,
};

/* Up to four letters; missing ones count as zeros. ret_bad gathers what is no letter. */
static uint32_t decode_four(const uint8_t *letters, size_t count, uint32_t *ret_bad)
{
    uint32_t bits = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t value = values[letters[i]];
        *ret_bad |= value == 0;
        bits |= ((value - 1) & 63) << (18 - 6 * i);
    }
    return bits;
}

static size_t padding_of(struct bytes text)
{
    if (text.size == 0 || text.data[text.size - 1] != '=') {
        return 0;
    }
    return text.data[text.size - 2] == '=' ? 2 : 1;
}

/* RFC 4648 4. Bits that stand for nothing must be zero, so that bytes have one encoding. */
static bool decode(struct bytes text, uint8_t *to)
{
    size_t padding = padding_of(text);
    uint32_t is_bad = 0;
    size_t whole = text.size - (padding ? 4 : 0);
    for (size_t i = 0; i < whole; i += 4) {
        uint32_t bits = decode_four(text.data + i, 4, &is_bad);
        *to++ = (uint8_t)(bits >> 16);
        *to++ = (uint8_t)(bits >> 8);
        *to++ = (uint8_t)bits;
    }
    if (padding) {
        uint32_t bits = decode_four(text.data + whole, 4 - padding, &is_bad);
        *to++ = (uint8_t)(bits >> 16);
        if (padding == 1) {
            *to = (uint8_t)(bits >> 8);
        }
        is_bad |= (bits & (padding == 1 ? 0xff : 0xffff)) != 0;
    }
    return !is_bad;
}

int scan_base64(struct scan *scan, const struct scan_member *member, void *field)
{
    struct bytes text = {0};
    TRY(scan_text(scan, &text));
    if (text.size % 4 != 0) {
        return scan_refuse(scan, "it is not base64 with padding");
    }
    size_t size = text.size / 4 * 3 - padding_of(text);
    if (size < member->minimum || size > member->maximum) {
        return error_set(scan->err, ERROR_INVALID_ARGUMENT,
                         "reading \"%s\": it has %zu bytes, and %zu to %zu are allowed",
                         scan->where, size, member->minimum, member->maximum);
    }
    if (!decode(text, buffer_extend(field, size))) {
        return scan_refuse(scan, "it is not base64 with padding");
    }
    return 0;
}
