#include "agent/selector.h"

#include <string.h>

/* uid_t and gid_t; all ones means "none" to the kernel and belongs to nobody. */
enum { NUMBER_MAX = 4294967294 };

/* Each says with an error why no workload could ever have the value. */

static int check_number(const char *value, struct error *err)
{
    uint64_t number;
    TRY(text_parse_u64(value, 0, NUMBER_MAX, &number, err));
    if (value[0] == '0' && value[1] != '\0') {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "\"%.32s\" has a leading zero, which never matches", value);
    }
    return 0;
}

static int check_name(const char *value, struct error *err)
{
    return strpbrk(value, ":,\n")
               ? error_set(err, ERROR_INVALID_ARGUMENT, "a name has no ':' and no ','")
               : 0;
}

static int check_path(const char *value, struct error *err)
{
    size_t size = strlen(value);
    if (value[0] != '/') {
        return error_set(err, ERROR_INVALID_ARGUMENT, "a path is absolute");
    }
    for (const char *at = value; at; at = strchr(at + 1, '/')) {
        size_t segment = strcspn(at + 1, "/");
        if (segment == 0 || (segment == 1 && at[1] == '.') ||
            (segment == 2 && at[1] == '.' && at[2] == '.')) {
            return error_set(err, ERROR_INVALID_ARGUMENT,
                             "the kernel never reports a path with an empty part, \".\" or \"..\"");
        }
    }
    /* How the kernel marks a file that is gone; see attest.h. */
    static const char gone[] = " (deleted)";
    if (size >= sizeof(gone) && strcmp(value + size - (sizeof(gone) - 1), gone) == 0) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "a path that ends in \" (deleted)\" is never reported");
    }
    return 0;
}

static int check_sha256(const char *value, struct error *err)
{
    if (strlen(value) != 64 || strspn(value, "0123456789abcdef") != 64) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "it takes 64 lower-case hexadecimal digits");
    }
    return 0;
}

/* "sha256:HEX" or "sha512:HEX" */
static int check_fsverity(const char *value, struct error *err)
{
    static const struct {
        const char *prefix;
        size_t digits;
    } algorithms[] = {{"sha256:", 64}, {"sha512:", 128}};
    for (size_t i = 0; i < ARRAY_SIZE(algorithms); i++) {
        size_t size = strlen(algorithms[i].prefix), digits = algorithms[i].digits;
        if (strncmp(value, algorithms[i].prefix, size) == 0 && strlen(value + size) == digits &&
            strspn(value + size, "0123456789abcdef") == digits) {
            return 0;
        }
    }
    return error_set(err, ERROR_INVALID_ARGUMENT,
                     "it takes \"sha256:\" and 64, or \"sha512:\" and 128 lower-case hexadecimal "
                     "digits");
}

static const struct {
    const char *name;
    int (*check)(const char *value, struct error *err);
    const char *example;
} unix_selectors[] = {
    {"uid", check_number, "unix:uid:1000"},
    {"user", check_name, "unix:user:nginx"},
    {"gid", check_number, "unix:gid:1000"},
    {"group", check_name, "unix:group:www-data"},
    {"supplementary_gid", check_number, "unix:supplementary_gid:2000"},
    {"supplementary_group", check_name, "unix:supplementary_group:www-data"},
    {"path", check_path, "unix:path:/usr/bin/nginx"},
    {"sha256", check_sha256, "unix:sha256:3a6eb079... (64 digits)"},
    {"fsverity", check_fsverity, "unix:fsverity:sha256:3a6eb079... (64 digits)"},
};

/* value is what follows "unix:". */
static int check_unix(const char *value, struct error *err)
{
    size_t name_size = strcspn(value, ":");
    for (size_t i = 0; i < ARRAY_SIZE(unix_selectors); i++) {
        if (strlen(unix_selectors[i].name) != name_size ||
            memcmp(unix_selectors[i].name, value, name_size) != 0) {
            continue;
        }
        if (value[name_size] == '\0' || value[name_size + 1] == '\0') {
            return error_set(err, ERROR_INVALID_ARGUMENT, "it has no value; write it as in \"%s\"",
                             unix_selectors[i].example);
        }
        if (unix_selectors[i].check(value + name_size + 1, err) < 0) {
            error_prepend(err, "its value can match no workload");
            return -1;
        }
        return 0;
    }
    return error_set(err, ERROR_INVALID_ARGUMENT,
                     "type unix has uid, user, gid, group, supplementary_gid, "
                     "supplementary_group, path, sha256 and fsverity, but no \"%.*s\"",
                     (int)MIN(name_size, (size_t)64), value);
}

static int check_selector(const char *selector, bool is_known_type_needed, struct error *err)
{
    if (strnlen(selector, SELECTOR_MAX_BYTES + 1) > SELECTOR_MAX_BYTES) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "it has more than %d bytes",
                         SELECTOR_MAX_BYTES);
    }
    struct bytes bytes = bytes_of_text(selector);
    bool is_printable = text_is_utf8(bytes);
    for (size_t i = 0; i < bytes.size; i++) {
        is_printable = is_printable && bytes.data[i] >= 0x20 && bytes.data[i] != 0x7f;
    }
    if (!is_printable) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "it has control characters or bytes that are not UTF-8");
    }
    size_t type_size = strcspn(selector, ":");
    if (type_size == 0 || selector[type_size] == '\0') {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "it has no type; write type:value, as in \"unix:uid:1000\"");
    }
    if (selector[type_size + 1] == '\0') {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "it has no value; write type:value, as in \"unix:uid:1000\"");
    }
    if (type_size == 4 && memcmp(selector, "unix", 4) == 0) {
        return check_unix(selector + 5, err);
    }
    if (is_known_type_needed) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "no attestor here gives selectors of this type; known is \"unix\"");
    }
    return 0;
}

int selector_check(const char *selector, bool is_known_type_needed, struct error *err)
{
    if (check_selector(selector, is_known_type_needed, err) < 0) {
        error_prepend(err, "selector \"%.128s\"", selector);
        return -1;
    }
    return 0;
}

bool selectors_match(const struct text_list *needed, const struct text_list *present)
{
    for (size_t i = 0; i < needed->count; i++) {
        if (!text_list_has_sorted(present, needed->items[i])) {
            return false;
        }
    }
    return needed->count > 0;
}
