/* JWT-SVIDs by entry and audience, until half of their life; what is asked for twice at once is
 * issued once. Loop thread only. */
#pragma once

#include <sys/queue.h>

#include "agent/issuer/issuer.h"
#include "agent/svid/timer_heap.h"

enum {
    JWT_CACHE_MAX = 1000,      /* tokens */
    JWT_ISSUING_MAX = 16,      /* at the issuer at once */
    JWT_QUEUED_MAX = 512,      /* waiting for their turn there */
    JWT_QUEUED_ENTRY_MAX = 32, /* of them for one entry, so that one workload leaves room */
};

struct jwt_token;
struct jwt_cache;

/* Somebody who waits for a token. Embed it. */
struct jwt_wait {
    TAILQ_ENTRY(jwt_wait) link;
    /* Exactly once. token and failure are borrowed; one of them is NULL. */
    void (*done)(struct jwt_wait *wait, const char *token, int64_t expires_at_s,
                 const struct error *failure);
};

/* ended is called after each answer of the issuer. */
struct jwt_cache *jwt_cache_new(struct timer_heap *timers, struct issuer *issuer,
                                void (*ended)(void *user), void *user);
/* Nothing may be at the issuer any more. */
void jwt_cache_free(struct jwt_cache *cache);

/* A token for the entry with exactly this audience (sorted) and a life of at most ttl_limit_s (0:
 * the entry's). done perhaps before the return. A token past half of its life is renewed; where
 * that fails it still serves until it expires. */
void jwt_cache_get(struct jwt_cache *cache, struct entry *entry, const struct text_list *audience,
                   uint32_t ttl_limit_s, struct jwt_wait *wait);
/* The entry has gone or changed: its tokens are forgotten, and those who wait are refused with
 * PermissionDenied. */
void jwt_cache_forget(struct jwt_cache *cache, const char *entry_id);
/* Refuses, with Cancelled, what has not yet gone to the issuer. */
void jwt_cache_stop(struct jwt_cache *cache);
size_t jwt_cache_issuing_count(const struct jwt_cache *cache);
size_t jwt_cache_count(const struct jwt_cache *cache);
