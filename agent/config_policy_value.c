#include "agent/config_value.h"

#include <string.h>

#include "agent/audit/audit.h"
#include "agent/metrics/metrics.h"
#include "agent/selector.h"
#include "agent/spiffe_id.h"
#include "lib/base/memory.h"

enum { AUDIENCE_MAX_BYTES = 1024 };

int config_read_large_number(const struct config_key *key, const char *value, void *field,
                             struct error *err)
{
    return text_parse_u64(value, key->minimum, key->maximum, field, err);
}

int config_read_milliseconds(const struct config_key *key, const char *value, void *field,
                             struct error *err)
{
    uint64_t ms;
    uint32_t *result = field;
    TRY(text_parse_duration_ms(value, &ms, err));
    if (ms < key->minimum || ms > key->maximum) {
        _cleanup_(free_cleanup) char *minimum = text_format_duration_ms(key->minimum);
        _cleanup_(free_cleanup) char *maximum = text_format_duration_ms(key->maximum);
        return error_set(err, ERROR_INVALID_ARGUMENT, "\"%.100s\" is not from \"%s\" to \"%s\"",
                         value, minimum, maximum);
    }
    *result = (uint32_t)ms;
    return 0;
}

int config_read_on_failure(const struct config_key *key, const char *value, void *field,
                           struct error *err)
{
    enum audit_on_failure *result = field;
    (void)key;
    *result = strcmp(value, "deny") == 0 ? AUDIT_ON_FAILURE_DENY : AUDIT_ON_FAILURE_CONTINUE;
    if (*result == AUDIT_ON_FAILURE_CONTINUE && strcmp(value, "continue") != 0) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "\"%.100s\" is neither \"deny\" nor \"continue\"", value);
    }
    return 0;
}

int config_read_pattern(const struct config_key *key, const char *value, void *field,
                        struct error *err)
{
    TRY(spiffe_pattern_check(value, err));
    return config_read_item(key, value, field, err);
}

int config_read_audience(const struct config_key *key, const char *value, void *field,
                         struct error *err)
{
    if (*value == '\0' || strnlen(value, AUDIENCE_MAX_BYTES + 1) > AUDIENCE_MAX_BYTES) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "a pattern of audiences has 1 to %d bytes, such as \"https://*.example."
                         "org\"",
                         AUDIENCE_MAX_BYTES);
    }
    return config_read_item(key, value, field, err);
}

int config_read_executable(const struct config_key *key, const char *value, void *field,
                           struct error *err)
{
    static const char *const prefixes[] = {"sha256:", "fsverity:"};
    _cleanup_(free_cleanup) char *selector = text_format("unix:%s", value);
    bool is_digest = false;
    for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
        is_digest = is_digest || strncmp(value, prefixes[i], strlen(prefixes[i])) == 0;
    }
    if (!is_digest || selector_check(selector, true, NULL) < 0) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "\"%.150s\" is no digest; expected \"sha256:\" and 64, or "
                         "\"fsverity:sha256:\" and 64, or \"fsverity:sha512:\" and 128 lower-case "
                         "hexadecimal digits",
                         value);
    }
    return config_read_item(key, selector, field, err);
}

int config_read_listen(const struct config_key *key, const char *value, void *field,
                       struct error *err)
{
    TRY(metrics_listen_check(value, err));
    return config_read_text(key, value, field, err);
}
