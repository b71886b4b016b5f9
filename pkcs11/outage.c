#include "pkcs11/outage.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"

static uint64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void outage_tell(struct worker *worker)
{
    struct keystore *keystore = worker->keystore;
    (void)pthread_mutex_lock(&keystore->lock);
    void (*changed)(struct keystore *, void *) = keystore->changed;
    void *user = keystore->changed_user;
    bool is_later = worker->is_borrowed;
    keystore->must_tell = keystore->must_tell || is_later;
    (void)pthread_mutex_unlock(&keystore->lock);
    if (changed && !is_later) {
        changed(keystore, user);
    }
}

void outage_tell_lost_keys(struct worker *worker)
{
    if (worker->has_lost_keys) {
        worker->has_lost_keys = false;
        outage_tell(worker);
    }
}

/* Half of the delay is random, so that agents that lost the same HSM do not come back as one. */
static void schedule_probe(struct keystore *keystore)
{
    uint64_t half_ms = keystore->backoff_ms / 2;
    keystore->probe_at_ms = now_ms() + half_ms + clock_random_below(half_ms + 1);
}

/* Starts small again only after the hardware was there for longer than it was waited for. */
static void begin_backoff(struct keystore *keystore)
{
    bool was_steady = now_ms() - keystore->ready_at_ms > keystore->backoff_ms;
    uint64_t longer_ms = MIN(2 * keystore->backoff_ms, (uint64_t)BACKOFF_LAST_MS);
    keystore->backoff_ms = was_steady ? (uint64_t)BACKOFF_FIRST_MS : longer_ms;
    schedule_probe(keystore);
}

static bool set_reason(struct keystore *keystore, const struct error *reason)
{
    char text[sizeof(keystore->reason)];
    (void)snprintf(text, sizeof(text), "%.*s", (int)sizeof(text) - 1, reason->text);
    bool is_new = strcmp(text, keystore->reason) != 0;
    memcpy(keystore->reason, text, sizeof(text));
    return is_new;
}

void outage_begin(struct worker *worker, const struct error *reason)
{
    struct keystore *keystore = worker->keystore;
    (void)pthread_mutex_lock(&keystore->lock);
    bool is_change = keystore->state == KEYSTORE_STATE_READY;
    if (is_change) {
        keystore->state = KEYSTORE_STATE_LOST;
        (void)set_reason(keystore, reason);
        begin_backoff(keystore);
        (void)pthread_cond_broadcast(&keystore->wake);
    }
    (void)pthread_mutex_unlock(&keystore->lock);
    if (is_change) {
        log_warning("keystore lost keystore=%s reason=\"%s\"", keystore->name, reason->text);
        outage_tell(worker);
    }
}

bool outage_is_probe_due(const struct keystore *keystore)
{
    return keystore->state == KEYSTORE_STATE_LOST && !keystore->is_probing &&
           now_ms() >= keystore->probe_at_ms;
}

/* Returns whether there is something new to say. With the lock held. */
static bool conclude(struct keystore *keystore, bool is_back, const struct error *reason)
{
    keystore->is_probing = false;
    (void)pthread_cond_broadcast(&keystore->wake);
    if (is_back) {
        keystore->state = KEYSTORE_STATE_READY;
        keystore->ready_at_ms = now_ms();
        keystore->reason[0] = '\0';
        return true;
    }
    keystore->backoff_ms = MIN(2 * keystore->backoff_ms, (uint64_t)BACKOFF_LAST_MS);
    schedule_probe(keystore);
    return set_reason(keystore, reason);
}

void outage_probe(struct worker *worker)
{
    struct keystore *keystore = worker->keystore;
    struct error reason = {0};
    keystore->is_probing = true;
    (void)pthread_mutex_unlock(&keystore->lock);
    bool is_back = keystore->driver->probe(keystore->driver_state, &reason) == 0;
    (void)pthread_mutex_lock(&keystore->lock);
    bool is_news = conclude(keystore, is_back, &reason);
    (void)pthread_mutex_unlock(&keystore->lock);
    if (is_back) {
        log_info("keystore is back keystore=%s", keystore->name);
        worker->has_lost_keys = false;
        outage_tell(worker);
    } else if (is_news) {
        log_warning("keystore is still lost keystore=%s reason=\"%s\"", keystore->name,
                    reason.text);
    }
    outage_tell_lost_keys(worker);
    (void)pthread_mutex_lock(&keystore->lock);
}

void outage_wait(struct keystore *keystore)
{
    if (keystore->state == KEYSTORE_STATE_LOST && !keystore->is_probing) {
        struct timespec until = {.tv_sec = (time_t)(keystore->probe_at_ms / 1000),
                                 .tv_nsec = (long)(keystore->probe_at_ms % 1000) * 1000000};
        (void)pthread_cond_timedwait(&keystore->wake, &keystore->lock, &until);
    } else {
        (void)pthread_cond_wait(&keystore->wake, &keystore->lock);
    }
}
