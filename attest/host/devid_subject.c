#include <openssl/x509.h>
#include <string.h>

#include "attest/host/devid_files.h"
#include "lib/base/memory.h"
#include "lib/base/text.h"

enum { SUBJECT_MAX_BYTES = 1024, PARTS_MAX = 16 };

DEFINE_CLEANUP(X509_NAME, x509_name, X509_NAME_free);

/* One attribute and its value; several of one set are joined by '+'. */
struct part {
    char type[64];
    char value[256];
    bool joins_the_one_before;
};

static int hex_value(uint8_t digit)
{
    const char digits[] = "0123456789abcdef";
    const char *found = digit ? strchr(digits, digit | 0x20) : NULL;
    return found ? (int)(found - digits) : -1;
}

/* What stands behind a backslash: a character by itself, or a byte in hexadecimal. */
static bool read_escaped(struct reader *reader, char *ret)
{
    uint8_t first = reader_u8(reader);
    int high = hex_value(first);
    if (high < 0) {
        *ret = (char)first;
        return !reader->is_bad && strchr(" \"#+,;<=>\\", first) != NULL && first != 0;
    }
    int low = hex_value(reader_u8(reader));
    *ret = (char)(high << 4 | low);
    return !reader->is_bad && low >= 0 && *ret != 0;
}

static bool read_type(struct reader *reader, struct part *part)
{
    struct bytes type = reader_until(reader, '=');
    while (type.size > 0 && type.data[0] == ' ') {
        type.data++;
        type.size--;
    }
    if (type.size == 0 || type.size >= sizeof(part->type) || reader_is_done(reader)) {
        return false;
    }
    memcpy(part->type, type.data, type.size);
    return strcspn(part->type, ",+\\\"") == type.size;
}

/* Up to a separator, which is left in ret_separator; 0 at the end. */
static bool read_value(struct reader *reader, struct part *part, char *ret_separator)
{
    size_t size = 0;
    *ret_separator = 0;
    while (!reader_is_done(reader)) {
        char next = (char)reader_u8(reader);
        if (next == ',' || next == '+') {
            *ret_separator = next;
            break;
        }
        if (next == 0 || strchr("\";<>", next) || (next == '\\' && !read_escaped(reader, &next)) ||
            size + 1 == sizeof(part->value)) {
            return false;
        }
        part->value[size++] = next;
    }
    return size > 0 && part->value[0] != '#';
}

static bool read_parts(const char *text, struct part *parts, size_t *ret_count)
{
    struct reader reader = reader_of(bytes_of_text(text));
    char separator = 0;
    *ret_count = 0;
    do {
        if (*ret_count == PARTS_MAX) {
            return false;
        }
        struct part *part = &parts[(*ret_count)++];
        part->joins_the_one_before = separator == '+';
        if (!read_type(&reader, part) || !read_value(&reader, part, &separator)) {
            return false;
        }
    } while (separator != 0);
    return true;
}

/* RFC 4514 2.1: what stands last in the text comes first in the name. Each goes in at the front,
 * and into the set that is there where it joins one. */
static bool add_part(X509_NAME *name, const struct part *part)
{
    return X509_NAME_add_entry_by_txt(name, part->type, MBSTRING_UTF8,
                                      (const unsigned char *)part->value, -1, 0,
                                      part->joins_the_one_before ? 1 : 0) == 1;
}

int devid_subject_parse(const char *text, X509_NAME **ret_name, struct error *err)
{
    size_t count = 0;
    _cleanup_(free_cleanup) struct part *parts = memory_new_array(PARTS_MAX, sizeof(*parts));
    _cleanup_(x509_name_cleanup) X509_NAME *name = X509_NAME_new();
    bool is_good = name && strnlen(text, SUBJECT_MAX_BYTES + 1) <= SUBJECT_MAX_BYTES &&
                   text_is_utf8(bytes_of_text(text)) && read_parts(text, parts, &count);
    for (size_t i = 0; i < count && is_good; i++) {
        is_good = add_part(name, &parts[i]);
    }
    if (!is_good) {
        return error_set_openssl(err, ERROR_INVALID_ARGUMENT,
                                 "\"%.200s\" is not a subject such as \"CN=node1,serialNumber=1\" "
                                 "(RFC 4514)",
                                 text);
    }
    *ret_name = take_ptr(name);
    return 0;
}
