#include "agent/svid/jwt_cache.h"

#include <sodium.h>
#include <string.h>

#include "agent/svid/hash.h"
#include "agent/svid/timing.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

TAILQ_HEAD(wait_queue, jwt_wait);
TAILQ_HEAD(token_queue, jwt_token);

enum state { STATE_IDLE, STATE_QUEUED, STATE_ISSUING };

struct jwt_token {
    struct jwt_cache *cache;
    char *key; /* entry id and audiences */
    size_t key_size;
    UT_hash_handle hh;
    struct entry *entry;
    struct text_list audience;
    uint32_t ttl_limit_s;
    char *text; /* NULL: none yet */
    int64_t received_s, renew_at_s, expires_at_s;
    uint64_t retry_at_ms; /* after a failure */
    struct error *failure;
    enum state state;
    bool is_answering; /* its text is in use */
    bool is_forgotten; /* not in the cache any more; ends when nothing needs it */
    struct wait_queue waits;
    struct jwt_request request;
    TAILQ_ENTRY(jwt_token) use;   /* the longest unused first */
    TAILQ_ENTRY(jwt_token) queue; /* for the issuer */
};

struct jwt_cache {
    struct timer_heap *timers;
    struct issuer *issuer;
    struct jwt_token *tokens;
    struct token_queue uses, queue;
    size_t queued_count, issuing_count;
    bool is_pumping;
    void (*ended)(void *user);
    void *user;
};

/* A JWT-SVID is a bearer's: whoever reads it has it. */
static void clear_text(char **text)
{
    if (*text) {
        sodium_memzero(*text, strlen(*text));
        free(take_ptr(*text));
    }
}

static void free_token(struct jwt_token *token)
{
    clear_text(&token->text);
    clear_text(&token->request.token);
    free(token->request.kid);
    text_list_clear(&token->request.audience);
    text_list_clear(&token->audience);
    entry_unref(token->entry);
    free(token->failure);
    free(token->key);
    free(token);
}

static void take_out(struct jwt_token *token)
{
    /* The analyzer takes the table of a token that is in it for one that may be missing. */
    HASH_DEL(token->cache->tokens, token); /* NOLINT(clang-analyzer-core.NullDereference) */
    TAILQ_REMOVE(&token->cache->uses, token, use);
    if (token->state == STATE_QUEUED) {
        TAILQ_REMOVE(&token->cache->queue, token, queue);
        token->cache->queued_count--;
        token->state = STATE_IDLE;
    }
    token->is_forgotten = true;
}

static bool is_unexpired(const struct jwt_token *token)
{
    return token->text &&
           timer_heap_now_s(token->cache->timers) < token->expires_at_s - TIMING_EXPIRY_MARGIN_S;
}

/* Also not where the clock was set back since: then it is not valid yet. */
static bool is_fresh(const struct jwt_token *token)
{
    int64_t now = timer_heap_now_s(token->cache->timers);
    return is_unexpired(token) && now < token->renew_at_s && now >= token->received_s - 1;
}

static void answer_one(struct jwt_token *token, struct jwt_wait *wait, const struct error *failure)
{
    if (failure) {
        wait->done(wait, NULL, 0, failure);
    } else {
        wait->done(wait, token->text, token->expires_at_s, NULL);
    }
}

static void free_if_over(struct jwt_token *token)
{
    if (token->is_forgotten && !token->is_answering && token->state == STATE_IDLE) {
        free_token(token);
    }
}

/* The token may be over afterwards. */
static void answer_all(struct jwt_token *token, const struct error *failure)
{
    /* Aside first: whoever is answered may ask again. */
    struct wait_queue waits = TAILQ_HEAD_INITIALIZER(waits);
    TAILQ_CONCAT(&waits, &token->waits, link);
    token->is_answering = true;
    for (struct jwt_wait *wait; (wait = TAILQ_FIRST(&waits)) != NULL;) {
        TAILQ_REMOVE(&waits, wait, link);
        answer_one(token, wait, failure);
    }
    token->is_answering = false;
    free_if_over(token);
}

static void pump(struct jwt_cache *cache);

static void note_failure(struct jwt_token *token, const struct error *failure)
{
    enum { PAUSE_MS = 1000 };
    if (!token->failure || strcmp(token->failure->text, failure->text) != 0) {
        log_warning("cannot issue a JWT-SVID spiffe_id=%s entry=%s reason=\"%s\"",
                    token->entry->spiffe_id, token->entry->id, failure->text);
    }
    if (!token->failure) {
        token->failure = NEW(struct error);
    }
    *token->failure = *failure;
    token->retry_at_ms = timer_heap_now_ms(token->cache->timers) + PAUSE_MS;
}

