/* Selectors, "type:value", such as "unix:uid:1000". A workload's selectors are a sorted text_list
 * (text_list_sort_unique); an entry applies where all of its selectors are among them, byte for
 * byte. Every thread. */
#pragma once

#include "lib/base/text.h"

enum { SELECTOR_MAX_BYTES = 4096, SELECTORS_MAX = 128 };

/* Type and value are there, the value is printable UTF-8, and the name is one the agent knows: for
 * type "unix" one of uid, user, gid, group, supplementary_gid, supplementary_group, path, sha256,
 * fsverity with a value that can match (a number, an absolute path, lower-case hexadecimal digits).
 * Unknown types pass only where is_known_type_needed is false. */
int selector_check(const char *selector, bool is_known_type_needed, struct error *err);

/* Whether every item of needed (sorted) is in present (sorted). An empty needed never matches. */
bool selectors_match(const struct text_list *needed, const struct text_list *present);
