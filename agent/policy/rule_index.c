#include "agent/policy/rule_index.h"

#include <stdbool.h>
#include <string.h>

#include "agent/policy/rule.h"
#include "agent/spiffe_id.h"
#include "lib/base/memory.h"

/* What a pattern has in common with each ID that it matches: all of it, or, before its asterisk,
 * all up to a slash. One pass over an ID hashes each of its beginnings on the way, so a rule costs
 * nothing unless a beginning of the ID is its own. */
struct slot {
    uint64_t hash;
    uint32_t position_1; /* from 1; 0: the slot is free */
    uint32_t size;       /* of what is in common */
};

struct rule_index {
    const struct rule *rules;
    size_t any; /* the first "*", or RULE_INDEX_NONE */
    size_t mask;
    struct slot slots[]; /* open addressing, at most half of them taken */
};

/* FNV-1a. Patterns come from the operator, so nobody can choose them to collide. */
static const uint64_t hash_start = 0xcbf29ce484222325;

static uint64_t hash_next(uint64_t hash, char c)
{
    return (hash ^ (uint8_t)c) * 0x100000001b3;
}

static uint64_t hash_of(const char *text, size_t size)
{
    uint64_t hash = hash_start;
    for (size_t i = 0; i < size; i++) {
        hash = hash_next(hash, text[i]);
    }
    return hash;
}

/* FNV's low bits depend on few of the bytes. */
static size_t place_of(const struct rule_index *index, uint64_t hash)
{
    return (size_t)(hash ^ hash >> 32) & index->mask;
}

/* end is what follows in the pattern: an asterisk, or nothing. */
static bool is_slot_of(const struct rule_index *index, const struct slot *slot, const char *text,
                       size_t size, char end)
{
    const char *pattern = index->rules[slot->position_1 - 1].pattern;
    return slot->size == size && memcmp(pattern, text, size) == 0 && pattern[size] == end;
}

/* The slot of the beginning, or the free one where it would be. */
static size_t find_slot(const struct rule_index *index, const char *text, size_t size, char end,
                        uint64_t hash)
{
    size_t i = place_of(index, hash);
    while (
        index->slots[i].position_1 > 0 &&
        !(index->slots[i].hash == hash && is_slot_of(index, &index->slots[i], text, size, end))) {
        i = (i + 1) & index->mask;
    }
    return i;
}

static void add(struct rule_index *index, size_t position)
{
    const char *pattern = index->rules[position].pattern;
    if (strcmp(pattern, "*") == 0) {
        index->any = MIN(index->any, position);
        return;
    }
    size_t prefix = spiffe_pattern_prefix_size(pattern);
    size_t size = prefix > 0 ? prefix : strlen(pattern);
    uint64_t hash = hash_of(pattern, size);
    struct slot *slot = &index->slots[find_slot(index, pattern, size, pattern[size], hash)];
    if (slot->position_1 == 0) {
        *slot = (struct slot){hash, (uint32_t)position + 1, (uint32_t)size};
    }
}

struct rule_index *rule_index_new(const struct rule *rules, size_t count)
{
    size_t size = 16;
    while (size < count * 2) {
        size *= 2;
    }
    struct rule_index *index = memory_new(sizeof(*index) + size * sizeof(index->slots[0]));
    index->rules = rules;
    index->any = RULE_INDEX_NONE;
    index->mask = size - 1;
    for (size_t i = 0; i < count; i++) {
        add(index, i);
    }
    return index;
}

void rule_index_free(struct rule_index *index)
{
    free(index);
}

static size_t position_of(const struct rule_index *index, const char *text, size_t size, char end,
                          uint64_t hash)
{
    const struct slot *slot = &index->slots[find_slot(index, text, size, end, hash)];
    return slot->position_1 > 0 ? slot->position_1 - 1 : RULE_INDEX_NONE;
}

size_t rule_index_find(const struct rule_index *index, const char *spiffe_id)
{
    size_t found = index->any, size = 0;
    uint64_t hash = hash_start;
    while (spiffe_id[size]) {
        char c = spiffe_id[size++];
        hash = hash_next(hash, c);
        if (c == '/' && spiffe_id[size]) {
            found = MIN(found, position_of(index, spiffe_id, size, '*', hash));
        }
    }
    return MIN(found, position_of(index, spiffe_id, size, '\0', hash));
}
