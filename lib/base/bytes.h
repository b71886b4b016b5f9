/* Bytes: borrowed (bytes), growing (buffer), and the one way to parse untrusted ones (reader).
 * Every thread. */
#pragma once

#include <stdbool.h>

#include "lib/base/error.h"

/* Borrowed bytes. data may be NULL only when size is 0. */
struct bytes {
    const uint8_t *data;
    size_t size;
};

/* The bytes of a string without its NUL. */
struct bytes bytes_of_text(const char *text);
bool bytes_is_equal(struct bytes a, struct bytes b);
/* As bytes_is_equal in a time that depends on the sizes alone. */
bool bytes_is_equal_secret(struct bytes a, struct bytes b);

/* Growing bytes that own their memory. All zero is empty. Not for secrets (secret.h). */
struct buffer {
    uint8_t *data;
    size_t size;
    size_t capacity;
};

void buffer_append(struct buffer *buffer, const void *data, size_t size);
void buffer_append_text(struct buffer *buffer, const char *text);
void buffer_append_u8(struct buffer *buffer, uint8_t value);
/* Big endian. */
void buffer_append_u16(struct buffer *buffer, uint16_t value);
void buffer_append_u32(struct buffer *buffer, uint32_t value);
void buffer_append_u64(struct buffer *buffer, uint64_t value);
/* The size in four bytes, then the bytes, for reader_sized. */
void buffer_append_sized(struct buffer *buffer, struct bytes bytes);
/* Makes room for size more bytes at the end, counts them in and returns where they start (not
 * zeroed). */
uint8_t *buffer_extend(struct buffer *buffer, size_t size);
struct bytes buffer_bytes(const struct buffer *buffer);
/* Forgets the contents and keeps the memory. */
void buffer_reset(struct buffer *buffer);
/* Drops size bytes from the front. */
void buffer_consume(struct buffer *buffer, size_t size);
/* Frees. Also for _cleanup_. */
void buffer_clear(struct buffer *buffer);

/* Reads the file, refusing more than limit_bytes; appended to ret_contents. */
int buffer_read_file(const char *path, size_t limit_bytes, struct buffer *ret_contents,
                     struct error *err);
/* As above from an open descriptor, which stays open; name is for error texts. */
int buffer_read_descriptor(int descriptor, const char *name, size_t limit_bytes,
                           struct buffer *ret_contents, struct error *err);

/* A cursor over borrowed bytes. The first read past the end marks it bad; from then on each read
 * gives zeros, and is_bad is checked once at the end. Nothing is ever read outside. */
struct reader {
    struct bytes rest;
    bool is_bad;
};

struct reader reader_of(struct bytes bytes);
uint8_t reader_u8(struct reader *reader);
/* Big endian; _le little endian. */
uint16_t reader_u16(struct reader *reader);
uint32_t reader_u32(struct reader *reader);
uint64_t reader_u64(struct reader *reader);
uint16_t reader_u16_le(struct reader *reader);
uint32_t reader_u32_le(struct reader *reader);
/* The next size bytes, borrowed; empty when they are not there. */
struct bytes reader_bytes(struct reader *reader, size_t size);
/* What buffer_append_sized has appended, borrowed; empty when it is not there. */
struct bytes reader_sized(struct reader *reader);
/* The bytes up to separator, which is skipped; the rest where there is none. */
struct bytes reader_until(struct reader *reader, uint8_t separator);
bool reader_is_done(const struct reader *reader);
