#include "lib/base/text.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/memory.h"

/* The length of the UTF-8 sequence at the front of text, 0 where there is none (RFC 3629). */
static size_t utf8_sequence_size(const uint8_t *text, size_t size)
{
    static const struct {
        uint8_t mask, lead, size;
        uint32_t minimum;
    } forms[] = {{0x80, 0x00, 1, 0},
                 {0xe0, 0xc0, 2, 0x80},
                 {0xf0, 0xe0, 3, 0x800},
                 {0xf8, 0xf0, 4, 0x10000}};
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        if ((text[0] & forms[i].mask) != forms[i].lead) {
            continue;
        }
        if (forms[i].size > size) {
            return 0;
        }
        uint32_t point = text[0] & (uint8_t)~forms[i].mask;
        for (size_t j = 1; j < forms[i].size; j++) {
            if ((text[j] & 0xc0) != 0x80) {
                return 0;
            }
            point = point << 6 | (text[j] & 0x3f);
        }
        bool is_surrogate = point >= 0xd800 && point <= 0xdfff;
        return point < forms[i].minimum || point > 0x10ffff || is_surrogate ? 0 : forms[i].size;
    }
    return 0;
}

/* Characters that steer a terminal, or change the order in which others are shown (Unicode: C0, C1,
 * bidirectional controls), by their bytes in UTF-8. */
static const struct {
    uint8_t size;
    uint8_t first[3], last[3];
} controls[] = {
    {1, {0x00}, {0x1f}},
    {1, {0x7f}, {0x7f}},
    {2, {0xc2, 0x80}, {0xc2, 0x9f}},
    {2, {0xd8, 0x9c}, {0xd8, 0x9c}},
    {3, {0xe2, 0x80, 0x8e}, {0xe2, 0x80, 0x8f}},
    {3, {0xe2, 0x80, 0xa8}, {0xe2, 0x80, 0xae}},
    {3, {0xe2, 0x81, 0xa6}, {0xe2, 0x81, 0xa9}},
};

static bool is_control(const char *text, size_t size)
{
    for (size_t i = 0; i < ARRAY_SIZE(controls); i++) {
        if (controls[i].size == size && memcmp(text, controls[i].first, size) >= 0 &&
            memcmp(text, controls[i].last, size) <= 0) {
            return true;
        }
    }
    return false;
}

void text_make_printable(char *text)
{
    size_t size = strlen(text);
    for (size_t i = 0; i < size;) {
        size_t sequence = utf8_sequence_size((const uint8_t *)text + i, size - i);
        if (sequence == 0 || is_control(text + i, sequence)) {
            size_t width = MAX(sequence, 1);
            memset(text + i, '?', width);
            i += width;
        } else {
            i += sequence;
        }
    }
}

bool text_is_utf8(struct bytes bytes)
{
    for (size_t i = 0; i < bytes.size;) {
        size_t sequence = utf8_sequence_size(bytes.data + i, bytes.size - i);
        if (sequence == 0 || bytes.data[i] == 0) {
            return false;
        }
        i += sequence;
    }
    return true;
}

char *text_hex(struct bytes bytes)
{
    char *text = memory_new_array(bytes.size * 2 + 1, 1);
    (void)sodium_bin2hex(text, bytes.size * 2 + 1, bytes.data, bytes.size);
    return text;
}

static char *encode_base64(struct bytes bytes, int variant)
{
    size_t size = sodium_base64_encoded_len(bytes.size, variant);
    char *text = memory_new(size);
    (void)sodium_bin2base64(text, size, bytes.data, bytes.size, variant);
    return text;
}

char *text_base64url(struct bytes bytes)
{
    return encode_base64(bytes, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

char *text_base64(struct bytes bytes)
{
    return encode_base64(bytes, sodium_base64_VARIANT_ORIGINAL);
}

int text_base64url_decode(const char *text, size_t size, struct buffer *ret_decoded,
                          struct error *err)
{
    size_t decoded_size = 0;
    uint8_t *start = buffer_extend(ret_decoded, size / 4 * 3 + 3);
    int result = sodium_base642bin(start, size / 4 * 3 + 3, text, size, NULL, &decoded_size, NULL,
                                   sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    ret_decoded->size -= size / 4 * 3 + 3;
    if (result != 0) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "decoding base64url: it has characters or padding that do not belong");
    }
    ret_decoded->size += decoded_size;
    return 0;
}

static const struct {
    const char *name;
    uint64_t ms;
} units[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};

static uint64_t unit_ms(const char *name, size_t size)
{
    for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
        if (strlen(units[i].name) == size && memcmp(units[i].name, name, size) == 0) {
            return units[i].ms;
        }
    }
    return 0;
}

