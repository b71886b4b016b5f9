/* A manager with an issuer that obeys the test, clocks that the test sets, a keystore that passes
 * for hardware and one in memory. Each test program of this folder includes it once. */
#pragma once

#include "tests/unit/cmocka_all.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <uv.h>

#include "agent/svid/state.h"
#include "lib/base/clock.h"
#include "lib/base/memory.h"
#include "pkcs11/driver.h"
#include "pkcs11/memory/memory.h"

enum { FIXTURE_LIFE_S = 3600, FIXTURE_PATIENCE_MS = 20000 };

/* The clocks. The monotonic one goes on with the true one, so that what is due comes due. */
static int64_t fixture_wall_ms = 1700000000000;
static uint64_t fixture_monotonic_ms = 1000000;
static inline int64_t fixture_now_s(void)
{
    return fixture_wall_ms / 1000;
}
static inline uint64_t fixture_now_ms(void)
{
    return fixture_monotonic_ms;
}
static const struct timer_clock fixture_clock = {fixture_now_s, fixture_now_ms};

/* The issuer. */
struct fake_issuer {
    struct issuer issuer;
    uv_timer_t timer;
    struct issuer_listener listener;
    struct x509_request *x509[4096];
    struct jwt_request *jwt[64];
    size_t x509_count, jwt_count;
    size_t x509_most, jwt_most, urgent_count, background_count;
    size_t x509_issued, jwt_issued, seen_count;
    bool is_held;        /* answers nothing */
    const char *failure; /* what it answers instead */
    int64_t life_s, jwt_life_s, skew_s;
    uint32_t last_ttl_limit_s;
    char last_protection[16];
    struct buffer last_public_key;
};

static inline void fake_answer_x509(struct fake_issuer *fake, struct x509_request *request)
{
    if (fake->failure) {
        struct error failure;
        (void)error_set(&failure, ERROR_UNAVAILABLE, "%s", fake->failure);
        request->done(request, &failure);
        return;
    }
    fake->x509_issued++;
    fake->last_ttl_limit_s = request->ttl_limit_s;
    (void)snprintf(fake->last_protection, sizeof(fake->last_protection), "%s", request->protection);
    buffer_reset(&fake->last_public_key);
    buffer_append(&fake->last_public_key, request->public_key.data, request->public_key.size);
    int64_t life = fake->life_s;
    if (request->ttl_limit_s && request->ttl_limit_s < life) {
        life = request->ttl_limit_s;
    }
    buffer_append_text(&request->chain, "certificate of ");
    buffer_append_text(&request->chain, request->entry->spiffe_id);
    request->serial = text_format("%zx", fake->x509_issued);
    request->not_before_s = fixture_now_s() - 10 + fake->skew_s;
    request->expires_at_s = fixture_now_s() + life;
    request->done(request, NULL);
}

static inline void fake_answer_jwt(struct fake_issuer *fake, struct jwt_request *request)
{
    if (fake->failure) {
        struct error failure;
        (void)error_set(&failure, ERROR_UNAVAILABLE, "%s", fake->failure);
        request->done(request, &failure);
        return;
    }
    fake->jwt_issued++;
    request->token = text_format("token %zu of %s for %s", fake->jwt_issued,
                                 request->entry->spiffe_id, request->audience.items[0]);
    request->kid = memory_copy_text("kid");
    request->issued_at_s = fixture_now_s();
    request->expires_at_s = fixture_now_s() + fake->jwt_life_s;
    request->done(request, NULL);
}

static inline void fake_answer(uv_timer_t *timer)
{
    struct fake_issuer *fake = timer->data;
    /* Only those that are there now: an answer may bring the next request. */
    size_t x509_count = fake->is_held ? 0 : fake->x509_count;
    size_t jwt_count = fake->is_held ? 0 : fake->jwt_count;
    for (size_t i = 0; i < x509_count; i++) {
        struct x509_request *request = fake->x509[0];
        memmove((void *)fake->x509, (void *)(fake->x509 + 1), --fake->x509_count * sizeof(request));
        fake_answer_x509(fake, request);
    }
    for (size_t i = 0; i < jwt_count; i++) {
        struct jwt_request *request = fake->jwt[0];
        memmove((void *)fake->jwt, (void *)(fake->jwt + 1), --fake->jwt_count * sizeof(request));
        fake_answer_jwt(fake, request);
    }
    if (!fake->is_held && fake->x509_count + fake->jwt_count > 0) {
        (void)uv_timer_start(&fake->timer, fake_answer, 1, 0);
    }
}

