#include "agent/config_value.h"

#include <inttypes.h>
#include <string.h>

#include "agent/config.h"
#include "agent/spiffe_id.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

enum { TEXT_MAX_BYTES = 4096, TITLE_MAX_BYTES = 64 };

static int keep_text(const char *value, void *field)
{
    char **text = field;
    *text = memory_copy_text(value);
    return 0;
}

int config_read_text(const struct config_key *key, const char *value, void *field,
                     struct error *err)
{
    (void)key;
    if (*value == '\0' || strnlen(value, TEXT_MAX_BYTES + 1) > TEXT_MAX_BYTES) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "it takes 1 to %d bytes", TEXT_MAX_BYTES);
    }
    return keep_text(value, field);
}

static int check_path(const char *path, struct error *err)
{
    bool has_slash_at_end = *path && path[strlen(path) - 1] == '/';
    if (path[0] != '/' || has_slash_at_end || strnlen(path, TEXT_MAX_BYTES) == TEXT_MAX_BYTES) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "\"%.200s\" is not an absolute path such as \"/run/signet\"", path);
    }
    for (const char *at = path; at; at = strchr(at + 1, '/')) {
        size_t size = strcspn(at + 1, "/");
        if (size == 0 || (size <= 2 && strspn(at + 1, ".") == size)) {
            return error_set(err, ERROR_INVALID_ARGUMENT,
                             "the path \"%.200s\" has an empty part, \".\" or \"..\"; write it "
                             "without",
                             path);
        }
    }
    return 0;
}

int config_read_path(const struct config_key *key, const char *value, void *field,
                     struct error *err)
{
    (void)key;
    TRY(check_path(value, err));
    return keep_text(value, field);
}

static bool is_name(const char *value)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t size = strspn(value, allowed);
    return size > 0 && size <= TITLE_MAX_BYTES && value[size] == '\0' && value[0] != '.';
}

int config_read_name(const struct config_key *key, const char *value, void *field,
                     struct error *err)
{
    (void)key;
    if (!is_name(value)) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "\"%.100s\" is not a name of 1 to %d of a-z A-Z 0-9 . _ -", value,
                         TITLE_MAX_BYTES);
    }
    return keep_text(value, field);
}

int config_read_module(const struct config_key *key, const char *value, void *field,
                       struct error *err)
{
    if (is_name(value)) {
        return keep_text(value, field);
    }
    if (config_read_path(key, value, field, err) < 0) {
        return error_prepend(err, "neither the name of a module that p11-kit knows nor its path");
    }
    return 0;
}

int config_read_token(const struct config_key *key, const char *value, void *field,
                      struct error *err)
{
    if (strncmp(value, "pkcs11:", 7) == 0 && strstr(value, "pin-")) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "the URI of a token names no PIN; leave out pin-value and pin-source and "
                         "give the key pin as \"file:PATH\"");
    }
    return config_read_text(key, value, field, err);
}

/* What stands where a PIN is expected may be one, so these errors never repeat it. */
static int read_pin_file(const char *path, struct pin_source *pin, struct error *err)
{
    if (check_path(path, NULL) < 0) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "after \"file:\" comes the absolute path of a file, as in "
                         "\"file:/etc/signet/hsm.pin\"");
    }
    return keep_text(path, &pin->path);
}

static int read_pin_sealed(const char *path, struct pin_source *pin, struct error *err)
{
    if (check_path(path, NULL) < 0) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "after \"tpm-sealed:\" comes the absolute path of a file that signet "
                         "seal wrote, as in \"tpm-sealed:/etc/signet/hsm.sealed\"");
    }
    pin->kind = PIN_TPM_SEALED;
    return keep_text(path, &pin->path);
}

static int read_pin_credential(const char *name, struct pin_source *pin, struct error *err)
{
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    if (!is_name(name)) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "after \"credential:\" comes the name of a systemd credential, of a-z "
                         "A-Z 0-9 . _ -");
    }
    if (!folder || folder[0] != '/') {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "\"credential:NAME\" needs systemd, but CREDENTIALS_DIRECTORY is not "
                         "set; add LoadCredential=NAME:PATH to the unit, or use \"file:PATH\"");
    }
    pin->path = file_join(folder, name);
    return 0;
}

int config_read_pin(const struct config_key *key, const char *value, void *field, struct error *err)
{
    static const struct {
        const char *prefix;
        int (*read)(const char *value, struct pin_source *pin, struct error *err);
    } sources[] = {{"file:", read_pin_file},
                   {"credential:", read_pin_credential},
                   {"tpm-sealed:", read_pin_sealed}};
    (void)key;
    for (size_t i = 0; i < ARRAY_SIZE(sources); i++) {
        size_t size = strlen(sources[i].prefix);
        if (strncmp(value, sources[i].prefix, size) == 0) {
            return sources[i].read(value + size, field, err);
        }
    }
    return error_set(err, ERROR_INVALID_ARGUMENT,
                     "a PIN is not written into this file, since it would end up in backups and "
                     "in the hands of whoever may read it; write it to a file of mode 0600 and "
                     "give \"file:PATH\", give \"credential:NAME\" of systemd, or seal it "
                     "(signet seal) and give \"tpm-sealed:PATH\"");
}

