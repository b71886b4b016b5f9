/* A driver whose hardware is a struct: it can be stopped in a command, lost and found, and it
 * remembers what was asked of it. Its signature is the digest. */
#pragma once

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "lib/base/clock.h"
#include "lib/base/memory.h"
#include "pkcs11/driver.h"

enum { FAKE_HISTORY = 256, FAKE_WAIT_S = 20 };

struct fake {
    unsigned workers;
    pthread_t foreign_thread; /* where only signatures may be made */
    pthread_mutex_t lock;
    pthread_cond_t change;
    bool refuses_to_open, is_lost, loses_keys;
    bool is_stopped;      /* commands wait */
    unsigned steps;       /* commands that may pass although it is stopped */
    unsigned inside;      /* commands in progress */
    unsigned most_inside; /* ever at the same time */
    size_t entered_size, history_size;
    uint8_t entered[FAKE_HISTORY]; /* as history, when the command begins */
    uint8_t history[FAKE_HISTORY]; /* first bytes of digests signed; 'G' generate, 'C' close */
    size_t probes;
    uint64_t probe_ms[FAKE_HISTORY];
    unsigned foreign_signatures;
    unsigned changes; /* calls of fake_changed */
    unsigned closed;  /* calls of close */
};

static inline void fake_init(struct fake *fake)
{
    *fake = (struct fake){.workers = 1, .foreign_thread = pthread_self()};
    (void)pthread_mutex_init(&fake->lock, NULL);
    (void)pthread_cond_init(&fake->change, NULL);
}

static inline void fake_destroy(struct fake *fake)
{
    (void)pthread_cond_destroy(&fake->change);
    (void)pthread_mutex_destroy(&fake->lock);
}

/* With the lock held: waits for a change of the fake; false when none came in time. */
static inline bool fake_wait(struct fake *fake)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += FAKE_WAIT_S;
    return pthread_cond_timedwait(&fake->change, &fake->lock, &until) == 0;
}

/* Waits until condition, which may look at the fake, holds. */
#define FAKE_UNTIL(fake, condition)                                                                \
    do {                                                                                           \
        (void)pthread_mutex_lock(&(fake)->lock);                                                   \
        bool fake_goes_on = true;                                                                  \
        while (fake_goes_on && !(condition)) {                                                     \
            fake_goes_on = fake_wait(fake);                                                        \
        }                                                                                          \
        bool fake_holds = (condition);                                                             \
        (void)pthread_mutex_unlock(&(fake)->lock);                                                 \
        assert_true(fake_holds);                                                                   \
    } while (0)

#define FAKE_SET(fake, assignment)                                                                 \
    do {                                                                                           \
        (void)pthread_mutex_lock(&(fake)->lock);                                                   \
        (fake)->assignment;                                                                        \
        (void)pthread_cond_broadcast(&(fake)->change);                                             \
        (void)pthread_mutex_unlock(&(fake)->lock);                                                 \
    } while (0)

static inline bool fake_is_foreign(const struct fake *fake)
{
    return pthread_equal(pthread_self(), fake->foreign_thread);
}

static inline void fake_check_thread(const struct fake *fake)
{
    sigset_t blocked;
    (void)pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    if (fake_is_foreign(fake) || !sigismember(&blocked, SIGTERM)) {
        abort();
    }
}

static inline void fake_changed(struct keystore *keystore, void *user)
{
    (void)keystore;
    fake_check_thread(user);
    FAKE_SET((struct fake *)user, changes++);
}

/* One command: waits while the fake is stopped, then answers. */
static inline int fake_command(struct fake *fake, uint8_t mark, struct error *err)
{
    (void)pthread_mutex_lock(&fake->lock);
    fake->inside++;
    fake->most_inside = MAX(fake->most_inside, fake->inside);
    fake->entered[fake->entered_size++ % FAKE_HISTORY] = mark;
    (void)pthread_cond_broadcast(&fake->change);
    /* So that commands which may overlap do. */
    (void)pthread_mutex_unlock(&fake->lock);
    (void)sched_yield();
    (void)pthread_mutex_lock(&fake->lock);
    while (fake->is_stopped && fake->steps == 0) {
        if (!fake_wait(fake)) {
            abort();
        }
    }
    if (fake->is_stopped) {
        fake->steps--;
    }
    fake->inside--;
    bool is_lost = fake->is_lost;
    if (!is_lost && mark && fake->history_size < FAKE_HISTORY) {
        fake->history[fake->history_size++] = mark;
    }
    (void)pthread_cond_broadcast(&fake->change);
    (void)pthread_mutex_unlock(&fake->lock);
    return is_lost ? error_set(err, ERROR_UNAVAILABLE, "the cable is out") : 0;
}