static inline void fake_wake(struct fake_issuer *fake)
{
    (void)uv_timer_start(&fake->timer, fake_answer, 0, 0);
}

static inline void fake_x509_issue(struct issuer *issuer, struct x509_request *request)
{
    struct fake_issuer *fake = container_of(issuer, struct fake_issuer, issuer);
    assert_true(fake->x509_count < ARRAY_SIZE(fake->x509));
    fake->x509[fake->x509_count++] = request;
    fake->x509_most = MAX(fake->x509_most, fake->x509_count);
    *(request->is_urgent ? &fake->urgent_count : &fake->background_count) += 1;
    fake_wake(fake);
}

static inline void fake_jwt_issue(struct issuer *issuer, struct jwt_request *request)
{
    struct fake_issuer *fake = container_of(issuer, struct fake_issuer, issuer);
    assert_true(fake->jwt_count < ARRAY_SIZE(fake->jwt));
    fake->jwt[fake->jwt_count++] = request;
    fake->jwt_most = MAX(fake->jwt_most, fake->jwt_count);
    fake_wake(fake);
}

static inline void fake_entry_seen(struct issuer *issuer, const struct entry *entry)
{
    struct fake_issuer *fake = container_of(issuer, struct fake_issuer, issuer);
    (void)entry;
    fake->seen_count++;
}

static inline struct bundle *fake_bundle(uint64_t sequence)
{
    struct bundle *bundle = NULL;
    assert_int_equal(bundle_new("example.org", sequence, NULL, 0, NULL, 0, &bundle, NULL), 0);
    return bundle;
}

static inline int fake_start(struct issuer *issuer, const struct issuer_listener *listener,
                             struct error *err)
{
    struct fake_issuer *fake = container_of(issuer, struct fake_issuer, issuer);
    (void)err;
    fake->listener = *listener;
    struct bundle *bundle = fake_bundle(1);
    listener->bundle_changed(listener->user, bundle);
    bundle_unref(bundle);
    return 0;
}

static const struct issuer_operations fake_operations = {
    .name = "fake",
    .start = fake_start,
    .x509_issue = fake_x509_issue,
    .jwt_issue = fake_jwt_issue,
    .entry_seen = fake_entry_seen,
};

/* The hardware: the driver of the memory under another name, whose keys can be lost. */
enum { FAKE_KEYS_MAX = 8192 };
static struct driver_key *fake_keys[FAKE_KEYS_MAX]; /* those that are open */
static pthread_mutex_t fake_keys_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_size_t fake_key_count;
static atomic_bool fake_hardware_fails;
static pthread_mutex_t fake_hardware_answers = PTHREAD_MUTEX_INITIALIZER; /* held: it hangs */
static bool fake_hardware_hangs; /* the test holds it, not a worker */

static inline void fake_hardware_stop(void)
{
    (void)pthread_mutex_lock(&fake_hardware_answers);
    fake_hardware_hangs = true;
}

static inline void fake_hardware_go_on(void)
{
    fake_hardware_hangs = false;
    (void)pthread_mutex_unlock(&fake_hardware_answers);
}

static inline int fake_key_generate(void *state, enum key_type type, const uint8_t *id,
                                    struct driver_key **ret_key, struct error *err)
{
    (void)pthread_mutex_lock(&fake_hardware_answers);
    (void)pthread_mutex_unlock(&fake_hardware_answers);
    if (atomic_load(&fake_hardware_fails)) {
        return error_set(err, ERROR_INTERNAL, "the hardware is out of order");
    }
    TRY(keystore_driver_memory.key_generate(state, type, id, ret_key, err));
    (void)pthread_mutex_lock(&fake_keys_lock);
    size_t index = atomic_fetch_add(&fake_key_count, 1);
    if (index < FAKE_KEYS_MAX) {
        fake_keys[index] = *ret_key;
    }
    (void)pthread_mutex_unlock(&fake_keys_lock);
    return 0;
}

static inline void fake_key_close(void *state, struct driver_key *key)
{
    (void)pthread_mutex_lock(&fake_keys_lock);
    for (size_t i = 0; i < MIN(atomic_load(&fake_key_count), (size_t)FAKE_KEYS_MAX); i++) {
        if (fake_keys[i] == key) {
            fake_keys[i] = NULL;
        }
    }
    (void)pthread_mutex_unlock(&fake_keys_lock);
    keystore_driver_memory.key_close(state, key);
}

