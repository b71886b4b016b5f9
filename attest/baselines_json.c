#include <string.h>

#include "attest/policy_json.h"
#include "lib/base/memory.h"

enum { BASELINES_FILE_MAX_BYTES = 4 << 20, VALUES_MAX = PCR_BANKS_MAX * PCR_COUNT };

static int read_name(const json_t *value, void *target, struct error *err)
{
    struct baseline *baseline = target;
    const char *name = json_string_value(value);
    size_t size = name ? strlen(name) : 0;
    if (size == 0 || size > BASELINE_NAME_MAX) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "expected a text of 1 to %d bytes",
                         BASELINE_NAME_MAX);
    }
    memcpy(baseline->name, name, size + 1);
    return 0;
}

static int add_pcr(void *target, const char *text, struct error *err)
{
    struct baseline *baseline = target;
    struct pcr_set one = {0};
    TRY(pcr_set_put_text(&one, text, err));
    unsigned index = (unsigned)__builtin_ctz(one.banks[0].mask);
    if (pcr_set_value(&baseline->pcrs, one.banks[0].bank, index)) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "\"%.16s…\" is there twice", text);
    }
    return pcr_set_put_text(&baseline->pcrs, text, err);
}

static int read_pcrs(const json_t *value, void *target, struct error *err)
{
    return policy_json_texts(value, VALUES_MAX, add_pcr, target, err);
}

static int read_open(const json_t *value, void *target, struct error *err)
{
    struct baseline *baseline = target;
    size_t i = 0;
    const json_t *item = NULL;
    if (!json_is_array(value)) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "expected an array of numbers of PCRs");
    }
    json_array_foreach(value, i, item)
    {
        json_int_t index = json_is_integer(item) ? json_integer_value(item) : -1;
        if (index < 0 || index >= PCR_COUNT || (baseline->open_mask >> index & 1)) {
            return error_set(err, ERROR_INVALID_ARGUMENT,
                             "item %zu is not the number of a PCR (0 to %d), or is there twice",
                             i + 1, PCR_COUNT - 1);
        }
        baseline->open_mask |= UINT32_C(1) << index;
    }
    return 0;
}

static int read_seconds(const json_t *value, int64_t *ret_seconds, struct error *err)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "expected seconds since 1970");
    }
    *ret_seconds = json_integer_value(value);
    return 0;
}

static int read_ends_at(const json_t *value, void *target, struct error *err)
{
    return read_seconds(value, &((struct baseline *)target)->ends_at_s, err);
}

static int read_made_at(const json_t *value, void *target, struct error *err)
{
    return read_seconds(value, &((struct baseline *)target)->made_at_s, err);
}

static int read_reset(const json_t *value, void *target, struct error *err)
{
    json_int_t count = json_is_integer(value) ? json_integer_value(value) : -1;
    if (count < 0 || count > UINT32_MAX) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "expected a count of resets");
    }
    ((struct baseline *)target)->announced_at_reset = (uint32_t)count;
    return 0;
}

static const struct policy_json_member members[] = {
    {"name", read_name, true},        {"pcrs", read_pcrs, true},
    {"open", read_open, false},       {"announced_at_reset", read_reset, false},
    {"ends_at", read_ends_at, false}, {"made_at", read_made_at, false},
};

static int add_baseline(const json_t *item, struct baselines *baselines, struct error *err)
{
    struct baseline baseline = {0};
    TRY(policy_json_object(item, members, ARRAY_SIZE(members), &baseline, err));
    /* It would accept every state. */
    if (baseline.pcrs.count == 0 && baseline.open_mask == 0) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "\"pcrs\": expected one value at least");
    }
    return baselines_add(baselines, &baseline, err);
}

int policy_json_baselines(const json_t *array, void *target, struct error *err)
{
    size_t i = 0;
    const json_t *item = NULL;
    if (!json_is_array(array)) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "expected an array of baselines");
    }
    json_array_foreach(array, i, item)
    {
        if (add_baseline(item, target, err) < 0) {
            return error_prepend(err, "baseline %zu", i + 1);
        }
    }
    return 0;
}

int baselines_parse(struct bytes json, struct baselines *ret_baselines, struct error *err)
{
    _cleanup_(policy_json_cleanup) json_t *root = NULL;
    _cleanup_(baselines_clear) struct baselines baselines = {0};
    if (policy_json_load(json, BASELINES_FILE_MAX_BYTES, &root, err) < 0 ||
        policy_json_baselines(root, &baselines, err) < 0) {
        return error_prepend(err, "reading baselines");
    }
    *ret_baselines = baselines;
    baselines = (struct baselines){0};
    return 0;
}

static json_t *make_pcrs(const struct pcr_set *pcrs)
{
    json_t *array = json_array();
    for (size_t i = 0; i < pcrs->count; i++) {
        const struct pcr_bank *bank = &pcrs->banks[i];
        const struct hash_algorithm *hash = hash_by_id(bank->bank);
        for (unsigned index = 0; hash && index < PCR_COUNT; index++) {
            if (bank->mask >> index & 1) {
                _cleanup_(free_cleanup) char *hex =
                    text_hex((struct bytes){bank->values[index], hash->size});
                (void)json_array_append_new(array,
                                            json_sprintf("%s:%u=%s", hash->name, index, hex));
            }
        }
    }
    return array;
}

static json_t *make_baseline(const struct baseline *baseline)
{
    json_t *object = json_object();
    (void)json_object_set_new(object, "name", json_string(baseline->name));
    (void)json_object_set_new(object, "pcrs", make_pcrs(&baseline->pcrs));
    if (baseline->open_mask) {
        json_t *open = json_array();
        for (unsigned index = 0; index < PCR_COUNT; index++) {
            if (baseline->open_mask >> index & 1) {
                (void)json_array_append_new(open, json_integer(index));
            }
        }
        (void)json_object_set_new(object, "open", open);
        (void)json_object_set_new(object, "announced_at_reset",
                                  json_integer(baseline->announced_at_reset));
    }
    if (baseline->ends_at_s) {
        (void)json_object_set_new(object, "ends_at", json_integer(baseline->ends_at_s));
    }
    (void)json_object_set_new(object, "made_at", json_integer(baseline->made_at_s));
    return object;
}

static int append_text(const char *text, size_t size, void *user)
{
    buffer_append(user, text, size);
    return 0;
}

void baselines_format(const struct baselines *baselines, struct buffer *ret_json)
{
    _cleanup_(policy_json_cleanup) json_t *array = json_array();
    for (size_t i = 0; i < baselines->count; i++) {
        (void)json_array_append_new(array, make_baseline(&baselines->items[i]));
    }
    /* Fails for want of memory alone, as memory.h has it; half a file would lose baselines. */
    if (json_dump_callback(array, append_text, ret_json, JSON_INDENT(1)) != 0) {
        abort();
    }
    buffer_append_text(ret_json, "\n");
}