static void note_issued(struct jwt_token *token)
{
    clear_text(&token->text);
    token->text = take_ptr(token->request.token);
    token->received_s = timer_heap_now_s(token->cache->timers);
    token->expires_at_s = token->request.expires_at_s;
    token->renew_at_s = timing_renew_at_s(token->received_s, token->expires_at_s);
    token->retry_at_ms = 0;
    free(take_ptr(token->failure));
}

static void take_answer(struct jwt_token *token, const struct error *failure)
{
    struct error err;
    if (!failure) {
        note_issued(token);
        if (!is_unexpired(token)) {
            (void)error_set(&err, ERROR_UNAVAILABLE,
                            "the issuer's JWT-SVID for %s has expired already; are the clocks of "
                            "this host and of the issuer right?",
                            token->entry->spiffe_id);
            failure = &err;
        }
    }
    if (failure) {
        note_failure(token, failure);
    }
    text_list_clear(&token->request.audience);
    free(take_ptr(token->request.kid));
    clear_text(&token->request.token);
    answer_all(token, failure && !is_unexpired(token) ? failure : NULL);
}

static void on_issued(struct jwt_request *request, const struct error *failure)
{
    struct jwt_token *token = container_of(request, struct jwt_token, request);
    struct jwt_cache *cache = token->cache;
    cache->issuing_count--;
    token->state = STATE_IDLE;
    if (token->is_forgotten) {
        free_if_over(token);
    } else {
        take_answer(token, failure);
    }
    pump(cache);
    cache->ended(cache->user);
}

static void send_to_issuer(struct jwt_token *token)
{
    struct jwt_cache *cache = token->cache;
    TAILQ_REMOVE(&cache->queue, token, queue);
    cache->queued_count--;
    cache->issuing_count++;
    token->state = STATE_ISSUING;
    token->request = (struct jwt_request){
        .entry = token->entry,
        .ttl_limit_s = token->ttl_limit_s,
        .done = on_issued,
    };
    text_list_copy(&token->request.audience, &token->audience);
    cache->issuer->operations->jwt_issue(cache->issuer, &token->request);
}

static void pump(struct jwt_cache *cache)
{
    if (cache->is_pumping) { /* an issuer that answers at once must not pile up calls */
        return;
    }
    cache->is_pumping = true;
    while (cache->issuing_count < JWT_ISSUING_MAX && !TAILQ_EMPTY(&cache->queue)) {
        send_to_issuer(TAILQ_FIRST(&cache->queue));
    }
    cache->is_pumping = false;
}

static size_t count_queued(const struct jwt_cache *cache, const struct entry *entry)
{
    size_t count = 0;
    const struct jwt_token *token;
    TAILQ_FOREACH (token, &cache->queue, queue) {
        count += token->entry == entry;
    }
    return count;
}

static bool may_queue(const struct jwt_cache *cache, const struct entry *entry)
{
    return cache->queued_count < JWT_QUEUED_MAX &&
           count_queued(cache, entry) < JWT_QUEUED_ENTRY_MAX;
}

/* A token in the hands of the issuer cannot go; of those there are fewer than the limit. */
static void make_room(struct jwt_cache *cache)
{
    struct jwt_token *token = TAILQ_FIRST(&cache->uses);
    while (token && HASH_COUNT(cache->tokens) >= JWT_CACHE_MAX) {
        struct jwt_token *next = TAILQ_NEXT(token, use);
        if (token->state == STATE_IDLE && !token->is_answering) {
            take_out(token);
            free_token(token);
        }
        token = next;
    }
}

/* key is taken. */
static struct jwt_token *add_token(struct jwt_cache *cache, struct entry *entry,
                                   const struct text_list *audience, uint32_t ttl_limit_s,
                                   struct buffer *key)
{
    make_room(cache);
    struct jwt_token *token = NEW(struct jwt_token);
    token->cache = cache;
    token->entry = entry_ref(entry);
    text_list_copy(&token->audience, audience);
    token->ttl_limit_s = ttl_limit_s;
    TAILQ_INIT(&token->waits);
    token->key_size = key->size;
    token->key = (char *)take_ptr(key->data);
    HASH_ADD_KEYPTR(hh, cache->tokens, token->key, token->key_size, token);
    TAILQ_INSERT_TAIL(&cache->uses, token, use);
    return token;
}

