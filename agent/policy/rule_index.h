/* Finds the first of many rules that matches, in a time that depends on the ID's segments alone.
 * Immutable; every thread. */
#pragma once

#include <stddef.h>

struct rule;
struct rule_index;

/* The position that stands for no rule. */
#define RULE_INDEX_NONE ((size_t)-1)

/* rules are borrowed, for as long as the index lives; at most UINT32_MAX - 1. */
struct rule_index *rule_index_new(const struct rule *rules, size_t count);
/* NULL is allowed. */
void rule_index_free(struct rule_index *index);
/* The lowest position of the rules that match, or RULE_INDEX_NONE. */
size_t rule_index_find(const struct rule_index *index, const char *spiffe_id);
