#include <fnmatch.h>
#include <string.h>

#include "attest/facts.h"
#include "lib/base/memory.h"

static const struct {
    const char *name;
    const char *values[2]; /* NULL: any */
    bool is_numbered;      /* also with ".2" and so on at its end */
} names[] = {
    {"secure_boot", {"on", "off"}, false},     {"secure_boot.PK", {NULL, NULL}, false},
    {"secure_boot.KEK", {NULL, NULL}, false},  {"secure_boot.db", {NULL, NULL}, false},
    {"secure_boot.dbx", {NULL, NULL}, false},  {"secure_boot.authority", {NULL, NULL}, false},
    {"boot_application", {NULL, NULL}, true},  {"kernel_command_line", {NULL, NULL}, false},
    {"firmware_version", {NULL, NULL}, false}, {"separators", {"complete", "missing"}, false},
};

/* "NAME", then '=', '~' or the end. */
static struct bytes name_of(const char *wanted)
{
    return (struct bytes){(const uint8_t *)wanted, strcspn(wanted, "=~")};
}

static bool is_numbered_name(struct bytes name, const char *stem)
{
    const size_t size = strlen(stem);
    return name.size == size + 2 && memcmp(name.data, stem, size) == 0 && name.data[size] == '.' &&
           name.data[size + 1] >= '2' && name.data[size + 1] <= '0' + FACT_APPLICATIONS_MAX;
}

static bool find_name(struct bytes name, size_t *ret_index)
{
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (bytes_is_equal(name, bytes_of_text(names[i].name)) ||
            (names[i].is_numbered && is_numbered_name(name, names[i].name))) {
            *ret_index = i;
            return true;
        }
    }
    return false;
}

static int check_value(size_t index, const char *value, struct error *err)
{
    const char *const *values = names[index].values;
    if (!values[0] || strcmp(value, values[0]) == 0 || strcmp(value, values[1]) == 0) {
        return 0;
    }
    return error_set(err, ERROR_INVALID_ARGUMENT, "fact \"%s\" is \"%s\" or \"%s\", never \"%s\"",
                     names[index].name, values[0], values[1], value);
}

int facts_check_form(const char *wanted, struct error *err)
{
    const struct bytes name = name_of(wanted);
    const char *rest = wanted + name.size;
    size_t index;
    if (!find_name(name, &index)) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "there is no fact \"%.*s\"; see the table of facts in attestation.md",
                         (int)MIN(name.size, (size_t)64), wanted);
    }
    if (*rest == 0) {
        return 0;
    }
    if (rest[1] == 0 || strlen(rest + 1) > FACT_VALUE_MAX_BYTES) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "fact \"%s\" is to have a value of 1 to %d bytes after '%c'",
                         names[index].name, FACT_VALUE_MAX_BYTES, *rest);
    }
    return *rest == '=' ? check_value(index, rest + 1, err) : 0;
}

/* A backslash stands for itself: values have it in their \xHH. */
static bool is_match(const char *rest, const char *value)
{
    switch (*rest) {
    case 0:
        return true;
    case '=':
        return strcmp(rest + 1, value) == 0;
    default:
        return fnmatch(rest + 1, value, FNM_NOESCAPE) == 0;
    }
}

bool facts_hold(const struct facts *facts, const char *wanted)
{
    const struct bytes name = name_of(wanted);
    for (size_t i = 0; i < facts->count; i++) {
        if (bytes_is_equal(name, bytes_of_text(facts->items[i].name)) &&
            is_match(wanted + name.size, facts->items[i].value)) {
            return true;
        }
    }
    return false;
}
