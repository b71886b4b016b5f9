/* JSON of policies and baselines, which operators write: read with jansson, every member known. */
#pragma once

#include <jansson.h>

#include "attest/policy.h"

struct policy_json_member {
    const char *name;
    int (*read)(const json_t *value, void *target, struct error *err);
    bool is_required;
};

/* At most that many bytes; anything else than one JSON value is refused. The caller drops the
 * reference. */
int policy_json_load(struct bytes json, size_t limit_bytes, json_t **ret_root, struct error *err);
/* Calls read of each member that is there; a name that is not in the table is refused, and so is
 * one without a value. The error's text begins with the member's name. */
int policy_json_object(const json_t *object, const struct policy_json_member *members, size_t count,
                       void *target, struct error *err);
/* Calls add for each text of the array. */
int policy_json_texts(const json_t *array, size_t limit,
                      int (*add)(void *target, const char *text, struct error *err), void *target,
                      struct error *err);
/* Baselines of the array are added; target: struct baselines. */
int policy_json_baselines(const json_t *array, void *target, struct error *err);

static inline void policy_json_cleanup(json_t **json)
{
    json_decref(*json);
}