static inline void fake_lose_keys(void)
{
    (void)pthread_mutex_lock(&fake_keys_lock);
    for (size_t i = 0; i < MIN(atomic_load(&fake_key_count), (size_t)FAKE_KEYS_MAX); i++) {
        if (fake_keys[i]) {
            atomic_store(&fake_keys[i]->is_lost, true);
        }
    }
    (void)pthread_mutex_unlock(&fake_keys_lock);
}

struct fixture {
    uv_loop_t loop;
    struct fake_issuer issuer;
    struct keystore_driver driver;
    struct keystore *hardware, *memory;
    struct manager *manager;
    bool is_stopped;
    int64_t revision;
};

/* Runs the loop until the condition holds. */
#define FIXTURE_WAIT(fixture, condition)                                                           \
    do {                                                                                           \
        uint64_t fixture_deadline = clock_monotonic_ms() + FIXTURE_PATIENCE_MS;                    \
        while (!(condition)) {                                                                     \
            assert_true(clock_monotonic_ms() < fixture_deadline);                                  \
            fixture_turn(fixture);                                                                 \
        }                                                                                          \
    } while (0)

static inline void fixture_turn(struct fixture *fixture)
{
    if (uv_run(&fixture->loop, UV_RUN_NOWAIT) >= 0) {
        struct pollfd poller = {.fd = uv_backend_fd(&fixture->loop), .events = POLLIN};
        (void)poll(&poller, 1, 1);
    }
}

/* Until nothing is under way any more. */
static inline void fixture_settle(struct fixture *fixture)
{
    struct manager *manager = fixture->manager;
    for (int quiet = 0; quiet < 3; quiet++) {
        fixture_turn(fixture);
        if (issuances_count(&manager->issuances) > 0 || key_pool_job_count(manager->pool) > 0 ||
            jwt_cache_issuing_count(manager->jwts) > 0) {
            quiet = -1;
            if (fixture->issuer.is_held) {
                break;
            }
        }
    }
}

/* Lets both clocks go on. */
static inline void fixture_pass(struct fixture *fixture, int64_t ms)
{
    fixture_wall_ms += ms;
    fixture_monotonic_ms += (uint64_t)ms;
    timer_heap_run(&fixture->manager->timers);
}

/* Sets the wall clock alone. */
static inline void fixture_jump(struct fixture *fixture, int64_t ms)
{
    fixture_wall_ms += ms;
    timer_heap_run(&fixture->manager->timers);
}

static inline struct rules *fixture_rule(const char *pattern, enum key_protection protection,
                                         enum key_type type, const char *keystore)
{
    struct rules *rules = NEW(struct rules);
    rules->items = memory_new_array(1, sizeof(struct rule));
    rules->count = 1;
    rules->items[0] = (struct rule){.pattern = memory_copy_text(pattern),
                                    .protection = protection,
                                    .keystore = memory_copy_text(keystore),
                                    .key_type = type};
    return rules;
}

static inline struct keystore *fixture_keystore(const char *name,
                                                const struct keystore_driver *driver)
{
    struct keystore *keystore = NULL;
    struct error err;
    const struct keystore_config config = {.name = name, .driver = driver};
    assert_int_equal(keystore_new(&config, &keystore, &err), 0);
    return keystore;
}

static inline int fixture_setup(void **state)
{
    struct fixture *fixture = NEW(struct fixture);
    struct error err;
    assert_int_equal(secret_init(&err), 0);
    (void)uv_loop_init(&fixture->loop);
    atomic_store(&fake_key_count, 0);
    atomic_store(&fake_hardware_fails, false);
    fixture->driver = keystore_driver_memory;
    fixture->driver.name = "fake";
    fixture->driver.protection = KEY_PROTECTION_HARDWARE;
    fixture->driver.key_generate = fake_key_generate;
    fixture->driver.key_close = fake_key_close;
    fixture->hardware = fixture_keystore("hsm", &fixture->driver);
    fixture->memory = fixture_keystore("memory", &keystore_driver_memory);
    fixture->issuer.issuer.operations = &fake_operations;
    fixture->issuer.life_s = FIXTURE_LIFE_S;
    fixture->issuer.jwt_life_s = 300;
    (void)uv_timer_init(&fixture->loop, &fixture->issuer.timer);
    fixture->issuer.timer.data = &fixture->issuer;
    struct manager_keystore keystores[] = {{"hsm", fixture->hardware}, {"memory", fixture->memory}};
    struct manager_config config = {
        .issuer = &fixture->issuer.issuer,
        .trust_domain = "example.org",
        .keystores = keystores,
        .keystore_count = 2,
        .rules = NEW(struct rules),
        .delivered_max_ttl_s = 600,
        .key_pool_size = 2,
    };
    assert_int_equal(
        manager_new_with_clock(&fixture->loop, &config, &fixture_clock, &fixture->manager, &err),
        0);
    assert_int_equal(manager_start(fixture->manager, &err), 0);
    *state = fixture;
    return 0;
}

