#include "attest/event_log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/memory.h"

enum { ALGORITHMS_MAX = 16, SHA1_BYTES = 20, EVENTS_AT_FIRST = 64 };

static const char crypto_agile_signature[16] = "Spec ID Event03";
static const char locality_signature[16] = "StartupLocality";

/* The header's list: how long the digests are, also of algorithms that we do not know. */
struct algorithm {
    TPM2_ALG_ID id;
    size_t size;
    bool was_seen; /* in the event that is being read */
};

struct parser {
    struct reader reader;
    size_t size;    /* of the whole log */
    size_t padding; /* from this offset on nothing but ff, or nothing but 00 */
    size_t at;      /* of the event that is being read */
    struct algorithm algorithms[ALGORITHMS_MAX];
    size_t algorithm_count;
    struct event_log log;
    size_t capacity;
    bool has_locality;
};

static int parse_error(const struct parser *parser, struct error *err, const char *format, ...)
    _printf_(3, 4);

static int parse_error(const struct parser *parser, struct error *err, const char *format, ...)
{
    char text[160];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    return error_set(err, ERROR_DATA_LOSS, "reading the event log: event %zu at offset %zu: %s",
                     parser->log.count, parser->at, text);
}

static bool starts_with(struct bytes bytes, const char signature[16])
{
    return bytes.size >= 16 && memcmp(bytes.data, signature, 16) == 0;
}

static size_t find_padding(struct bytes bytes)
{
    size_t start = bytes.size;
    const uint8_t last = start ? bytes.data[start - 1] : 1;
    while ((last == 0xff || last == 0) && start > 0 && bytes.data[start - 1] == last) {
        start--;
    }
    return start;
}

static struct event *add_event(struct parser *parser)
{
    struct event_log *log = &parser->log;
    if (log->count == parser->capacity) {
        parser->capacity = MAX(parser->capacity * 2, (size_t)EVENTS_AT_FIRST);
        log->events = memory_resize_array(log->events, parser->capacity, sizeof(*log->events));
    }
    log->events[log->count] = (struct event){0};
    return &log->events[log->count];
}

/* TCG PFP 10.4.5.1, TCG_EfiSpecIdEvent. */
static int parse_header(struct parser *parser, struct bytes data, struct error *err)
{
    struct reader header = reader_of(data);
    (void)reader_bytes(&header, sizeof(crypto_agile_signature));
    (void)reader_u32_le(&header); /* platform class */
    (void)reader_u32_le(&header); /* version, errata, size of an integer */
    const uint32_t count = reader_u32_le(&header);
    if (header.is_bad || count == 0 || count > ALGORITHMS_MAX) {
        return parse_error(parser, err, "its list of algorithms has %u entries, not 1 to %d", count,
                           ALGORITHMS_MAX);
    }
    for (uint32_t i = 0; i < count; i++) {
        struct algorithm *algorithm = &parser->algorithms[i];
        algorithm->id = reader_u16_le(&header);
        algorithm->size = reader_u16_le(&header);
        for (uint32_t before = 0; before < i; before++) {
            if (parser->algorithms[before].id == algorithm->id) {
                return parse_error(parser, err, "it lists algorithm 0x%04x twice", algorithm->id);
            }
        }
        const struct hash_algorithm *hash = hash_by_id(algorithm->id);
        if (hash && hash->size != algorithm->size) {
            return parse_error(parser, err, "it says that a %s digest has %zu bytes", hash->name,
                               algorithm->size);
        }
        if (hash) { /* there are no more of these than PCR_BANKS_MAX, none twice */
            parser->log.banks[parser->log.bank_count++] = algorithm->id;
        }
    }
    parser->algorithm_count = count;
    (void)reader_bytes(&header, reader_u8(&header)); /* the vendor's own */
    return reader_is_done(&header)
               ? 0
               : parse_error(parser, err,
                             "its list of algorithms or vendor data has another "
                             "length than it says");
}

static struct algorithm *find_algorithm(struct parser *parser, TPM2_ALG_ID id)
{
    for (size_t i = 0; i < parser->algorithm_count; i++) {
        if (parser->algorithms[i].id == id) {
            return &parser->algorithms[i];
        }
    }
    return NULL;
}

static void add_digest(struct event *event, TPM2_ALG_ID bank, struct bytes digest)
{
    event->digests[event->digest_count].bank = bank;
    event->digests[event->digest_count++].digest = digest;
}

/* TPML_DIGEST_VALUES, little endian. Each digest is told by its own tag: logs are seen whose events
 * have fewer than the header lists, and in another order. */
