#include "agent/policy/zone.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/policy/zone_rule.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

static const char folder[] = "/usr/share/zoneinfo";

enum { HEADER_BYTES = 44, RESERVED_BYTES = 15, TYPE_BYTES = 6 };
enum { TRANSITIONS_MAX = 4096, TYPES_MAX = 256 };
/* RFC 8536 3.2: readers may refuse what lies outside of -24:59:59 to 25:59:59. */
enum { OFFSET_MIN_S = -89999, OFFSET_MAX_S = 93599 };

struct transition {
    int64_t moment_s;
    int32_t offset_s; /* from then on */
};

struct zone {
    struct transition *transitions;
    size_t count;
    int32_t first_offset_s; /* before all of them */
    bool has_rule;
    struct zone_rule rule; /* after all of them */
};

/* RFC 8536 3.1. */
struct header {
    uint8_t version; /* 0, or a digit */
    uint32_t utc_flags, standard_flags, leaps, transitions, types, name_bytes;
};

static int fail(const char *what, struct error *err)
{
    return error_set(err, ERROR_DATA_LOSS, "it is not a whole TZif file: %s", what);
}

static int check_header(const struct header *header, struct error *err)
{
    if (header->version != 0 && (header->version < '2' || header->version > '4')) {
        return fail("its version is none of 1 to 4", err);
    }
    if (header->transitions > TRANSITIONS_MAX || header->types == 0 || header->types > TYPES_MAX ||
        header->name_bytes == 0 || header->name_bytes > ZONE_FILE_MAX_BYTES ||
        header->leaps > TRANSITIONS_MAX ||
        (header->utc_flags != 0 && header->utc_flags != header->types) ||
        (header->standard_flags != 0 && header->standard_flags != header->types)) {
        return fail("the counts in a header are out of bounds", err);
    }
    return 0;
}

static int read_header(struct reader *reader, struct header *ret_header, struct error *err)
{
    struct bytes magic = reader_bytes(reader, 4);
    struct header header = {.version = reader_u8(reader)};
    (void)reader_bytes(reader, RESERVED_BYTES);
    header.utc_flags = reader_u32(reader);
    header.standard_flags = reader_u32(reader);
    header.leaps = reader_u32(reader);
    header.transitions = reader_u32(reader);
    header.types = reader_u32(reader);
    header.name_bytes = reader_u32(reader);
    if (reader->is_bad || !bytes_is_equal(magic, bytes_of_text("TZif"))) {
        return fail("a header is missing", err);
    }
    *ret_header = header;
    return check_header(ret_header, err);
}

static size_t data_size(const struct header *header, size_t time_bytes)
{
    return header->transitions * (time_bytes + 1) + (size_t)header->types * TYPE_BYTES +
           header->name_bytes + header->leaps * (time_bytes + 4) + header->standard_flags +
           header->utc_flags;
}

static int read_types(struct reader *reader, const struct header *header, int32_t *ret_offsets,
                      struct error *err)
{
    for (size_t i = 0; i < header->types; i++) {
        int32_t offset_s = (int32_t)reader_u32(reader);
        uint8_t is_daylight = reader_u8(reader), name = reader_u8(reader);
        if (offset_s < OFFSET_MIN_S || offset_s > OFFSET_MAX_S || is_daylight > 1 ||
            name >= header->name_bytes) {
            return fail("a type of local time is out of bounds", err);
        }
        ret_offsets[i] = offset_s;
    }
    return 0;
}

static int join(struct zone *zone, struct bytes types, const int32_t *offsets, size_t type_count,
                struct error *err)
{
    for (size_t i = 0; i < zone->count; i++) {
        struct transition *transition = &zone->transitions[i];
        if (types.data[i] >= type_count) {
            return fail("a transition leads to no type of local time", err);
        }
        if (i > 0 && transition->moment_s <= transition[-1].moment_s) {
            return fail("its transitions are not in order", err);
        }
        transition->offset_s = offsets[types.data[i]];
    }
    return 0;
}

/* RFC 8536 3.2. */
static int read_data(struct reader *reader, const struct header *header, size_t time_bytes,
                     struct zone *zone, struct error *err)
{
    int32_t offsets[TYPES_MAX];
    zone->transitions = memory_new_array(header->transitions, sizeof(*zone->transitions));
    zone->count = header->transitions;
    for (size_t i = 0; i < zone->count; i++) {
        zone->transitions[i].moment_s =
            time_bytes == 8 ? (int64_t)reader_u64(reader) : (int32_t)reader_u32(reader);
    }
    struct bytes types = reader_bytes(reader, header->transitions);
    TRY(read_types(reader, header, offsets, err));
    if (reader->is_bad) {
        return fail("it ends early", err);
    }
    TRY(join(zone, types, offsets, header->types, err));
    zone->first_offset_s = offsets[0];
    size_t rest = data_size(header, time_bytes) - header->transitions * (time_bytes + 1) -
                  (size_t)header->types * TYPE_BYTES;
    (void)reader_bytes(reader, rest);
    return reader->is_bad ? fail("it ends early", err) : 0;
}

