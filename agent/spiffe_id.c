#include "agent/spiffe_id.h"

#include <string.h>

#include "lib/base/memory.h"
#include "lib/base/text.h"

static const char scheme[] = "spiffe://";
enum { SCHEME_BYTES = sizeof(scheme) - 1 };

/* How much of a refused name an error text repeats. */
enum { SHOWN_BYTES = 256 };

/* What is read, for error texts. */
struct subject {
    const char *kind;
    const char *text;
};

/* position counts from 0, people from 1. */
static int refuse(const struct subject *subject, size_t position, const char *rule,
                  struct error *err)
{
    return error_set(err, ERROR_INVALID_ARGUMENT, "%s is wrong at byte %zu: %s: \"%.*s%s\"",
                     subject->kind, position + 1, rule, SHOWN_BYTES, subject->text,
                     strlen(subject->text) > SHOWN_BYTES ? "..." : "");
}

static bool is_lower_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_mark(char c)
{
    return c == '.' || c == '-' || c == '_';
}

/* Why a character that is not allowed tempts people, so that the error names the rule it breaks. */
static const struct {
    char character;
    const char *in_trust_domain, *in_path;
} forbidden[] = {
    {'@', "user information is not allowed (SPIFFE-ID 2.1)", NULL},
    {':', "a port is not allowed (SPIFFE-ID 2.1)", NULL},
    {'%', "percent-encoding is not allowed (SPIFFE-ID 2.1)",
     "percent-encoding is not allowed (SPIFFE-ID 2.2)"},
    {'?', "a query is not allowed (SPIFFE-ID 2)", "a query is not allowed (SPIFFE-ID 2)"},
    {'#', "a fragment is not allowed (SPIFFE-ID 2)", "a fragment is not allowed (SPIFFE-ID 2)"},
};

static const char *reason_in_trust_domain(char c)
{
    for (size_t i = 0; i < ARRAY_SIZE(forbidden); i++) {
        if (forbidden[i].character == c) {
            return forbidden[i].in_trust_domain;
        }
    }
    return is_upper(c) ? "a trust domain name is in lower case (SPIFFE-ID 2.1)"
                       : "a trust domain name has only a-z, 0-9, '.', '-' and '_' (SPIFFE-ID 2.1)";
}

static const char *reason_in_path(char c)
{
    for (size_t i = 0; i < ARRAY_SIZE(forbidden); i++) {
        if (forbidden[i].character == c && forbidden[i].in_path) {
            return forbidden[i].in_path;
        }
    }
    return "a path segment has only a-z, A-Z, 0-9, '.', '-' and '_' (SPIFFE-ID 2.2)";
}

/* The trust domain name from start on, up to end (exclusive), both positions in subject. */
static int check_trust_domain(const struct subject *subject, size_t start, size_t end,
                              struct error *err)
{
    if (start == end) {
        return refuse(subject, start, "the trust domain name is missing (SPIFFE-ID 2.1)", err);
    }
    for (size_t i = start; i < end; i++) {
        char c = subject->text[i];
        if (!is_lower_or_digit(c) && !is_mark(c)) {
            return refuse(subject, i, reason_in_trust_domain(c), err);
        }
    }
    if (end - start > TRUST_DOMAIN_MAX_BYTES) {
        return refuse(subject, start + TRUST_DOMAIN_MAX_BYTES,
                      "a trust domain name has at most 255 bytes (SPIFFE-ID 2.3)", err);
    }
    return 0;
}

int trust_domain_check(const char *name, struct error *err)
{
    const struct subject subject = {"trust domain name", name};
    if (strncmp(name, scheme, SCHEME_BYTES) == 0) {
        return refuse(&subject, 0, "give the name alone, without \"spiffe://\"", err);
    }
    return check_trust_domain(&subject, 0, strlen(name), err);
}

/* The segment that lies from start to end (exclusive), without its slash. */
static int check_segment(const struct subject *subject, size_t start, size_t end, struct error *err)
{
    const char *segment = subject->text + start;
    size_t size = end - start;
    if (size == 0) {
        const char *rule = subject->text[end] == '\0'
                               ? "a path does not end in a slash (SPIFFE-ID 2.2)"
                               : "a path segment is not empty (SPIFFE-ID 2.2)";
        return refuse(subject, start, rule, err);
    }
    for (size_t i = 0; i < size; i++) {
        if (!is_lower_or_digit(segment[i]) && !is_upper(segment[i]) && !is_mark(segment[i])) {
            return refuse(subject, start + i, reason_in_path(segment[i]), err);
        }
    }
    if ((size == 1 && segment[0] == '.') || (size == 2 && memcmp(segment, "..", 2) == 0)) {
        return refuse(subject, start, "a path segment is not \".\" or \"..\" (SPIFFE-ID 2.2)", err);
    }
    return 0;
}