static inline unsigned fake_worker_count(const void *config)
{
    return ((const struct fake *)config)->workers;
}

static inline int fake_open(const void *config, const char *name, void **ret_state,
                            struct error *err)
{
    struct fake *fake = (struct fake *)config;
    (void)name;
    fake_check_thread(fake);
    TRY(fake_command(fake, 0, err));
    if (fake->refuses_to_open) {
        return error_set(err, ERROR_NOT_FOUND, "there is no such token");
    }
    *ret_state = fake;
    return 0;
}

static inline void fake_close(void *state)
{
    fake_check_thread(state);
    FAKE_SET((struct fake *)state, closed++);
}

static inline int fake_probe(void *state, struct error *err)
{
    struct fake *fake = state;
    fake_check_thread(fake);
    (void)pthread_mutex_lock(&fake->lock);
    if (fake->probes < FAKE_HISTORY) {
        fake->probe_ms[fake->probes++] = clock_monotonic_ms();
    }
    (void)pthread_mutex_unlock(&fake->lock);
    return fake_command(fake, 0, err);
}

static inline int fake_key_generate(void *state, enum key_type type, const uint8_t *id,
                                    struct driver_key **ret_key, struct error *err)
{
    fake_check_thread(state);
    TRY(fake_command(state, 'G', err));
    struct driver_key *key = NEW(struct driver_key);
    key->type = type;
    key->is_lasting = id != NULL;
    if (id) {
        memcpy(key->id, id, sizeof(key->id));
    }
    buffer_append_text(&key->spki, "not a real key");
    *ret_key = key;
    return 0;
}

static inline int fake_key_open(void *state, enum key_type type, const uint8_t id[16],
                                struct bytes reference, struct driver_key **ret_key,
                                struct error *err)
{
    if (reference.size != 16 || memcmp(reference.data, id, 16) != 0) {
        return error_set(err, ERROR_NOT_FOUND, "there is no such key");
    }
    return fake_key_generate(state, type, id, ret_key, err);
}

static inline void fake_key_reference(void *state, const struct driver_key *key,
                                      struct buffer *ret_reference)
{
    (void)state;
    buffer_append(ret_reference, key->id, sizeof(key->id));
}

static inline int fake_key_sign(void *state, struct driver_key *key,
                                const struct sign_request *request,
                                uint8_t ret_signature[SIGNATURE_MAX_BYTES], size_t *ret_size,
                                struct error *err)
{
    struct fake *fake = state;
    sigset_t blocked;
    (void)pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    if (!sigismember(&blocked, SIGTERM)) {
        abort();
    }
    TRY(fake_command(fake, request->value.data[0], err));
    (void)pthread_mutex_lock(&fake->lock);
    fake->foreign_signatures += fake_is_foreign(fake);
    bool loses_keys = fake->loses_keys;
    (void)pthread_mutex_unlock(&fake->lock);
    if (loses_keys) {
        key->is_lost = true;
        keystore_driver_keys_lost();
        return error_set(err, ERROR_DATA_LOSS, "the token was taken out");
    }
    memcpy(ret_signature, request->value.data, request->value.size);
    *ret_size = request->value.size;
    return 0;
}

static inline void fake_key_close(void *state, struct driver_key *key)
{
    fake_check_thread(state);
    (void)fake_command(state, 'C', NULL);
    buffer_clear(&key->spki);
    free(key);
}

static inline int fake_destroy_id(void *state, const uint8_t id[16], struct error *err)
{
    (void)id;
    return fake_command(state, 'D', err);
}

static const struct keystore_driver fake_driver = {
    .name = "fake",
    .protection = KEY_PROTECTION_HARDWARE,
    .max_workers = 16,
    .worker_count = fake_worker_count,
    .open = fake_open,
    .close = fake_close,
    .probe = fake_probe,
    .key_generate = fake_key_generate,
    .key_open = fake_key_open,
    .key_reference = fake_key_reference,
    .key_sign = fake_key_sign,
    .key_close = fake_key_close,
    .destroy_id = fake_destroy_id,
};
