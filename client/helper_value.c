#include "client/helper_value.h"

#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>

#include "lib/base/memory.h"

enum { ITEMS_MAX = 32, NAME_MAX_BYTES = 200, TEXT_MAX_BYTES = 2048 };
enum { RELOAD_TIMEOUT_MIN_MS = 100, RELOAD_TIMEOUT_MAX_MS = 3600 * 1000 };

int helper_read_text(const struct helper_key *key, const char *value, void *field,
                     struct error *err)
{
    char **place = field;
    (void)key;
    if (!value[0] || strlen(value) > TEXT_MAX_BYTES) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "expected 1 to %d bytes", TEXT_MAX_BYTES);
    }
    *place = memory_copy_text(value);
    return 0;
}

int helper_read_path(const struct helper_key *key, const char *value, void *field,
                     struct error *err)
{
    if (value[0] != '/' || strlen(value) >= PATH_MAX - NAME_MAX_BYTES) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "\"%.100s\" is not an absolute path, such as \"/run/web\"", value);
    }
    return helper_read_text(key, value, field, err);
}

/* In place. ".." stays: what it means depends on links. */
static void normalise_path(char *path)
{
    char *end = path;
    for (const char *from = path; *from;) {
        size_t size = strcspn(from, "/");
        if (size > 0 && !(size == 1 && from[0] == '.')) {
            *end++ = '/';
            memmove(end, from, size);
            end += size;
        }
        from += size + (from[size] == '/');
    }
    if (end == path) {
        *end++ = '/';
    }
    *end = '\0';
}

int helper_read_directory(const struct helper_key *key, const char *value, void *field,
                          struct error *err)
{
    TRY(helper_read_path(key, value, field, err));
    normalise_path(*(char **)field);
    return 0;
}

int helper_read_file_name(const struct helper_key *key, const char *value, void *field,
                          struct error *err)
{
    if (!value[0] || value[0] == '.' || strchr(value, '/') || strlen(value) > NAME_MAX_BYTES) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "\"%.100s\" is not the name of a file within the directory: no slash, no "
                         "dot at the front, %d bytes at most",
                         value, NAME_MAX_BYTES);
    }
    return helper_read_text(key, value, field, err);
}

int helper_read_spiffe_id(const struct helper_key *key, const char *value, void *field,
                          struct error *err)
{
    static const char scheme[] = "spiffe://";
    if (strncmp(value, scheme, strlen(scheme)) != 0 || !value[strlen(scheme)]) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "\"%.100s\" is not a SPIFFE ID, such as \"spiffe://example.org/web\"",
                         value);
    }
    return helper_read_text(key, value, field, err);
}

int helper_read_item(const struct helper_key *key, const char *value, void *field,
                     struct error *err)
{
    struct text_list *list = field;
    (void)key;
    if (!value[0] || list->count == ITEMS_MAX) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "expected 1 to %d items, none of them empty",
                         ITEMS_MAX);
    }
    text_list_add(list, value);
    return 0;
}

int helper_read_command(const struct helper_key *key, const char *value, void *field,
                        struct error *err)
{
    struct text_list *list = field;
    if (list->count == 0 && value[0] != '/') {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "\"%.100s\" is not the absolute path of a program; there is no shell "
                         "between: write { \"/usr/sbin/nginx\", \"-s\", \"reload\" }",
                         value);
    }
    return helper_read_item(key, value, field, err);
}

int helper_read_boolean(const struct helper_key *key, const char *value, void *field,
                        struct error *err)
{
    (void)key;
    return text_parse_boolean(value, field, err);
}

int helper_read_mode(const struct helper_key *key, const char *value, void *field,
                     struct error *err)
{
    mode_t mode = 0, *result = field;
    size_t size = strspn(value, "01234567");
    for (size_t i = 0; i < MIN(size, (size_t)4); i++) {
        mode = mode * 8 + (mode_t)(value[i] - '0');
    }
    if (size < 3 || size > 4 || value[size] || (mode & 0400) == 0 || (mode & ~key->mode_max) != 0) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "\"%.100s\" is not an octal mode that the owner can read by and that "
                         "grants no more than \"%04o\"",
                         value, key->mode_max);
    }
    *result = mode;
    return 0;
}

int helper_read_owner(const struct helper_key *key, const char *value, void *field,
                      struct error *err)
{
    uint64_t number;
    uid_t *result = field;
    const struct passwd *user = getpwnam(value);
    (void)key;
    if (user) {
        *result = user->pw_uid;
        return 0;
    }
    if (text_parse_u64(value, 0, UINT32_MAX - 1, &number, NULL) < 0) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "\"%.100s\" is neither a user of this host nor a uid", value);
    }
    *result = (uid_t)number;
    return 0;
}

int helper_read_group(const struct helper_key *key, const char *value, void *field,
                      struct error *err)
{
    uint64_t number;
    gid_t *result = field;
    const struct group *group = getgrnam(value);
    (void)key;
    if (group) {
        *result = group->gr_gid;
        return 0;
    }
    if (text_parse_u64(value, 0, UINT32_MAX - 1, &number, NULL) < 0) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "\"%.100s\" is neither a group of this host nor a gid", value);
    }
    *result = (gid_t)number;
    return 0;
}

int helper_read_duration(const struct helper_key *key, const char *value, void *field,
                         struct error *err)
{
    uint64_t ms;
    (void)key;
    TRY(text_parse_duration_ms(value, &ms, err));
    if (ms < RELOAD_TIMEOUT_MIN_MS || ms > RELOAD_TIMEOUT_MAX_MS) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "\"%.100s\" is not from \"100ms\" to \"1h\"",
                         value);
    }
    *(uint64_t *)field = ms;
    return 0;
}

/* Those that a program may take as "read your files again". */
static const struct {
    const char *name;
    int number;
} signals[] = {
    {"HUP", SIGHUP},   {"USR1", SIGUSR1}, {"USR2", SIGUSR2}, {"INT", SIGINT},
    {"QUIT", SIGQUIT}, {"TERM", SIGTERM}, {"CONT", SIGCONT}, {"WINCH", SIGWINCH},
};

int helper_read_signal(const struct helper_key *key, const char *value, void *field,
                       struct error *err)
{
    const char *name = strncmp(value, "SIG", 3) == 0 ? value + 3 : value;
    (void)key;
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
        if (strcmp(signals[i].name, name) == 0) {
            *(int *)field = signals[i].number;
            return 0;
        }
    }
    return error_set(err, ERROR_INVALID_ARGUMENT,
                     "\"%.100s\" is none of HUP, USR1, USR2, INT, QUIT, TERM, CONT and WINCH",
                     value);
}

int helper_read_log_level(const struct helper_key *key, const char *value, void *field,
                          struct error *err)
{
    (void)key;
    return log_parse_level(value, field, err);
}
