#include "lib/base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/memory.h"

struct bytes bytes_of_text(const char *text)
{
    return (struct bytes){(const uint8_t *)text, strlen(text)};
}

bool bytes_is_equal(struct bytes a, struct bytes b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

bool bytes_is_equal_secret(struct bytes a, struct bytes b)
{
    return a.size == b.size && (a.size == 0 || sodium_memcmp(a.data, b.data, a.size) == 0);
}

uint8_t *buffer_extend(struct buffer *buffer, size_t size)
{
    size_t needed;
    if (__builtin_add_overflow(buffer->size, size, &needed)) {
        abort();
    }
    if (needed > buffer->capacity) {
        size_t capacity = MAX(MAX(needed, (size_t)64), MIN(buffer->capacity * 2, SIZE_MAX / 2));
        buffer->data = memory_resize_array(buffer->data, capacity, 1);
        buffer->capacity = capacity;
    }
    uint8_t *start = buffer->data + buffer->size;
    buffer->size = needed;
    return start;
}

void buffer_append(struct buffer *buffer, const void *data, size_t size)
{
    if (size > 0) {
        memcpy(buffer_extend(buffer, size), data, size);
    }
}

void buffer_append_text(struct buffer *buffer, const char *text)
{
    buffer_append(buffer, text, strlen(text));
}

static void append_big_endian(struct buffer *buffer, uint64_t value, size_t size)
{
    uint8_t *start = buffer_extend(buffer, size);
    for (size_t i = 0; i < size; i++) {
        start[i] = (uint8_t)(value >> (8 * (size - 1 - i)));
    }
}

void buffer_append_u8(struct buffer *buffer, uint8_t value)
{
    append_big_endian(buffer, value, 1);
}

void buffer_append_u16(struct buffer *buffer, uint16_t value)
{
    append_big_endian(buffer, value, 2);
}

void buffer_append_u32(struct buffer *buffer, uint32_t value)
{
    append_big_endian(buffer, value, 4);
}

void buffer_append_u64(struct buffer *buffer, uint64_t value)
{
    append_big_endian(buffer, value, 8);
}

void buffer_append_sized(struct buffer *buffer, struct bytes bytes)
{
    buffer_append_u32(buffer, (uint32_t)bytes.size);
    buffer_append(buffer, bytes.data, bytes.size);
}

struct bytes buffer_bytes(const struct buffer *buffer)
{
    return (struct bytes){buffer->data, buffer->size};
}

void buffer_reset(struct buffer *buffer)
{
    buffer->size = 0;
}

void buffer_consume(struct buffer *buffer, size_t size)
{
    if (size >= buffer->size) {
        buffer->size = 0;
        return;
    }
    memmove(buffer->data, buffer->data + size, buffer->size - size);
    buffer->size -= size;
}

void buffer_clear(struct buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct buffer){0};
}

int buffer_read_descriptor(int descriptor, const char *name, size_t limit_bytes,
                           struct buffer *ret_contents, struct error *err)
{
    size_t before = ret_contents->size;
    for (;;) {
        size_t room = MIN((size_t)16384, limit_bytes + 1 - (ret_contents->size - before));
        uint8_t *start = buffer_extend(ret_contents, room);
        ssize_t count;
        do {
            count = read(descriptor, start, room);
        } while (count < 0 && errno == EINTR);
        ret_contents->size -= room - (size_t)MAX(count, 0);
        if (count < 0) {
            return error_set_errno(err, errno, "reading %s", name);
        }
        if (count == 0) {
            return 0;
        }
        if (ret_contents->size - before > limit_bytes) {
            return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                             "reading %s: it is larger than %zu bytes", name, limit_bytes);
        }
    }
}

int buffer_read_file(const char *path, size_t limit_bytes, struct buffer *ret_contents,
                     struct error *err)
{
    _cleanup_(file_close_cleanup) int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (descriptor < 0) {
        return error_set_errno(err, errno, "opening %s", path);
    }
    return buffer_read_descriptor(descriptor, path, limit_bytes, ret_contents, err);
}

struct reader reader_of(struct bytes bytes)
{
    return (struct reader){.rest = bytes};
}

struct bytes reader_bytes(struct reader *reader, size_t size)
{
    if (reader->is_bad || size > reader->rest.size) {
        reader->is_bad = true;
        return (struct bytes){0};
    }
    struct bytes taken = {reader->rest.data, size};
    if (size > 0) {
        reader->rest.data += size;
        reader->rest.size -= size;
    }
    return taken;
}

static uint64_t read_number(struct reader *reader, size_t size, bool is_little_endian)
{
    struct bytes bytes = reader_bytes(reader, size);
    uint64_t value = 0;
    for (size_t i = 0; i < bytes.size; i++) {
        value = value << 8 | bytes.data[is_little_endian ? bytes.size - 1 - i : i];
    }
    return value;
}

uint8_t reader_u8(struct reader *reader)
{
    return (uint8_t)read_number(reader, 1, false);
}

uint16_t reader_u16(struct reader *reader)
{
    return (uint16_t)read_number(reader, 2, false);
}

uint32_t reader_u32(struct reader *reader)
{
    return (uint32_t)read_number(reader, 4, false);
}

uint64_t reader_u64(struct reader *reader)
{
    return read_number(reader, 8, false);
}

uint16_t reader_u16_le(struct reader *reader)
{
    return (uint16_t)read_number(reader, 2, true);
}

uint32_t reader_u32_le(struct reader *reader)
{
    return (uint32_t)read_number(reader, 4, true);
}

struct bytes reader_sized(struct reader *reader)
{
    size_t size = reader_u32(reader);
    return reader_bytes(reader, size);
}

struct bytes reader_until(struct reader *reader, uint8_t separator)
{
    const uint8_t *found =
        reader->rest.size ? memchr(reader->rest.data, separator, reader->rest.size) : NULL;
    if (!found) {
        return reader_bytes(reader, reader->rest.size);
    }
    struct bytes taken = reader_bytes(reader, (size_t)(found - reader->rest.data));
    (void)reader_u8(reader);
    return taken;
}

bool reader_is_done(const struct reader *reader)
{
    return !reader->is_bad && reader->rest.size == 0;
}
