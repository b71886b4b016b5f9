#include "agent/policy/lock_file.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/file.h"
#include "lib/base/memory.h"

static void json_cleanup(json_t **json)
{
    json_decref(*json);
}

void lock_list_clear(struct lock_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        lock_clear(&list->items[i]);
    }
    free(list->items);
    *list = (struct lock_list){0};
}

static const struct {
    const char *name;
    size_t offset;
    json_type type;
    bool is_of_pid; /* else it has no place there */
} members[] = {
    {"id", offsetof(struct lock, id), JSON_STRING, false},
    {"what", offsetof(struct lock, what), JSON_STRING, false},
    {"reason", offsetof(struct lock, reason), JSON_STRING, false},
    {"by", offsetof(struct lock, by), JSON_STRING, false},
    {"created_at", offsetof(struct lock, created_at_s), JSON_INTEGER, false},
    {"ends_at", offsetof(struct lock, ends_at_s), JSON_INTEGER, false},
    {"boot_id", offsetof(struct lock, boot_id), JSON_STRING, true},
    {"start_time", offsetof(struct lock, start_time), JSON_INTEGER, true},
};

static int read_member(const json_t *object, size_t index, struct lock *lock, struct error *err)
{
    const json_t *value = json_object_get(object, members[index].name);
    void *place = (char *)lock + members[index].offset;
    if (!value || json_typeof(value) != members[index].type) {
        return error_set(err, ERROR_DATA_LOSS, "its \"%s\" is missing or of the wrong type",
                         members[index].name);
    }
    if (members[index].type == JSON_STRING) {
        *(char **)place = memory_copy_text(json_string_value(value));
        return 0;
    }
    if (json_integer_value(value) < 0) {
        return error_set(err, ERROR_DATA_LOSS, "its \"%s\" is below 0", members[index].name);
    }
    *(int64_t *)place = json_integer_value(value);
    return 0;
}

static int check_id(const char *id, struct error *err)
{
    if (strlen(id) != LOCK_ID_BYTES || strspn(id, "0123456789abcdef") != LOCK_ID_BYTES) {
        return error_set(err, ERROR_DATA_LOSS, "its \"id\" is not %d hexadecimal digits",
                         LOCK_ID_BYTES);
    }
    return 0;
}

static int read_lock(const json_t *object, struct lock *lock, struct error *err)
{
    const char *kind = json_string_value(json_object_get(object, "kind"));
    size_t expected = 1;
    if (!kind) {
        return error_set(err, ERROR_DATA_LOSS, "its \"kind\" is missing or of the wrong type");
    }
    TRY(lock_kind_parse(kind, &lock->kind, err));
    for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
        if (members[i].is_of_pid && lock->kind != LOCK_PID) {
            continue;
        }
        TRY(read_member(object, i, lock, err));
        expected++;
    }
    if (json_object_size(object) != expected) {
        return error_set(err, ERROR_DATA_LOSS, "it has members that do not belong there");
    }
    TRY(check_id(lock->id, err));
    return lock_check(lock, err);
}

static int read_locks(const json_t *locks, struct lock_list *list, struct error *err)
{
    if (json_array_size(locks) > LOCKS_MAX) {
        return error_set(err, ERROR_DATA_LOSS, "it has more than %d locks", LOCKS_MAX);
    }
    list->items = memory_new_array(json_array_size(locks), sizeof(*list->items));
    for (size_t i = 0; i < json_array_size(locks); i++) {
        if (read_lock(json_array_get(locks, i), &list->items[list->count++], err) < 0) {
            err->code = ERROR_DATA_LOSS;
            return error_prepend(err, "lock %zu", i + 1);
        }
    }
    return 0;
}

int lock_list_parse(struct bytes text, struct lock_list *ret_list, struct error *err)
{
    struct error failure;
    json_error_t problem;
    _cleanup_(json_cleanup) json_t *document =
        json_loadb((const char *)text.data, text.size, JSON_REJECT_DUPLICATES, &problem);
    if (!document) {
        return error_set(err, ERROR_DATA_LOSS, "line %d: %s", problem.line, problem.text);
    }
    const json_t *version = json_object_get(document, "version");
    const json_t *locks = json_object_get(document, "locks");
    if (!json_is_integer(version) || json_integer_value(version) != LOCK_FILE_VERSION ||
        !json_is_array(locks) || json_object_size(document) != 2) {
        return error_set(err, ERROR_DATA_LOSS,
                         "expected is an object of \"version\", which is %d, and \"locks\", a list",
                         LOCK_FILE_VERSION);
    }
    _cleanup_(lock_list_clear) struct lock_list list = {0};
    if (read_locks(locks, &list, &failure) < 0) {
        return error_set(err, failure.code, "%s", failure.text);
    }
    *ret_list = list;
    list = (struct lock_list){0};
    return 0;
}

int lock_file_read(const char *path, struct lock_list *ret_list, struct error *err)
{
    struct stat status;
    _cleanup_(buffer_clear) struct buffer text = {0};
    _cleanup_(file_close_cleanup) int descriptor =
        open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (descriptor < 0 || fstat(descriptor, &status) < 0) {
        return error_set_errno(err, errno, "opening %s", path);
    }
    if (!S_ISREG(status.st_mode)) {
        return error_set(err, ERROR_FAILED_PRECONDITION, "%s is not a regular file", path);
    }
    TRY(buffer_read_descriptor(descriptor, path, LOCK_FILE_MAX_BYTES, &text, err));
    if (lock_list_parse(buffer_bytes(&text), ret_list, err) < 0) {
        return error_prepend(err, "%s", path);
    }
    return 0;
}

static json_t *lock_json(const struct lock *lock)
{
    json_t *object = json_object();
    (void)json_object_set_new(object, "kind", json_string(lock_kind_name(lock->kind)));
    for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
        const void *place = (const char *)lock + members[i].offset;
        if (members[i].is_of_pid && lock->kind != LOCK_PID) {
            continue;
        }
        (void)json_object_set_new(object, members[i].name,
                                  members[i].type == JSON_STRING
                                      ? json_string(*(char *const *)place)
                                      : json_integer(*(const int64_t *)place));
    }
    return object;
}

int lock_file_write(const char *path, const struct lock *const *locks, size_t count,
                    struct error *err)
{
    json_t *items = json_array();
    for (size_t i = 0; i < count; i++) {
        (void)json_array_append_new(items, lock_json(locks[i]));
    }
    _cleanup_(json_cleanup) json_t *document =
        json_pack("{s:i, s:o}", "version", LOCK_FILE_VERSION, "locks", items);
    _cleanup_(free_cleanup) char *text = json_dumps(document, JSON_INDENT(1));
    if (!text) {
        return error_set(err, ERROR_INTERNAL, "writing %s: the locks cannot be put in JSON", path);
    }
    return file_write_atomic(path, bytes_of_text(text), 0600, err);
}
