/* SPIFFE IDs and trust domains (SPIFFE-ID 2). Every thread. */
#pragma once

#include <stdbool.h>

#include "lib/base/error.h"

enum { SPIFFE_ID_MAX_BYTES = 2048, TRUST_DOMAIN_MAX_BYTES = 255 };

/* Checks a trust domain name: 1 to 255 of a-z 0-9 . - _ ; the error says which rule is broken and
 * where. */
int trust_domain_check(const char *name, struct error *err);

/* Checks a whole SPIFFE ID by every rule of the standard: scheme, trust domain, path segments of
 * a-z A-Z 0-9 . - _ , no empty or dot segments, no trailing slash, no query, fragment, port or user
 * information, at most 2048 bytes. */
int spiffe_id_check(const char *id, struct error *err);
/* As spiffe_id_check, and it has a path (an SVID for a workload needs one) and lies in the trust
 * domain. */
int spiffe_id_check_workload(const char *id, const char *trust_domain, struct error *err);

/* Of an ID that was checked: the length of the trust domain, which starts at id + 9. */
size_t spiffe_id_trust_domain_size(const char *id);
bool spiffe_id_is_in(const char *id, const char *trust_domain);
/* Of an ID that was checked: the path with its leading slash, or "". Borrowed from id. */
const char *spiffe_id_path(const char *id);

/* A pattern of a rule: "*", a SPIFFE ID, or a SPIFFE ID ending in "/(asterisk)", which stands for
 * one or more further segments. Anything else is refused with a reason. */
int spiffe_pattern_check(const char *pattern, struct error *err);
bool spiffe_pattern_matches(const char *pattern, const char *id);
/* The length of what a pattern shares with each ID that it matches, its slash included; 0 where it
 * is "*" or one exact ID. */
size_t spiffe_pattern_prefix_size(const char *pattern);