static void append_key(struct buffer *key, const struct entry *entry,
                       const struct text_list *audience, uint32_t ttl_limit_s)
{
    buffer_append(key, entry->id, strlen(entry->id) + 1);
    buffer_append_u32(key, ttl_limit_s);
    buffer_append_u32(key, entry->jwt_svid_ttl_s); /* a changed one asks for another token */
    for (size_t i = 0; i < audience->count; i++) {
        buffer_append(key, audience->items[i], strlen(audience->items[i]) + 1);
    }
}

static void refuse_full(struct jwt_wait *wait)
{
    struct error failure;
    (void)error_set(&failure, ERROR_RESOURCE_EXHAUSTED,
                    "too many JWT-SVIDs are waiting to be issued; try again");
    wait->done(wait, NULL, 0, &failure);
}

void jwt_cache_get(struct jwt_cache *cache, struct entry *entry, const struct text_list *audience,
                   uint32_t ttl_limit_s, struct jwt_wait *wait)
{
    struct jwt_token *token = NULL;
    _cleanup_(buffer_clear) struct buffer key = {0};
    append_key(&key, entry, audience, ttl_limit_s);
    HASH_FIND(hh, cache->tokens, key.data, key.size, token);
    if (token) {
        TAILQ_REMOVE(&cache->uses, token, use);
        TAILQ_INSERT_TAIL(&cache->uses, token, use);
    }
    if (token && is_fresh(token)) {
        answer_one(token, wait, NULL);
        return;
    }
    bool has_failed = token && token->state == STATE_IDLE && token->failure &&
                      timer_heap_now_ms(cache->timers) < token->retry_at_ms;
    bool may_ask =
        (token && token->state != STATE_IDLE) || (!has_failed && may_queue(cache, entry));
    if (!may_ask && token && is_unexpired(token)) {
        answer_one(token, wait, NULL);
    } else if (has_failed) {
        answer_one(token, wait, token->failure);
    } else if (!may_ask) {
        refuse_full(wait);
    } else {
        token = token ? token : add_token(cache, entry, audience, ttl_limit_s, &key);
        TAILQ_INSERT_TAIL(&token->waits, wait, link);
        if (token->state == STATE_IDLE) {
            token->state = STATE_QUEUED;
            TAILQ_INSERT_TAIL(&cache->queue, token, queue);
            cache->queued_count++;
            pump(cache);
        }
    }
}

void jwt_cache_forget(struct jwt_cache *cache, const char *entry_id)
{
    struct error failure;
    (void)error_set(&failure, ERROR_PERMISSION_DENIED, "no identity issued");
    struct token_queue ended = TAILQ_HEAD_INITIALIZER(ended);
    struct jwt_token *next = NULL;
    for (struct jwt_token *token = TAILQ_FIRST(&cache->uses); token; token = next) {
        next = TAILQ_NEXT(token, use);
        if (strcmp(token->entry->id, entry_id) == 0) {
            take_out(token);
            TAILQ_INSERT_TAIL(&ended, token, use);
        }
    }
    for (struct jwt_token *token; (token = TAILQ_FIRST(&ended)) != NULL;) {
        TAILQ_REMOVE(&ended, token, use);
        if (token->is_answering) {
            continue; /* it ends there */
        }
        answer_all(token, &failure);
    }
}

void jwt_cache_stop(struct jwt_cache *cache)
{
    struct error failure;
    (void)error_set(&failure, ERROR_CANCELLED, "the agent stops");
    struct jwt_token *next = NULL;
    for (struct jwt_token *token = TAILQ_FIRST(&cache->queue); token; token = next) {
        next = TAILQ_NEXT(token, queue);
        take_out(token);
        answer_all(token, &failure);
    }
}

struct jwt_cache *jwt_cache_new(struct timer_heap *timers, struct issuer *issuer,
                                void (*ended)(void *user), void *user)
{
    struct jwt_cache *cache = NEW(struct jwt_cache);
    cache->timers = timers;
    cache->issuer = issuer;
    cache->ended = ended;
    cache->user = user;
    TAILQ_INIT(&cache->uses);
    TAILQ_INIT(&cache->queue);
    return cache;
}

void jwt_cache_free(struct jwt_cache *cache)
{
    struct jwt_token *next = NULL;
    for (struct jwt_token *token = TAILQ_FIRST(&cache->uses); token; token = next) {
        next = TAILQ_NEXT(token, use);
        take_out(token);
        free_token(token);
    }
    free(cache);
}

size_t jwt_cache_issuing_count(const struct jwt_cache *cache)
{
    return cache->issuing_count;
}

size_t jwt_cache_count(const struct jwt_cache *cache)
{
    return HASH_COUNT(cache->tokens);
}