int config_read_trust_domain(const struct config_key *key, const char *value, void *field,
                             struct error *err)
{
    (void)key;
    TRY(trust_domain_check(value, err));
    return keep_text(value, field);
}

int config_read_number(const struct config_key *key, const char *value, void *field,
                       struct error *err)
{
    uint64_t number;
    unsigned *result = field;
    TRY(text_parse_u64(value, key->minimum, key->maximum, &number, err));
    *result = (unsigned)number;
    return 0;
}

int config_read_size(const struct config_key *key, const char *value, void *field,
                     struct error *err)
{
    static const char units[] = "KMG";
    uint64_t number = 0, *result = field;
    size_t size = strlen(value);
    const char *unit = size > 0 ? strchr(units, value[size - 1]) : NULL;
    unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
    char digits[24] = "";
    size_t digits_size = unit ? size - 1 : size;
    bool is_bad = digits_size >= sizeof(digits);
    if (!is_bad) {
        memcpy(digits, value, digits_size);
        is_bad = text_parse_u64(digits, 0, key->maximum >> shift, &number, NULL) < 0 ||
                 number << shift < key->minimum;
    }
    if (is_bad) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "\"%.100s\" is not a size of %" PRIu64 " to %" PRIu64
                         " bytes, such as 1048576 or \"512M\" (K, M or G)",
                         value, key->minimum, key->maximum);
    }
    *result = number << shift;
    return 0;
}

int config_read_duration(const struct config_key *key, const char *value, void *field,
                         struct error *err)
{
    uint64_t ms;
    uint32_t *result = field;
    TRY(text_parse_duration_ms(value, &ms, err));
    if (ms % 1000 != 0 || ms / 1000 < key->minimum || ms / 1000 > key->maximum) {
        _cleanup_(free_cleanup) char *minimum = text_format_duration_ms(key->minimum * 1000);
        _cleanup_(free_cleanup) char *maximum = text_format_duration_ms(key->maximum * 1000);
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "\"%.100s\" is not in whole seconds from \"%s\" to \"%s\"", value, minimum,
                         maximum);
    }
    *result = (uint32_t)(ms / 1000);
    return 0;
}

int config_read_boolean(const struct config_key *key, const char *value, void *field,
                        struct error *err)
{
    (void)key;
    return text_parse_boolean(value, field, err);
}

int config_read_log_level(const struct config_key *key, const char *value, void *field,
                          struct error *err)
{
    (void)key;
    return log_parse_level(value, field, err);
}

int config_read_key_type(const struct config_key *key, const char *value, void *field,
                         struct error *err)
{
    (void)key;
    return key_type_parse(value, field, err);
}

int config_read_protection(const struct config_key *key, const char *value, void *field,
                           struct error *err)
{
    static const enum key_protection all[] = {KEY_PROTECTION_HARDWARE, KEY_PROTECTION_GUARDED,
                                              KEY_PROTECTION_DELIVERED};
    enum key_protection *result = field;
    (void)key;
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        if (strcmp(value, key_protection_name(all[i])) == 0) {
            *result = all[i];
            return 0;
        }
    }
    return error_set(err, ERROR_INVALID_ARGUMENT,
                     "\"%.100s\" is none of \"hardware\", \"guarded\" and \"delivered\"", value);
}

int config_read_keystore_type(const struct config_key *key, const char *value, void *field,
                              struct error *err)
{
    enum config_keystore_type *result = field;
    (void)key;
    *result = strcmp(value, "tpm") == 0 ? CONFIG_KEYSTORE_TPM : CONFIG_KEYSTORE_PKCS11;
    if (*result == CONFIG_KEYSTORE_PKCS11 && strcmp(value, "pkcs11") != 0) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "\"%.100s\" is neither \"tpm\" nor \"pkcs11\"", value);
    }
    return 0;
}

int config_read_selector(const struct config_key *key, const char *value, void *field,
                         struct error *err)
{
    TRY(selector_check(value, true, err));
    return config_read_item(key, value, field, err);
}

int config_read_item(const struct config_key *key, const char *value, void *field,
                     struct error *err)
{
    struct text_list *list = field;
    if (list->count >= key->maximum) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "more than %" PRIu64 " items", key->maximum);
    }
    text_list_add(list, value);
    return 0;
}
