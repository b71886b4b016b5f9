#include "audit/record.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define PREFIX "{\"event.sequence\":"
#define CHAIN ",\"signet.chain\":\""
#define END "\"}"
#define TIME "\"@timestamp\":\""

enum {
    PREFIX_BYTES = sizeof(PREFIX) - 1,
    CHAIN_BYTES = sizeof(CHAIN) - 1,
    END_BYTES = sizeof(END) - 1,
    HEX_BYTES = 2 * AUDIT_HASH_BYTES,
    SUFFIX_BYTES = CHAIN_BYTES + HEX_BYTES + END_BYTES,
    NUMBER_MAX_DIGITS = 20,
};

static void hash_after(struct bytes covered, const uint8_t before[AUDIT_HASH_BYTES],
                       uint8_t ret_hash[AUDIT_HASH_BYTES])
{
    crypto_generichash_state state;
    (void)crypto_generichash_init(&state, NULL, 0, AUDIT_HASH_BYTES);
    (void)crypto_generichash_update(&state, before, AUDIT_HASH_BYTES);
    (void)crypto_generichash_update(&state, covered.data, covered.size);
    (void)crypto_generichash_final(&state, ret_hash, AUDIT_HASH_BYTES);
}

int audit_record_append(struct audit_link *link, struct bytes body, struct buffer *lines,
                        struct error *err)
{
    char start[PREFIX_BYTES + NUMBER_MAX_DIGITS + 2];
    char hex[HEX_BYTES + 1];
    int size = snprintf(start, sizeof(start), PREFIX "%" PRIu64 ",", link->sequence + 1);
    size_t record_bytes = (size_t)size + body.size + SUFFIX_BYTES;
    if (body.size == 0 || memchr(body.data, '\n', body.size)) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "adding an audit record: its body is empty or has a newline");
    }
    if (body.size > AUDIT_RECORD_MAX_BYTES || record_bytes > AUDIT_RECORD_MAX_BYTES) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "adding an audit record: its %zu bytes are more than the %d allowed",
                         record_bytes, AUDIT_RECORD_MAX_BYTES);
    }
    if (link->sequence == UINT64_MAX) {
        return error_set(err, ERROR_OUT_OF_RANGE, "adding an audit record: no number is left");
    }
    size_t begin = lines->size;
    buffer_append(lines, start, (size_t)size);
    buffer_append(lines, body.data, body.size);
    hash_after((struct bytes){lines->data + begin, lines->size - begin}, link->hash, link->hash);
    link->sequence++;
    buffer_append_text(lines, CHAIN);
    buffer_append_text(lines, sodium_bin2hex(hex, sizeof(hex), link->hash, AUDIT_HASH_BYTES));
    buffer_append_text(lines, END "\n");
    return 0;
}

/* The value of a lower-case hexadecimal digit; above 15: it is none. */
static uint8_t digit_value(uint8_t digit)
{
    if (digit >= '0' && digit <= '9') {
        return (uint8_t)(digit - '0');
    }
    return digit >= 'a' && digit <= 'f' ? (uint8_t)(digit - 'a' + 10) : UINT8_MAX;
}

static bool read_hash(struct bytes hex, uint8_t ret_hash[AUDIT_HASH_BYTES])
{
    uint8_t seen = 0;
    for (size_t i = 0; i < AUDIT_HASH_BYTES; i++) {
        uint8_t high = digit_value(hex.data[2 * i]);
        uint8_t low = digit_value(hex.data[2 * i + 1]);
        seen |= high | low;
        ret_hash[i] = (uint8_t)(high << 4 | (low & 15));
    }
    return seen <= 15;
}

static bool read_sequence(struct reader *reader, uint64_t *ret_sequence)
{
    struct bytes digits = reader_until(reader, ',');
    uint64_t value = 0;
    if (digits.size == 0 || digits.size > NUMBER_MAX_DIGITS || digits.data[0] == '0') {
        return false;
    }
    for (size_t i = 0; i < digits.size; i++) {
        uint8_t digit = (uint8_t)(digits.data[i] - '0');
        if (digit > 9 || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, digit, &value)) {
            return false;
        }
    }
    *ret_sequence = value;
    return true;
}

int audit_record_parse(struct bytes line, struct audit_link *ret_claimed, struct bytes *ret_body,
                       struct error *err)
{
    struct audit_link claimed;
    struct reader reader = reader_of(line);
    struct bytes prefix = reader_bytes(&reader, PREFIX_BYTES);
    if (line.size > AUDIT_RECORD_MAX_BYTES || prefix.size == 0 ||
        memcmp(prefix.data, PREFIX, PREFIX_BYTES) != 0 ||
        !read_sequence(&reader, &claimed.sequence)) {
        return error_set(err, ERROR_DATA_LOSS, "it does not begin as an audit record does");
    }
    if (reader.rest.size <= SUFFIX_BYTES) {
        return error_set(err, ERROR_DATA_LOSS, "it is too short for an audit record");
    }
    struct bytes body = reader_bytes(&reader, reader.rest.size - SUFFIX_BYTES);
    struct bytes chain = reader_bytes(&reader, CHAIN_BYTES);
    struct bytes hex = reader_bytes(&reader, HEX_BYTES);
    if (memcmp(chain.data, CHAIN, CHAIN_BYTES) != 0 || !read_hash(hex, claimed.hash) ||
        memcmp(reader.rest.data, END, END_BYTES) != 0) {
        return error_set(err, ERROR_DATA_LOSS, "it does not end as an audit record does");
    }
    *ret_claimed = claimed;
    if (ret_body) {
        *ret_body = body;
    }
    return 0;
}

void audit_record_hash(struct bytes line, const uint8_t before[AUDIT_HASH_BYTES],
                       uint8_t ret_hash[AUDIT_HASH_BYTES])
{
    hash_after((struct bytes){line.data, line.size - SUFFIX_BYTES}, before, ret_hash);
}

bool audit_record_time(struct bytes body, char ret_time[AUDIT_TIME_BYTES + 1])
{
    static const char form[] = "0000-00-00T00:00:00.000Z";
    struct reader reader = reader_of(body);
    struct bytes key = reader_bytes(&reader, sizeof(TIME) - 1);
    struct bytes time = reader_bytes(&reader, AUDIT_TIME_BYTES);
    if (reader_u8(&reader) != '"' || reader.is_bad || memcmp(key.data, TIME, key.size) != 0) {
        return false;
    }
    for (size_t i = 0; i < time.size; i++) {
        bool is_digit = time.data[i] >= '0' && time.data[i] <= '9';
        if (form[i] == '0' ? !is_digit : time.data[i] != (uint8_t)form[i]) {
            return false;
        }
    }
    memcpy(ret_time, time.data, AUDIT_TIME_BYTES);
    ret_time[AUDIT_TIME_BYTES] = '\0';
    return true;
}