static inline void fixture_stopped(void *user)
{
    ((struct fixture *)user)->is_stopped = true;
}

static inline int fixture_teardown(void **state)
{
    struct fixture *fixture = *state;
    if (fake_hardware_hangs) {
        fake_hardware_go_on();
    }
    if (!fixture->is_stopped) {
        fixture->issuer.is_held = false;
        fake_wake(&fixture->issuer);
        manager_stop(fixture->manager, fixture_stopped, fixture);
        FIXTURE_WAIT(fixture, fixture->is_stopped);
    }
    uv_close((uv_handle_t *)&fixture->issuer.timer, NULL);
    (void)uv_run(&fixture->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&fixture->loop), 0);
    keystore_free(fixture->hardware);
    keystore_free(fixture->memory);
    buffer_clear(&fixture->issuer.last_public_key);
    free(fixture);
    return 0;
}

/* An entry, made from "selector selector ...". */
static inline struct entry *fixture_entry(struct fixture *fixture, const char *id, const char *path,
                                          const char *selectors)
{
    struct entry *entry = NEW(struct entry);
    entry->references = 1;
    entry->id = memory_copy_text(id);
    entry->spiffe_id = text_format("spiffe://example.org/%s", path);
    entry->hint = memory_copy_text("");
    entry->revision = ++fixture->revision;
    char *copy = memory_copy_text(selectors);
    char *rest = copy;
    for (char *item = strtok_r(rest, " ", &rest); item; item = strtok_r(NULL, " ", &rest)) {
        text_list_add(&entry->selectors, item);
    }
    free(copy);
    text_list_sort_unique(&entry->selectors);
    return entry;
}

/* Tells the manager of it; the entry is taken. */
static inline void fixture_set(struct fixture *fixture, struct entry *entry)
{
    fixture->issuer.listener.entry_set(fixture->issuer.listener.user, entry);
    entry_unref(entry);
}

static inline void fixture_add(struct fixture *fixture, const char *id, const char *path,
                               const char *selectors)
{
    fixture_set(fixture, fixture_entry(fixture, id, path, selectors));
}

static inline void fixture_remove(struct fixture *fixture, const char *id)
{
    fixture->issuer.listener.entry_removed(fixture->issuer.listener.user, id);
}

/* A subscriber that remembers. */
struct watcher {
    struct subscription *subscription;
    struct identity_set *set; /* the last */
    unsigned sets, failures;
    struct error failure;
    bool must_end; /* in the next callback */
};

static inline void watcher_changed(void *user, struct identity_set *set,
                                   const struct error *failure)
{
    struct watcher *watcher = user;
    assert_true(!set != !failure);
    if (watcher->set) {
        identity_set_unref(take_ptr(watcher->set));
    }
    if (set) {
        watcher->sets++;
        watcher->set = identity_set_ref(set);
        for (size_t i = 0; i < set->count; i++) {
            assert_true(set->svids[i]->expires_at_s > fixture_now_s());
        }
    } else {
        watcher->failures++;
        watcher->failure = *failure;
    }
    if (watcher->must_end) {
        subscription_free(take_ptr(watcher->subscription));
    }
}

static inline void watcher_open(struct fixture *fixture, struct watcher *watcher,
                                const char *selectors)
{
    struct entry *caller = fixture_entry(fixture, "caller", "caller", selectors);
    *watcher = (struct watcher){0};
    watcher->subscription =
        manager_subscribe(fixture->manager, &caller->selectors, watcher_changed, watcher);
    entry_unref(caller);
}

static inline void watcher_close(struct watcher *watcher)
{
    if (watcher->set) {
        identity_set_unref(take_ptr(watcher->set));
    }
    subscription_free(take_ptr(watcher->subscription));
}

/* "path path ...", in order. */
static inline void watcher_assert(const struct watcher *watcher, const char *paths)
{
    struct buffer found = {0};
    assert_non_null(watcher->set);
    for (size_t i = 0; i < watcher->set->count; i++) {
        buffer_append_text(&found, i ? " " : "");
        buffer_append_text(&found, watcher->set->svids[i]->entry->spiffe_id +
                                       strlen("spiffe://example.org/"));
    }
    buffer_append_u8(&found, 0);
    assert_string_equal((char *)found.data, paths);
    buffer_clear(&found);
}
