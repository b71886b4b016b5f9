#include "attest/ima.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/memory.h"

/* linux/Documentation/security/IMA-templates.rst. The numbers are in the order of the machine's
 * bytes; those that have a TPM are little endian. */
enum {
    IMA_PCR = 10,
    TEMPLATE_DIGEST_BYTES = 20,
    NAME_MAX_BYTES = 255, /* of a template; the same number is the longest path of "ima" */
    ENTRIES_AT_FIRST = 256,
};

struct parser {
    struct reader reader;
    size_t size; /* of the whole list */
    size_t at;   /* of the entry that is being read */
    struct ima_list list;
    size_t capacity;
};

static int parse_error(const struct parser *parser, struct error *err, const char *text)
{
    return error_set(err, ERROR_DATA_LOSS, "reading the IMA list: entry %zu at offset %zu: %s",
                     parser->list.count, parser->at, text);
}

static struct ima_entry *add_entry(struct parser *parser)
{
    struct ima_list *list = &parser->list;
    if (list->count == parser->capacity) {
        parser->capacity = MAX(parser->capacity * 2, (size_t)ENTRIES_AT_FIRST);
        list->entries =
            memory_resize_array(list->entries, parser->capacity, sizeof(*list->entries));
    }
    list->entries[list->count] = (struct ima_entry){0};
    return &list->entries[list->count];
}

static bool is_first_template(struct bytes name)
{
    return bytes_is_equal(name, bytes_of_text("ima"));
}

/* The oldest template does not say how long its data is: a SHA-1 digest, a length, a path. */
static bool read_first_template(struct reader *reader, struct bytes *ret_data)
{
    struct reader ahead = *reader;
    (void)reader_bytes(&ahead, TEMPLATE_DIGEST_BYTES);
    const uint32_t path_size = reader_u32_le(&ahead);
    if (ahead.is_bad || path_size > NAME_MAX_BYTES) {
        return false;
    }
    *ret_data = reader_bytes(reader, TEMPLATE_DIGEST_BYTES + sizeof(uint32_t) + path_size);
    return true;
}

static bool is_zero(struct bytes bytes)
{
    uint8_t any = 0;
    for (size_t i = 0; i < bytes.size; i++) {
        any |= bytes.data[i];
    }
    return any == 0;
}

static int parse_entry(struct parser *parser, struct error *err)
{
    struct reader *reader = &parser->reader;
    struct ima_entry *entry = add_entry(parser);
    const uint32_t pcr = reader_u32_le(reader);
    if (!reader->is_bad && pcr != IMA_PCR) {
        return parse_error(parser, err, "it is not of PCR 10; the kernel has to measure into that");
    }
    entry->template_digest = reader_bytes(reader, TEMPLATE_DIGEST_BYTES);
    entry->is_violation = is_zero(entry->template_digest);
    const uint32_t name_size = reader_u32_le(reader);
    if (!reader->is_bad && (name_size == 0 || name_size > NAME_MAX_BYTES)) {
        return parse_error(parser, err, "its template's name has not 1 to 255 bytes");
    }
    entry->template_name = reader_bytes(reader, name_size);
    if (!is_first_template(entry->template_name)) {
        entry->template_data = reader_bytes(reader, reader_u32_le(reader));
    } else if (!read_first_template(reader, &entry->template_data)) {
        return parse_error(parser, err, "its path is cut off or longer than 255 bytes");
    }
    return reader->is_bad ? parse_error(parser, err, "it is cut off") : 0;
}

static int parse_all(struct parser *parser, struct error *err)
{
    while (parser->reader.rest.size > 0) {
        parser->at = parser->size - parser->reader.rest.size;
        if (parser->list.count == IMA_MAX_ENTRIES) {
            return parse_error(parser, err, "there are more entries than 262144");
        }
        TRY(parse_entry(parser, err));
        parser->list.count++;
    }
    return 0;
}

int ima_parse(struct bytes bytes, struct ima_list *ret_list, struct error *err)
{
    if (bytes.size > IMA_MAX_BYTES) {
        return error_set(err, ERROR_DATA_LOSS,
                         "reading the IMA list: it has %zu bytes, more than %d", bytes.size,
                         IMA_MAX_BYTES);
    }
    struct parser parser = {.reader = reader_of(bytes), .size = bytes.size};
    if (parse_all(&parser, err) < 0) {
        ima_clear(&parser.list);
        return -1;
    }
    *ret_list = parser.list;
    return 0;
}

void ima_clear(struct ima_list *list)
{
    free(list->entries);
    *list = (struct ima_list){0};
}

/* Templates whose data begins with a digest ("d-ng": "sha256:", NUL, digest) and a path ("n-ng",
 * with its NUL), each with its length before it. */
static const char *const file_templates[] = {
    "ima-ng", "ima-sig", "ima-buf", "ima-modsig", "ima-ngv2", "ima-sigv2", "evm-sig",
};

static bool is_file_template(struct bytes name)
{
    for (size_t i = 0; i < ARRAY_SIZE(file_templates); i++) {
        if (bytes_is_equal(name, bytes_of_text(file_templates[i]))) {
            return true;
        }
    }
    return false;
}

/* The part before the NUL, such as "sha256:" or "verity:sha256:". */
static bool is_algorithm(struct bytes name)
{
    for (size_t i = 0; i < name.size; i++) {
        if (!isalnum(name.data[i]) && !strchr(":-_", name.data[i])) {
            return false;
        }
    }
    return name.size > 1 && name.size <= 32 && name.data[name.size - 1] == ':';
}

static bool digest_text(struct bytes field, char **ret_text)
{
    struct reader reader = reader_of(field);
    struct bytes algorithm = bytes_of_text("sha1:");
    if (field.size != TEMPLATE_DIGEST_BYTES) { /* else a bare SHA-1 */
        algorithm = reader_until(&reader, 0);
    }
    if (!is_algorithm(algorithm) || reader.rest.size > HASH_MAX_BYTES) {
        return false;
    }
    _cleanup_(free_cleanup) char *hex = text_hex(reader.rest);
    *ret_text = text_format("%.*s%s", (int)algorithm.size, (const char *)algorithm.data, hex);
    return true;
}

static char *printable_path(struct bytes path)
{
    char *text = text_format("%.*s", (int)path.size, (const char *)path.data);
    text_make_printable(text);
    return text;
}

bool ima_entry_file(const struct ima_entry *entry, char **ret_path, char **ret_digest)
{
    const bool is_first = is_first_template(entry->template_name);
    if (!is_first && !is_file_template(entry->template_name)) {
        return false;
    }
    struct reader reader = reader_of(entry->template_data);
    struct bytes digest =
        reader_bytes(&reader, is_first ? TEMPLATE_DIGEST_BYTES : reader_u32_le(&reader));
    struct bytes path = reader_bytes(&reader, reader_u32_le(&reader));
    if (path.size > 0 && path.data[path.size - 1] == 0) {
        path.size--;
    }
    const bool is_text = path.size > 0 && !memchr(path.data, 0, path.size);
    if (reader.is_bad || !is_text || !digest_text(digest, ret_digest)) {
        return false;
    }
    *ret_path = printable_path(path);
    return true;
}