static int check_path(const struct subject *subject, size_t start, struct error *err)
{
    while (subject->text[start] == '/') {
        start++;
        size_t end = start + strcspn(subject->text + start, "/");
        TRY(check_segment(subject, start, end, err));
        start = end;
    }
    return 0;
}

static int check_scheme(const struct subject *subject, struct error *err)
{
    for (size_t i = 0; i < SCHEME_BYTES; i++) {
        if (subject->text[i] != scheme[i]) {
            return refuse(subject, i, "a SPIFFE ID begins with \"spiffe://\" (SPIFFE-ID 2)", err);
        }
    }
    return 0;
}

static int check_id(const struct subject *subject, struct error *err)
{
    if (strnlen(subject->text, SPIFFE_ID_MAX_BYTES + 1) > SPIFFE_ID_MAX_BYTES) {
        return refuse(subject, SPIFFE_ID_MAX_BYTES,
                      "a SPIFFE ID has at most 2048 bytes (SPIFFE-ID 2.3)", err);
    }
    TRY(check_scheme(subject, err));
    /* A query or fragment may follow the name without a path. */
    size_t end = SCHEME_BYTES + strcspn(subject->text + SCHEME_BYTES, "/");
    TRY(check_trust_domain(subject, SCHEME_BYTES, end, err));
    return check_path(subject, end, err);
}

int spiffe_id_check(const char *id, struct error *err)
{
    const struct subject subject = {"SPIFFE ID", id};
    return check_id(&subject, err);
}

int spiffe_id_check_workload(const char *id, const char *trust_domain, struct error *err)
{
    const struct subject subject = {"SPIFFE ID", id};
    TRY(check_id(&subject, err));
    if (!spiffe_id_is_in(id, trust_domain)) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "the SPIFFE ID \"%.*s\" is of another trust domain; an ID here begins "
                         "with \"spiffe://%s/\"",
                         SHOWN_BYTES, id, trust_domain);
    }
    if (*spiffe_id_path(id) == '\0') {
        return refuse(&subject, strlen(id),
                      "a workload's SPIFFE ID has a path; the trust domain alone stands for the "
                      "authority (SPIFFE-ID 2.2)",
                      err);
    }
    return 0;
}

size_t spiffe_id_trust_domain_size(const char *id)
{
    return strcspn(id + SCHEME_BYTES, "/");
}

bool spiffe_id_is_in(const char *id, const char *trust_domain)
{
    size_t size = spiffe_id_trust_domain_size(id);
    return strlen(trust_domain) == size && memcmp(id + SCHEME_BYTES, trust_domain, size) == 0;
}

const char *spiffe_id_path(const char *id)
{
    return id + SCHEME_BYTES + spiffe_id_trust_domain_size(id);
}

size_t spiffe_pattern_prefix_size(const char *pattern)
{
    size_t size = strlen(pattern);
    bool has_star = size > SCHEME_BYTES + 1 && strcmp(pattern + size - 2, "/*") == 0;
    return has_star ? size - 1 : 0;
}

static int check_wildcards(const struct subject *subject, size_t size, struct error *err)
{
    const char *star = memchr(subject->text, '*', size);
    if (star) {
        return refuse(subject, (size_t)(star - subject->text),
                      "'*' stands alone or after the last slash, for one or more segments", err);
    }
    return 0;
}

int spiffe_pattern_check(const char *pattern, struct error *err)
{
    const struct subject subject = {"pattern", pattern};
    if (strcmp(pattern, "*") == 0) {
        return 0;
    }
    if (strnlen(pattern, SPIFFE_ID_MAX_BYTES + 1) > SPIFFE_ID_MAX_BYTES) {
        return refuse(&subject, SPIFFE_ID_MAX_BYTES,
                      "a SPIFFE ID has at most 2048 bytes (SPIFFE-ID 2.3)", err);
    }
    size_t prefix = spiffe_pattern_prefix_size(pattern);
    size_t size = prefix > 0 ? prefix - 1 : strlen(pattern);
    TRY(check_wildcards(&subject, size, err));
    _cleanup_(free_cleanup) char *id = text_format("%.*s", (int)size, pattern);
    const struct subject part = {"pattern", id};
    return check_id(&part, err);
}

bool spiffe_pattern_matches(const char *pattern, const char *id)
{
    if (strcmp(pattern, "*") == 0) {
        return true;
    }
    size_t prefix = spiffe_pattern_prefix_size(pattern);
    if (prefix == 0) {
        return strcmp(pattern, id) == 0;
    }
    return strncmp(pattern, id, prefix) == 0 && id[prefix] != '\0';
}
