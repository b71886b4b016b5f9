/* What was found good before, so that it is not looked at again: digests of an EK with its
 * certificate and chain, each with the time in which all of its certificates are valid. Bounded:
 * the one that was not asked for the longest goes first. Every thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/macro.h"

enum { EK_CACHE_MAX = 1024, EK_CACHE_KEY_BYTES = 32 };

struct ek_validity {
    int64_t from_s, to_s; /* as of to_s no longer, as OpenSSL has it */
};

struct ek_cache;

struct ek_cache *ek_cache_new(void);
void ek_cache_free(struct ek_cache *cache);

bool ek_cache_has(struct ek_cache *cache, const uint8_t key[EK_CACHE_KEY_BYTES], int64_t now_s);
void ek_cache_put(struct ek_cache *cache, const uint8_t key[EK_CACHE_KEY_BYTES],
                  const struct ek_validity *validity);
