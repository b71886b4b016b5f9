#include <jansson.h>

#include "agent/policy/outside.h"
#include "lib/base/memory.h"

enum { REASON_MAX_BYTES = 256 };

DEFINE_CLEANUP(json_t, json, json_decref);

static char *copy_reason(const json_t *reason)
{
    if (!reason) {
        return NULL;
    }
    char *copy = text_format("%.*s", (int)REASON_MAX_BYTES, json_string_value(reason));
    text_make_printable(copy);
    return copy;
}

/* An object that has more than what is understood here may mean something else than it seems to. */
static int read_object(const json_t *result, bool *ret_is_allowed, char **ret_reason,
                       struct error *err)
{
    const json_t *allow = json_object_get(result, "allow");
    const json_t *reason = json_object_get(result, "reason");
    size_t known = 1 + (reason ? 1 : 0);
    if (!json_is_boolean(allow) || (reason && !json_is_string(reason)) ||
        json_object_size(result) != known) {
        return error_set(err, ERROR_UNAVAILABLE,
                         "its result is an object, but not {\"allow\": true or false, "
                         "\"reason\": text}");
    }
    *ret_is_allowed = json_is_true(allow);
    *ret_reason = copy_reason(reason);
    return 0;
}

int outside_parse(struct bytes body, bool *ret_is_allowed, char **ret_reason, struct error *err)
{
    json_error_t problem;
    if (body.size > OUTSIDE_ANSWER_MAX_BYTES) {
        return error_set(err, ERROR_UNAVAILABLE, "its answer has more than %d bytes",
                         OUTSIDE_ANSWER_MAX_BYTES);
    }
    /* How deep it may go is limited by jansson (JSON_PARSER_MAX_DEPTH). */
    _cleanup_(json_cleanup) json_t *document = json_loadb(
        body.data ? (const char *)body.data : "", body.size, JSON_REJECT_DUPLICATES, &problem);
    if (!document) {
        return error_set(err, ERROR_UNAVAILABLE, "its answer is not JSON: %s at byte %d",
                         problem.text, problem.position);
    }
    /* Beside the result the server may tell about itself ("decision_id", "warning"). */
    const json_t *result = json_object_get(document, "result");
    if (json_is_object(result)) {
        return read_object(result, ret_is_allowed, ret_reason, err);
    }
    if (!json_is_boolean(result)) {
        return error_set(err, ERROR_UNAVAILABLE,
                         result ? "its result is neither true or false nor an object"
                                : "its answer has no result: the policy does not define one, so "
                                  "check path and load the policy");
    }
    *ret_is_allowed = json_is_true(result);
    *ret_reason = NULL;
    return 0;
}
