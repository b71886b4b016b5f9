#include <string.h>

#include "agent/config_value.h"
#include "agent/node/settings.h"
#include "attest/facts.h"
#include "attest/host/counter.h"
#include "attest/host/host.h"
#include "lib/base/memory.h"

enum { HEX_OF_SHA256 = 64 };

int config_read_selection(const struct config_key *key, const char *value, void *field,
                          struct error *err)
{
    (void)key;
    return pcr_selection_parse(value, field, err);
}

int config_read_ek_hash(const struct config_key *key, const char *value, void *field,
                        struct error *err)
{
    static const char prefix[] = "sha256:", digits[] = "0123456789abcdef";
    const char *hex = value + sizeof(prefix) - 1;
    if (strncmp(value, prefix, sizeof(prefix) - 1) != 0 || strlen(hex) != HEX_OF_SHA256 ||
        strspn(hex, digits) != HEX_OF_SHA256) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "\"%.100s\" is not the hash of an endorsement key; expected \"sha256:\" "
                         "and %d lower-case hexadecimal digits, as signet attest show prints it",
                         value, HEX_OF_SHA256);
    }
    return config_read_item(key, value, field, err);
}

int config_read_fact(const struct config_key *key, const char *value, void *field,
                     struct error *err)
{
    TRY(facts_check_form(value, err));
    return config_read_item(key, value, field, err);
}

static int read_log(const struct config_key *key, const char *value, const char *of_kernel,
                    char **field, struct error *err)
{
    char *path = NULL;
    if (strcmp(value, "kernel") == 0) {
        path = memory_copy_text(of_kernel);
    } else if (strcmp(value, "none") != 0 && config_read_path(key, value, (void *)&path, err) < 0) {
        return error_prepend(err, "neither \"none\" nor \"kernel\" nor a path");
    }
    free(*field);
    *field = path;
    return 0;
}

int config_read_event_log(const struct config_key *key, const char *value, void *field,
                          struct error *err)
{
    return read_log(key, value, ATTEST_HOST_EVENT_LOG, field, err);
}

int config_read_ima(const struct config_key *key, const char *value, void *field, struct error *err)
{
    return read_log(key, value, ATTEST_HOST_IMA, field, err);
}

int config_read_resets(const struct config_key *key, const char *value, void *field,
                       struct error *err)
{
    enum reset_policy *result = field;
    (void)key;
    *result = strcmp(value, "deny") == 0 ? RESET_DENY : RESET_ALLOW;
    if (*result == RESET_ALLOW && strcmp(value, "allow") != 0) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "\"%.100s\" is neither \"allow\" nor \"deny\"", value);
    }
    return 0;
}

int config_read_node_failure(const struct config_key *key, const char *value, void *field,
                             struct error *err)
{
    static const enum node_on_failure all[] = {NODE_LOCK, NODE_DENY_NEW, NODE_WARN};
    enum node_on_failure *result = field;
    (void)key;
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        if (strcmp(value, node_on_failure_name(all[i])) == 0) {
            *result = all[i];
            return 0;
        }
    }
    return error_set(err, ERROR_INVALID_ARGUMENT,
                     "\"%.100s\" is none of \"lock\", \"deny_new\" and \"warn\"", value);
}

int config_read_ak_type(const struct config_key *key, const char *value, void *field,
                        struct error *err)
{
    enum key_type type = KEY_TYPE_EC_P384;
    (void)key;
    if (key_type_parse(value, &type, NULL) < 0 || type == KEY_TYPE_EC_P384) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "\"%.100s\" is neither \"ec-p256\" nor \"rsa-2048\", which are the types "
                         "of attestation keys",
                         value);
    }
    *(enum key_type *)field = type;
    return 0;
}

int config_read_counter(const struct config_key *key, const char *value, void *field,
                        struct error *err)
{
    uint32_t *result = field;
    char *end = NULL;
    unsigned long index = strncmp(value, "0x", 2) == 0 ? strtoul(value, &end, 16) : 0;
    bool is_none = strcmp(value, "none") == 0;
    bool is_index = end && *end == '\0' && end != value + 2 && index >= COUNTER_INDEX_FIRST &&
                    index <= COUNTER_INDEX_LAST;
    (void)key;
    if (!is_none && !is_index) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "\"%.100s\" is neither \"none\" nor an NV index of the owner, from "
                         "\"0x%08x\" to \"0x%08x\"",
                         value, COUNTER_INDEX_FIRST, COUNTER_INDEX_LAST);
    }
    *result = is_none ? 0 : (uint32_t)index;
    return 0;
}

static unsigned count_values(const struct pcr_set *set)
{
    unsigned count = 0;
    for (size_t i = 0; i < set->count; i++) {
        count += (unsigned)__builtin_popcount(set->banks[i].mask);
    }
    return count;
}

int config_read_pcr(const struct config_key *key, const char *value, void *field, struct error *err)
{
    struct pcr_set *set = field;
    unsigned before = count_values(set);
    (void)key;
    TRY(pcr_set_put_text(set, value, err));
    return count_values(set) > before
               ? 0
               : error_set(err, ERROR_INVALID_ARGUMENT,
                           "\"%.40s...\": this register is there twice; leave one out", value);
}