static int parse_digests(struct parser *parser, struct event *event, struct error *err)
{
    const uint32_t count = reader_u32_le(&parser->reader);
    if (count > parser->algorithm_count) {
        return parse_error(parser, err, "it has %u digests; the header lists %zu algorithms", count,
                           parser->algorithm_count);
    }
    for (size_t i = 0; i < parser->algorithm_count; i++) {
        parser->algorithms[i].was_seen = false;
    }
    for (uint32_t i = 0; i < count; i++) {
        const TPM2_ALG_ID id = reader_u16_le(&parser->reader);
        struct algorithm *algorithm = find_algorithm(parser, id);
        if (parser->reader.is_bad) {
            return 0; /* told by the caller */
        }
        if (!algorithm || algorithm->was_seen) {
            return parse_error(parser, err, "it has a digest of algorithm 0x%04x %s", id,
                               algorithm ? "twice" : "that the header does not list");
        }
        algorithm->was_seen = true;
        struct bytes digest = reader_bytes(&parser->reader, algorithm->size);
        if (hash_by_id(id)) {
            add_digest(event, id, digest);
        }
    }
    return 0;
}

/* TCG PFP 10.4.5.3. Where an event says so twice, both have to say the same. */
static int note_locality(struct parser *parser, const struct event *event, struct error *err)
{
    if (event->type != EVENT_TYPE_NO_ACTION || event->pcr != 0 ||
        !starts_with(event->data, locality_signature)) {
        return 0;
    }
    const uint8_t locality = event->data.data[event->data.size - 1];
    if (event->data.size != sizeof(locality_signature) + 1 ||
        (locality != 0 && locality != 3 && locality != 4)) {
        return parse_error(parser, err, "its startup locality is none of 0, 3 and 4");
    }
    if (parser->has_locality && parser->log.startup_locality != locality) {
        return parse_error(parser, err, "its startup locality is another than the one before");
    }
    parser->has_locality = true;
    parser->log.startup_locality = locality;
    return 0;
}

/* Windows ends its log with a signature of its own that belongs to no register. */
static bool is_trailer(const struct event *event)
{
    return event->type == EVENT_TYPE_NO_ACTION && event->pcr == UINT32_MAX;
}

static int parse_event(struct parser *parser, bool is_sha1_form, struct error *err)
{
    struct event *event = add_event(parser);
    event->pcr = reader_u32_le(&parser->reader);
    event->type = reader_u32_le(&parser->reader);
    if (!parser->reader.is_bad && event->pcr >= PCR_COUNT && !is_trailer(event)) {
        return parse_error(parser, err, "there is no PCR %u", event->pcr);
    }
    if (is_sha1_form) {
        add_digest(event, TPM2_ALG_SHA1, reader_bytes(&parser->reader, SHA1_BYTES));
    } else {
        TRY(parse_digests(parser, event, err));
    }
    const uint32_t size = reader_u32_le(&parser->reader);
    const size_t rest = parser->reader.rest.size;
    if (parser->reader.is_bad) {
        return parse_error(parser, err, "it is cut off");
    }
    event->data = reader_bytes(&parser->reader, size);
    if (parser->reader.is_bad) {
        return parse_error(parser, err, "%zu bytes are left where it has %u of data", rest, size);
    }
    return note_locality(parser, event, err);
}

static int parse_first(struct parser *parser, struct error *err)
{
    TRY(parse_event(parser, true, err));
    const struct event *first = &parser->log.events[0];
    if (first->type == EVENT_TYPE_NO_ACTION && starts_with(first->data, crypto_agile_signature)) {
        parser->log.is_crypto_agile = true;
        return parse_header(parser, first->data, err); /* which is no event itself */
    }
    parser->log.banks[parser->log.bank_count++] = TPM2_ALG_SHA1;
    parser->log.count += !is_trailer(first);
    return 0;
}

static int parse_all(struct parser *parser, struct error *err)
{
    TRY(parse_first(parser, err));
    for (;;) {
        parser->at = parser->size - parser->reader.rest.size;
        if (parser->at >= parser->padding) {
            return 0;
        }
        if (parser->log.count == EVENT_LOG_MAX_EVENTS) {
            return parse_error(parser, err, "there are more than %d events", EVENT_LOG_MAX_EVENTS);
        }
        TRY(parse_event(parser, !parser->log.is_crypto_agile, err));
        parser->log.count += !is_trailer(&parser->log.events[parser->log.count]);
    }
}

int event_log_parse(struct bytes bytes, struct event_log *ret_log, struct error *err)
{
    if (bytes.size > EVENT_LOG_MAX_BYTES) {
        return error_set(err, ERROR_DATA_LOSS,
                         "reading the event log: it has %zu bytes, more than %d", bytes.size,
                         EVENT_LOG_MAX_BYTES);
    }
    struct parser parser = {
        .reader = reader_of(bytes), .size = bytes.size, .padding = find_padding(bytes)};
    if (parse_all(&parser, err) < 0) {
        event_log_clear(&parser.log);
        return -1;
    }
    *ret_log = parser.log;
    return 0;
}

void event_log_clear(struct event_log *log)
{
    free(log->events);
    *log = (struct event_log){0};
}
