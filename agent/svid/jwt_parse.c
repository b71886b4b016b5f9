#include "agent/svid/jwt_parse.h"

#include <string.h>

#include "agent/svid/jwt_validate.h"
#include "lib/base/text.h"

/* JWT-SVID 2.1: no others; above all neither "none" nor the symmetric ones. */
static const struct jwt_algorithm algorithms[] = {
    {"ES256", "EC", "P-256", 64}, {"ES384", "EC", "P-384", 96}, {"ES512", "EC", "P-521", 132},
    {"RS256", "RSA", NULL, 0},    {"RS384", "RSA", NULL, 0},    {"RS512", "RSA", NULL, 0},
    {"PS256", "RSA", NULL, 0},    {"PS384", "RSA", NULL, 0},    {"PS512", "RSA", NULL, 0},
};

static int fail_to_parse(struct error *err, const char *reason)
{
    return error_set(err, ERROR_INVALID_ARGUMENT, "unable to parse JWT token: %s", reason);
}

static int split(const char *token, struct jwt *jwt, struct error *err)
{
    size_t size = strnlen(token, (size_t)JWT_MAX_BYTES + 1);
    if (size > JWT_MAX_BYTES) {
        return fail_to_parse(err, "it is longer than 65536 bytes");
    }
    struct reader reader = reader_of((struct bytes){(const uint8_t *)token, size});
    size_t dots = 0;
    for (size_t i = 0; i < size; i++) {
        dots += token[i] == '.';
    }
    for (size_t i = 0; i < ARRAY_SIZE(jwt->parts); i++) {
        jwt->parts[i] = reader_until(&reader, '.');
        if (dots != 2 || jwt->parts[i].size == 0) {
            return fail_to_parse(err, "it is not three parts with a dot between each two");
        }
    }
    return 0;
}

/* The parser has a limit of its own, 2048; whoever walks the claims afterwards may have none. */
static bool is_too_deep(struct bytes json)
{
    size_t depth = 0;
    bool is_in_string = false;
    for (size_t i = 0; i < json.size; i++) {
        uint8_t c = json.data[i];
        if (is_in_string) {
            i += c == '\\';
            is_in_string = c != '"';
        } else if (c == '"') {
            is_in_string = true;
        } else if ((c == '{' || c == '[') && ++depth > JWT_MAX_DEPTH) {
            return true;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return false;
}

static int decode_object(struct bytes part, const char *what, json_t **ret_object,
                         struct error *err)
{
    _cleanup_(buffer_clear) struct buffer json = {0};
    json_error_t reason;
    if (text_base64url_decode((const char *)part.data, part.size, &json, err) < 0) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "unable to parse JWT token: its %s is not base64url", what);
    }
    if (is_too_deep(buffer_bytes(&json))) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "unable to parse JWT token: its %s is nested too deep", what);
    }
    json_t *object =
        json_loadb((const char *)json.data, json.size, JSON_REJECT_DUPLICATES, &reason);
    if (!json_is_object(object)) {
        json_decref(object);
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "unable to parse JWT token: its %s is not a JSON object: %s", what,
                         object ? "it is something else" : reason.text);
    }
    *ret_object = object;
    return 0;
}

static const struct jwt_algorithm *find_algorithm(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(algorithms); i++) {
        if (strcmp(algorithms[i].name, name) == 0) {
            return &algorithms[i];
        }
    }
    return NULL;
}

static int check_header(struct jwt *jwt, struct error *err)
{
    const char *name = json_string_value(json_object_get(jwt->header, "alg"));
    const json_t *type = json_object_get(jwt->header, "typ");
    const char *type_name = json_string_value(type);
    jwt->kid = json_string_value(json_object_get(jwt->header, "kid"));
    jwt->algorithm = name ? find_algorithm(name) : NULL;
    if (!jwt->algorithm) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "unable to parse JWT token: unexpected signature algorithm \"%s\"",
                         name ? name : "");
    }
    if (type && (!type_name || (strcmp(type_name, "JWT") != 0 && strcmp(type_name, "JOSE") != 0))) {
        return fail_to_parse(err, "its typ is neither JWT nor JOSE");
    }
    /* RFC 7515 4.1.11: whoever does not understand one of these must refuse; none is. */
    if (json_object_get(jwt->header, "crit")) {
        return fail_to_parse(err, "it has critical headers that are not understood");
    }
    if (!jwt->kid || *jwt->kid == '\0') {
        return error_set(err, ERROR_INVALID_ARGUMENT, "token missing key id");
    }
    return 0;
}

static int measure_signature(struct jwt *jwt, struct error *err)
{
    _cleanup_(buffer_clear) struct buffer signature = {0};
    if (text_base64url_decode((const char *)jwt->parts[2].data, jwt->parts[2].size, &signature,
                              err) < 0) {
        return fail_to_parse(err, "its signature is not base64url");
    }
    jwt->signature_bytes = signature.size;
    return 0;
}

int jwt_parse(const char *token, struct jwt *jwt, struct error *err)
{
    TRY(split(token, jwt, err));
    TRY(decode_object(jwt->parts[0], "header", &jwt->header, err));
    TRY(check_header(jwt, err));
    TRY(measure_signature(jwt, err));
    return decode_object(jwt->parts[1], "payload", &jwt->claims, err);
}

void jwt_clear(struct jwt *jwt)
{
    json_decref(jwt->header);
    json_decref(jwt->claims);
    *jwt = (struct jwt){0};
}
