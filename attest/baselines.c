#include <string.h>

#include "attest/policy.h"
#include "lib/base/memory.h"

void baselines_clear(struct baselines *baselines)
{
    free(baselines->items);
    *baselines = (struct baselines){0};
}

struct baseline *baselines_find(const struct baselines *baselines, const char *name)
{
    for (size_t i = 0; i < baselines->count; i++) {
        if (strcmp(baselines->items[i].name, name) == 0) {
            return &baselines->items[i];
        }
    }
    return NULL;
}

static bool is_name(const char *name)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t size = strnlen(name, BASELINE_NAME_MAX + 1);
    return size > 0 && size <= BASELINE_NAME_MAX && strspn(name, allowed) == size;
}

int baselines_add(struct baselines *baselines, const struct baseline *baseline, struct error *err)
{
    if (!is_name(baseline->name)) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "adding a baseline: \"%.*s\" is no name for one; use 1 to %d letters, "
                         "digits, '.', '_' and '-'",
                         BASELINE_NAME_MAX, baseline->name, BASELINE_NAME_MAX);
    }
    if (baselines_find(baselines, baseline->name)) {
        return error_set(err, ERROR_ALREADY_EXISTS,
                         "adding the baseline \"%s\": there is one of that name; remove it first "
                         "or choose another name",
                         baseline->name);
    }
    if (baselines->count == BASELINES_MAX) {
        return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                         "adding the baseline \"%s\": there are %d, which is the limit; remove "
                         "those that no boot needs any more",
                         baseline->name, BASELINES_MAX);
    }
    baselines->items =
        memory_resize_array(baselines->items, baselines->count + 1, sizeof(baselines->items[0]));
    baselines->items[baselines->count++] = *baseline;
    return 0;
}

int baselines_remove(struct baselines *baselines, const char *name, struct error *err)
{
    struct baseline *baseline = baselines_find(baselines, name);
    if (!baseline) {
        return error_set(err, ERROR_NOT_FOUND, "removing the baseline \"%s\": there is none", name);
    }
    size_t behind = baselines->count - 1 - (size_t)(baseline - baselines->items);
    memmove(baseline, baseline + 1, behind * sizeof(*baseline));
    baselines->count--;
    return 0;
}
