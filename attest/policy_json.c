#include "attest/policy_json.h"

#include <string.h>

int policy_json_load(struct bytes json, size_t limit_bytes, json_t **ret_root, struct error *err)
{
    json_error_t problem;
    if (json.size > limit_bytes) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "it has %zu bytes, more than the %zu that are allowed", json.size,
                         limit_bytes);
    }
    /* How deep it may go is limited by jansson (JSON_PARSER_MAX_DEPTH). */
    *ret_root = json_loadb(json.size ? (const char *)json.data : "", json.size,
                           JSON_REJECT_DUPLICATES, &problem);
    if (!*ret_root) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "line %d is not JSON: %s", problem.line,
                         problem.text);
    }
    return 0;
}

static const struct policy_json_member *find_member(const struct policy_json_member *members,
                                                    size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(members[i].name, name) == 0) {
            return &members[i];
        }
    }
    return NULL;
}

int policy_json_object(const json_t *object, const struct policy_json_member *members, size_t count,
                       void *target, struct error *err)
{
    const char *name = NULL;
    json_t *value = NULL;
    if (!json_is_object(object)) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "expected an object, {…}");
    }
    json_object_foreach((json_t *)object, name, value)
    {
        const struct policy_json_member *member = find_member(members, count, name);
        if (!member) {
            return error_set(err, ERROR_INVALID_ARGUMENT,
                             "\"%.64s\" is no member that is known here", name);
        }
        if (member->read(value, target, err) < 0) {
            return error_prepend(err, "\"%s\"", name);
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (members[i].is_required && !json_object_get(object, members[i].name)) {
            return error_set(err, ERROR_INVALID_ARGUMENT, "\"%s\" is missing", members[i].name);
        }
    }
    return 0;
}

int policy_json_texts(const json_t *array, size_t limit,
                      int (*add)(void *target, const char *text, struct error *err), void *target,
                      struct error *err)
{
    size_t i = 0;
    const json_t *item = NULL;
    if (!json_is_array(array) || json_array_size(array) > limit) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "expected an array of at most %zu texts",
                         limit);
    }
    json_array_foreach(array, i, item)
    {
        if (!json_is_string(item)) {
            return error_set(err, ERROR_INVALID_ARGUMENT, "item %zu is not a text", i + 1);
        }
        TRY(add(target, json_string_value(item), err));
    }
    return 0;
}