/* RFC 8536 3.3. */
static int read_footer(struct reader *reader, struct zone *zone, struct error *err)
{
    bool has_newline = reader_u8(reader) == '\n';
    struct bytes rest = reader->rest;
    struct bytes text = reader_until(reader, '\n');
    if (!has_newline || reader->rest.size > 0 || text.size == rest.size) {
        return fail("its footer is not one line", err);
    }
    zone->has_rule = text.size > 0;
    if (zone->has_rule && zone_rule_parse(text, &zone->rule, err) < 0) {
        return error_prepend(err, "the footer of a TZif file");
    }
    return 0;
}

static int read_zone(struct reader *reader, struct zone *zone, struct error *err)
{
    struct header header;
    size_t time_bytes = 4;
    TRY(read_header(reader, &header, err));
    if (header.version != 0) {
        /* What was there for readers of version 1. */
        (void)reader_bytes(reader, data_size(&header, time_bytes));
        TRY(read_header(reader, &header, err));
        time_bytes = 8;
    }
    if (header.leaps > 0) {
        return fail("it counts leap seconds, which the system's clock does not", err);
    }
    TRY(read_data(reader, &header, time_bytes, zone, err));
    if (header.version != 0) {
        return read_footer(reader, zone, err);
    }
    return reader->rest.size > 0 ? fail("something follows its end", err) : 0;
}

int zone_parse(struct bytes contents, struct zone **ret_zone, struct error *err)
{
    _cleanup_(zone_cleanup) struct zone *zone = NEW(struct zone);
    struct reader reader = reader_of(contents);
    TRY(read_zone(&reader, zone, err));
    *ret_zone = take_ptr(zone);
    return 0;
}

void zone_free(struct zone *zone)
{
    free(zone->transitions);
    free(zone);
}

/* Names of the database lead nowhere outside of its folder. */
static bool is_name(const char *name)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-/";
    size_t size = strnlen(name, ZONE_NAME_MAX_BYTES + 1);
    return size > 0 && size <= ZONE_NAME_MAX_BYTES && strspn(name, allowed) == size &&
           name[0] != '/' && name[size - 1] != '/' && !strstr(name, "//");
}

static int open_file(const char *name, const char *path, struct error *err)
{
    struct stat status;
    _cleanup_(file_close_cleanup) int descriptor =
        open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (descriptor < 0 && access(folder, F_OK) < 0) {
        return error_set(err, ERROR_NOT_FOUND,
                         "the time zone \"%s\": this host has no time zones in %s; install the "
                         "package tzdata",
                         name, folder);
    }
    if (descriptor < 0 && errno != ENOENT && errno != ENOTDIR) {
        return error_set_errno(err, errno, "the time zone \"%s\": opening %s", name, path);
    }
    if (descriptor < 0 || fstat(descriptor, &status) < 0 || !S_ISREG(status.st_mode)) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "there is no time zone \"%s\" in %s; expected one such as "
                         "\"Europe/Berlin\" or \"UTC\"",
                         name, folder);
    }
    return file_take(&descriptor);
}

int zone_open(const char *name, struct zone **ret_zone, struct error *err)
{
    _cleanup_(buffer_clear) struct buffer contents = {0};
    if (!is_name(name)) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "\"%.64s\" is not the name of a time zone; expected one such as "
                         "\"Europe/Berlin\" or \"UTC\"",
                         name);
    }
    _cleanup_(free_cleanup) char *path = file_join(folder, name);
    _cleanup_(file_close_cleanup) int descriptor = open_file(name, path, err);
    TRY(descriptor);
    TRY(buffer_read_descriptor(descriptor, path, ZONE_FILE_MAX_BYTES, &contents, err));
    if (zone_parse(buffer_bytes(&contents), ret_zone, err) < 0) {
        return error_prepend(err, "the time zone \"%s\": reading %s", name, path);
    }
    return 0;
}

/* How many of the transitions lie at or before the moment. */
static size_t count_before(const struct zone *zone, int64_t moment_s)
{
    size_t low = 0, high = zone->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (zone->transitions[middle].moment_s <= moment_s) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

int32_t zone_offset_s(const struct zone *zone, int64_t moment_s, int64_t *ret_until_s)
{
    size_t before = count_before(zone, moment_s);
    if (before == zone->count && zone->has_rule) {
        return zone_rule_offset_s(&zone->rule, moment_s, ret_until_s);
    }
    *ret_until_s = before < zone->count ? zone->transitions[before].moment_s : INT64_MAX;
    return before > 0 ? zone->transitions[before - 1].offset_s : zone->first_offset_s;
}