int text_parse_duration_ms(const char *text, uint64_t *ret_ms, struct error *err)
{
    uint64_t total = 0;
    const char *rest = text;
    do {
        size_t digits = strspn(rest, "0123456789");
        size_t letters = strspn(rest + digits, "dhms");
        uint64_t unit = unit_ms(rest + digits, letters);
        uint64_t value = 0;
        bool is_bad = digits == 0 || unit == 0;
        for (size_t i = 0; i < digits && !is_bad; i++) {
            is_bad = __builtin_mul_overflow(value, 10, &value) ||
                     __builtin_add_overflow(value, (uint64_t)(rest[i] - '0'), &value);
        }
        if (is_bad || __builtin_mul_overflow(value, unit, &value) ||
            __builtin_add_overflow(total, value, &total)) {
            return error_set(err, ERROR_INVALID_ARGUMENT,
                             "\"%s\" is not a duration; write a number and a unit, such as "
                             "\"90s\", \"5m\" or \"1h\"",
                             text);
        }
        rest += digits + letters;
    } while (*rest);
    *ret_ms = total;
    return 0;
}

char *text_format_duration_ms(uint64_t ms)
{
    char text[64] = "";
    size_t used = 0;
    if (ms == 0) {
        return memory_copy_text("0s");
    }
    for (size_t i = 0; i < ARRAY_SIZE(units) && ms > 0; i++) {
        if (ms / units[i].ms > 0) {
            used += (size_t)snprintf(text + used, sizeof(text) - used, "%" PRIu64 "%s",
                                     ms / units[i].ms, units[i].name);
            ms %= units[i].ms;
        }
    }
    return memory_copy_text(text);
}

int text_parse_u64(const char *text, uint64_t minimum, uint64_t maximum, uint64_t *ret,
                   struct error *err)
{
    uint64_t value = 0;
    size_t digits = strspn(text, "0123456789");
    bool is_bad = digits == 0 || text[digits] != '\0';
    for (size_t i = 0; i < digits && !is_bad; i++) {
        is_bad = __builtin_mul_overflow(value, 10, &value) ||
                 __builtin_add_overflow(value, (uint64_t)(text[i] - '0'), &value);
    }
    if (is_bad || value < minimum || value > maximum) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "\"%s\" is not a whole number from %" PRIu64 " to %" PRIu64, text, minimum,
                         maximum);
    }
    *ret = value;
    return 0;
}

int text_parse_boolean(const char *text, bool *ret, struct error *err)
{
    bool is_true = strcmp(text, "true") == 0;
    if (!is_true && strcmp(text, "false") != 0) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "\"%.100s\" is neither true nor false", text);
    }
    *ret = is_true;
    return 0;
}

char *text_format(const char *format, ...)
{
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    int size = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (size < 0) {
        abort();
    }
    return text;
}

void text_list_add(struct text_list *list, const char *item)
{
    list->items = memory_resize_array(list->items, list->count + 1, sizeof(*list->items));
    list->items[list->count++] = memory_copy_text(item);
}

static int compare_items(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void text_list_sort_unique(struct text_list *list)
{
    if (list->count == 0) {
        return;
    }
    qsort(list->items, list->count, sizeof(*list->items), compare_items);
    size_t kept = 1;
    for (size_t i = 1; i < list->count; i++) {
        if (strcmp(list->items[kept - 1], list->items[i]) == 0) {
            free(list->items[i]);
        } else {
            list->items[kept++] = list->items[i];
        }
    }
    list->count = kept;
}

bool text_list_has_sorted(const struct text_list *list, const char *item)
{
    return list->count > 0 &&
           bsearch(&item, list->items, list->count, sizeof(*list->items), compare_items) != NULL;
}

bool text_list_is_equal(const struct text_list *a, const struct text_list *b)
{
    if (a->count != b->count) {
        return false;
    }
    for (size_t i = 0; i < a->count; i++) {
        if (strcmp(a->items[i], b->items[i]) != 0) {
            return false;
        }
    }
    return true;
}

void text_list_copy(struct text_list *to, const struct text_list *from)
{
    for (size_t i = 0; i < from->count; i++) {
        text_list_add(to, from->items[i]);
    }
}

void text_list_clear(struct text_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i]);
    }
    free(list->items);
    *list = (struct text_list){0};
}
