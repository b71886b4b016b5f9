#include "attest/policy.h"

#include <string.h>

#include "attest/policy_json.h"

enum {
    POLICY_VERSION = 1,
    POLICY_MAX_BYTES = 4 << 20,
    FACTS_REQUIRED_MAX = 64,
    FACT_WANTED_MAX_BYTES = 4096,
    EK_HASHES_MAX = 1 << 16,
};

void attest_policy_clear(struct attest_policy *policy)
{
    if (policy->ek_trust) {
        ek_trust_free(policy->ek_trust);
    }
    baselines_clear(&policy->baselines);
    text_list_clear(&policy->facts);
    *policy = (struct attest_policy){0};
}

static int read_version(const json_t *value, void *target, struct error *err)
{
    (void)target;
    if (!json_is_integer(value) || json_integer_value(value) != POLICY_VERSION) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "only %d is understood here", POLICY_VERSION);
    }
    return 0;
}

static int read_pcrs(const json_t *value, void *target, struct error *err)
{
    if (!json_is_string(value)) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "expected a text such as \"sha256:0,7\"");
    }
    return pcr_selection_parse(json_string_value(value),
                               &((struct attest_policy *)target)->selection, err);
}

static int read_baselines(const json_t *value, void *target, struct error *err)
{
    return policy_json_baselines(value, &((struct attest_policy *)target)->baselines, err);
}

static int add_fact(void *target, const char *text, struct error *err)
{
    if (strlen(text) > FACT_WANTED_MAX_BYTES) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "a fact has more than %d bytes",
                         FACT_WANTED_MAX_BYTES);
    }
    TRY(facts_check_form(text, err));
    text_list_add(&((struct attest_policy *)target)->facts, text);
    return 0;
}

static int read_facts(const json_t *value, void *target, struct error *err)
{
    return policy_json_texts(value, FACTS_REQUIRED_MAX, add_fact, target, err);
}

static int add_ek_hash(void *target, const char *text, struct error *err)
{
    return ek_trust_add_hash(((struct attest_policy *)target)->ek_trust, text, err);
}

static int read_ek_hashes(const json_t *value, void *target, struct error *err)
{
    struct attest_policy *policy = target;
    if (!policy->ek_trust) {
        policy->ek_trust = ek_trust_new();
    }
    return policy_json_texts(value, EK_HASHES_MAX, add_ek_hash, target, err);
}

/* One of two words. */
static int read_choice(const json_t *value, const char *yes, const char *no, bool *ret_is_yes,
                       struct error *err)
{
    const char *text = json_string_value(value);
    *ret_is_yes = text && strcmp(text, yes) == 0;
    if (!*ret_is_yes && !(text && strcmp(text, no) == 0)) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "expected \"%s\" or \"%s\"", yes, no);
    }
    return 0;
}

static int read_event_log(const json_t *value, void *target, struct error *err)
{
    struct attest_policy *policy = target;
    return read_choice(value, "required", "optional", &policy->requires_event_log, err);
}

static int read_ima(const json_t *value, void *target, struct error *err)
{
    return read_choice(value, "required", "optional",
                       &((struct attest_policy *)target)->requires_ima, err);
}

static int read_ak_binding(const json_t *value, void *target, struct error *err)
{
    return read_choice(value, "optional", "required",
                       &((struct attest_policy *)target)->may_lack_ak_binding, err);
}

static const struct policy_json_member members[] = {
    {"version", read_version, true},      {"pcrs", read_pcrs, false},
    {"baselines", read_baselines, false}, {"facts", read_facts, false},
    {"event_log", read_event_log, false}, {"ima", read_ima, false},
    {"ek_hashes", read_ek_hashes, false}, {"ak_binding", read_ak_binding, false},
};

int attest_policy_parse(struct bytes json, struct attest_policy *ret_policy, struct error *err)
{
    _cleanup_(policy_json_cleanup) json_t *root = NULL;
    _cleanup_(attest_policy_clear) struct attest_policy policy = {0};
    if (policy_json_load(json, POLICY_MAX_BYTES, &root, err) < 0 ||
        policy_json_object(root, members, ARRAY_SIZE(members), &policy, err) < 0) {
        return error_prepend(err, "reading a policy");
    }
    *ret_policy = policy;
    policy = (struct attest_policy){0};
    return 0;
}
