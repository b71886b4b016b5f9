#include "agent/workload/cgroup.h"

#include <string.h>

#include "lib/base/macro.h"

enum { CONTAINER_ID_DIGITS = 64 };

static bool starts_with(struct bytes bytes, const char *start)
{
    size_t size = strlen(start);
    return bytes.size >= size && memcmp(bytes.data, start, size) == 0;
}

static bool take_start(struct bytes *bytes, const char *start)
{
    size_t size = strlen(start);
    if (!starts_with(*bytes, start)) {
        return false;
    }
    *bytes = (struct bytes){bytes->data + size, bytes->size - size};
    return true;
}

static bool take_end(struct bytes *bytes, const char *end)
{
    size_t size = strlen(end);
    if (bytes->size < size || memcmp(bytes->data + bytes->size - size, end, size) != 0) {
        return false;
    }
    bytes->size -= size;
    return true;
}

static bool has_only(struct bytes bytes, const char *also)
{
    for (size_t i = 0; i < bytes.size; i++) {
        uint8_t c = bytes.data[i];
        bool is_alphanumeric =
            (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!is_alphanumeric && (c == 0 || !strchr(also, c))) {
            return false;
        }
    }
    return true;
}

/* limit includes the NUL. */
static bool copy_name(struct bytes name, const char *also, char *ret_name, size_t limit)
{
    if (name.size == 0 || name.size >= limit || !has_only(name, also)) {
        return false;
    }
    memcpy(ret_name, name.data, name.size);
    ret_name[name.size] = '\0';
    return true;
}

static bool is_container_id(struct bytes text)
{
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f')) {
            return false;
        }
    }
    return text.size == CONTAINER_ID_DIGITS;
}

static bool has_text(struct bytes bytes, const char *text)
{
    return memmem(bytes.data, bytes.size, text, strlen(text)) != NULL;
}

/* "ID", "RUNTIME-ID.scope", "RUNTIME-ID", "SLICE:RUNTIME:ID". A runtime's monitor has a group of
 * its own beside the container's, named alike. */
static bool find_id(struct bytes component, char *ret_id)
{
    (void)take_end(&component, ".scope");
    if (component.size < CONTAINER_ID_DIGITS) {
        return false;
    }
    size_t before = component.size - CONTAINER_ID_DIGITS;
    struct bytes id = {component.data + before, CONTAINER_ID_DIGITS};
    if (!is_container_id(id) || has_text((struct bytes){component.data, before}, "conmon")) {
        return false;
    }
    if (before > 0 && component.data[before - 1] != '-' && component.data[before - 1] != ':') {
        return false;
    }
    return copy_name(id, "", ret_id, CGROUP_CONTAINER_MAX_BYTES);
}

static const char lxc_characters[] = "-_.";

/* "lxc.payload.NAME"; LXC before 4 had "lxc/NAME". */
static bool find_lxc(struct bytes component, struct bytes parent, char *ret_name)
{
    bool is_named = take_start(&component, "lxc.payload.") ||
                    bytes_is_equal(parent, bytes_of_text("lxc")) ||
                    bytes_is_equal(parent, bytes_of_text("lxc.payload"));
    return is_named && copy_name(component, lxc_characters, ret_name, CGROUP_CONTAINER_MAX_BYTES);
}

/* systemd.unit(5); slices are what the others lie in. */
static const char *const unit_ends[] = {".service", ".scope", ".socket", ".mount", ".swap"};

/* systemd puts an underscore before names that the kernel would take for files of its own. */
static bool find_unit(struct bytes component, char *ret_unit)
{
    (void)take_start(&component, "_");
    for (size_t i = 0; i < ARRAY_SIZE(unit_ends); i++) {
        struct bytes stem = component;
        if (take_end(&stem, unit_ends[i]) && stem.size > 0) {
            return copy_name(component, ":-_.\\@", ret_unit, CGROUP_UNIT_MAX_BYTES);
        }
    }
    return false;
}

static bool is_slice(struct bytes component)
{
    return take_end(&component, ".slice");
}

static void find_container(struct bytes component, struct bytes parent, char *ret_id)
{
    if (ret_id[0] == '\0' && !find_id(component, ret_id)) {
        (void)find_lxc(component, parent, ret_id);
    }
}

/* Below slices the first group is the unit, and what lies below that is the unit's own affair. */
static void read_path(struct bytes path, bool has_units, struct cgroup_names *names)
{
    bool is_unit_next = has_units && names->unit[0] == '\0';
    struct bytes parent = {0};
    struct reader reader = reader_of(path);
    while (reader.rest.size > 0) {
        struct bytes component = reader_until(&reader, '/');
        /* Two dots: above the root of the agent's own control group namespace. */
        if (component.size == 0 || bytes_is_equal(component, bytes_of_text(".."))) {
            continue;
        }
        if (is_unit_next && !is_slice(component)) {
            (void)find_unit(component, names->unit);
            is_unit_next = false;
        }
        find_container(component, parent, names->container_id);
        parent = component;
    }
}

/* "ID:CONTROLLERS:PATH". systemd's own hierarchy is "name=systemd" of version 1, or version 2,
 * which has no controllers here. */
static void read_line(struct bytes line, struct cgroup_names *names)
{
    struct reader reader = reader_of(line);
    (void)reader_until(&reader, ':');
    struct bytes controllers = reader_until(&reader, ':');
    struct bytes path = reader.rest;
    bool has_units =
        controllers.size == 0 || bytes_is_equal(controllers, bytes_of_text("name=systemd"));
    if (starts_with(path, "/")) {
        (void)take_end(&path, " (deleted)");
        read_path(path, has_units, names);
    }
}

void cgroup_parse(struct bytes text, struct cgroup_names *ret_names)
{
    struct reader reader = reader_of(text);
    *ret_names = (struct cgroup_names){0};
    while (reader.rest.size > 0) {
        read_line(reader_until(&reader, '\n'), ret_names);
    }
}
