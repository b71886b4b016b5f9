/* An embedded issuer on soft keys in a fresh folder, with a clock that the test sets, and what it
 * told its listener. */
#pragma once

#include <ftw.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include "agent/issuer/embedded_new.h"
#include "lib/base/clock.h"
#include "lib/base/secret.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/issuer/soft_driver.h"

enum { FIXTURE_WAIT_MS = 30000, FIXTURE_ENTRIES = 64 };

struct fixture {
    char folder[64];
    char *data_dir, *keys_dir;
    struct soft_config soft;
    const struct keystore_driver *driver; /* NULL: soft_driver */
    const void *driver_config;
    struct keystore *keystore;
    uv_loop_t loop;
    uv_timer_t deadline;
    bool is_late;
    struct issuer_clock clock;
    int64_t now_s;         /* 0: the real clock */
    uint64_t monotonic_ms; /* with now_s */
    struct embedded_config config;
    struct issuer *issuer;
    bool is_stopped;
    /* Told by the issuer: */
    struct entry *entries[FIXTURE_ENTRIES];
    size_t entry_count, entry_sets, entry_removals, bundle_changes;
    struct bundle *bundle;
};

static inline int64_t fixture_now_s(void *user)
{
    const struct fixture *fixture = user;
    return fixture->now_s ? fixture->now_s : clock_now_s();
}

static inline uint64_t fixture_monotonic_ms(void *user)
{
    const struct fixture *fixture = user;
    return fixture->now_s ? fixture->monotonic_ms : clock_monotonic_ms();
}

static inline void fixture_entry_removed(void *user, const char *id)
{
    struct fixture *fixture = user;
    fixture->entry_removals++;
    for (size_t i = 0; i < fixture->entry_count; i++) {
        if (strcmp(fixture->entries[i]->id, id) == 0) {
            entry_unref(fixture->entries[i]);
            fixture->entries[i] = fixture->entries[--fixture->entry_count];
            return;
        }
    }
    fail_msg("an entry that was never told is removed: %s", id);
}

static inline struct entry *fixture_find(const struct fixture *fixture, const char *spiffe_id)
{
    for (size_t i = 0; i < fixture->entry_count; i++) {
        if (strcmp(fixture->entries[i]->spiffe_id, spiffe_id) == 0) {
            return fixture->entries[i];
        }
    }
    return NULL;
}

static inline void fixture_entry_set(void *user, struct entry *entry)
{
    struct fixture *fixture = user;
    fixture->entry_sets++;
    for (size_t i = 0; i < fixture->entry_count; i++) {
        if (strcmp(fixture->entries[i]->id, entry->id) == 0) {
            entry_unref(fixture->entries[i]);
            fixture->entries[i] = entry_ref(entry);
            return;
        }
    }
    assert_true(fixture->entry_count < FIXTURE_ENTRIES);
    fixture->entries[fixture->entry_count++] = entry_ref(entry);
}

static inline void fixture_bundle_changed(void *user, struct bundle *bundle)
{
    struct fixture *fixture = user;
    fixture->bundle_changes++;
    assert_true(!fixture->bundle || bundle->sequence > fixture->bundle->sequence);
    bundle_unref(fixture->bundle);
    fixture->bundle = bundle_ref(bundle);
}

static inline void fixture_on_deadline(uv_timer_t *timer)
{
    ((struct fixture *)timer->data)->is_late = true;
}

/* Turns the loop until the condition holds. */
#define FIXTURE_UNTIL(fixture, condition)                                                          \
    do {                                                                                           \
        (fixture)->is_late = false;                                                                \
        (void)uv_timer_start(&(fixture)->deadline, fixture_on_deadline, FIXTURE_WAIT_MS, 0);       \
        while (!(condition) && !(fixture)->is_late) {                                              \
            (void)uv_run(&(fixture)->loop, UV_RUN_ONCE);                                           \
        }                                                                                          \
        (void)uv_timer_stop(&(fixture)->deadline);                                                 \
        assert_true(condition);                                                                    \
    } while (0)

static inline void fixture_open_keystore(struct fixture *fixture)
{
    const struct keystore_config config = {
        .name = "soft",
        .driver = fixture->driver ? fixture->driver : &soft_driver,
        .driver_config = fixture->driver ? fixture->driver_config : &fixture->soft};
    struct error failure;
    if (keystore_new(&config, &fixture->keystore, &failure) < 0) {
        fail_msg("%s", failure.text);
    }
    fixture->config.keystore = fixture->keystore;
}

static inline int fixture_try_open(struct fixture *fixture, struct error *err)
{
    if (!fixture->keystore) {
        fixture_open_keystore(fixture);
    }
    return issuer_embedded_new_with_clock(&fixture->loop, &fixture->config, &fixture->clock,
                                          &fixture->issuer, err);
}

static inline void fixture_start(struct fixture *fixture)
{
    const struct issuer_listener listener = {.user = fixture,
                                             .entry_set = fixture_entry_set,
                                             .entry_removed = fixture_entry_removed,
                                             .bundle_changed = fixture_bundle_changed};
    struct error failure;
    assert_int_equal(fixture->issuer->operations->start(fixture->issuer, &listener, &failure), 0);
}

static inline void fixture_open(struct fixture *fixture)
{
    struct error failure;
    if (fixture_try_open(fixture, &failure) < 0) {
        fail_msg("%s", failure.text);
    }
    fixture_start(fixture);
}

static inline void fixture_on_stopped(void *user)
{
    ((struct fixture *)user)->is_stopped = true;
}

static inline void fixture_close(struct fixture *fixture)
{
    fixture->is_stopped = false;
    fixture->issuer->operations->stop(fixture->issuer, fixture_on_stopped, fixture);
    FIXTURE_UNTIL(fixture, fixture->is_stopped);
    fixture->issuer = NULL;
    keystore_free(fixture->keystore);
    fixture->keystore = NULL;
    while (fixture->entry_count > 0) {
        entry_unref(fixture->entries[--fixture->entry_count]);
    }
    bundle_unref(fixture->bundle);
    fixture->bundle = NULL;
}

/* As after a restart of the agent. */
static inline void fixture_reopen(struct fixture *fixture)
{
    fixture_close(fixture);
    fixture_open(fixture);
}

/* Runs the timer's work and all that follows from it. */
static inline void fixture_look(struct fixture *fixture)
{
    issuer_embedded_look(fixture->issuer);
    FIXTURE_UNTIL(fixture, !issuer_embedded_is_busy(fixture->issuer));
}

static inline int fixture_setup(void **state)
{
    struct fixture *fixture = NEW(struct fixture);
    struct error failure;
    (void)secret_init(&failure);
    (void)strcpy(fixture->folder, "/tmp/signet-issuer-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    fixture->data_dir = file_join(fixture->folder, "data");
    fixture->keys_dir = file_join(fixture->folder, "keys");
    assert_int_equal(mkdir(fixture->data_dir, 0700), 0);
    assert_int_equal(mkdir(fixture->keys_dir, 0700), 0);
    fixture->soft.folder = fixture->keys_dir;
    assert_int_equal(uv_loop_init(&fixture->loop), 0);
    (void)uv_timer_init(&fixture->loop, &fixture->deadline);
    fixture->deadline.data = fixture;
    fixture->clock = (struct issuer_clock){fixture_now_s, fixture_monotonic_ms, fixture};
    fixture->config = (struct embedded_config){.trust_domain = "example.org",
                                               .data_dir = fixture->data_dir,
                                               .ca_key_type = KEY_TYPE_EC_P256,
                                               .jwt_key_type = KEY_TYPE_EC_P256,
                                               .ca_ttl_s = 86400,
                                               .x509_svid_ttl_s = 3600,
                                               .jwt_svid_ttl_s = 300};
    *state = fixture;
    return 0;
}

static inline int fixture_remove(const char *path, const struct stat *status, int type,
                                 struct FTW *walk)
{
    (void)status;
    (void)type;
    (void)walk;
    return remove(path);
}

static inline int fixture_teardown(void **state)
{
    struct fixture *fixture = *state;
    if (fixture->issuer) {
        fixture_close(fixture);
    }
    if (fixture->keystore) {
        keystore_free(fixture->keystore);
    }
    uv_close((uv_handle_t *)&fixture->deadline, NULL);
    (void)uv_run(&fixture->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&fixture->loop), 0);
    (void)nftw(fixture->folder, fixture_remove, 16, FTW_DEPTH | FTW_PHYS);
    free(fixture->data_dir);
    free(fixture->keys_dir);
    free(fixture);
    return 0;
}

/* One number from the store, which no issuer has open now. */
static inline int64_t fixture_query(const struct fixture *fixture, const char *sql)
{
    _cleanup_(free_cleanup) char *path = file_join(fixture->data_dir, "issuer.sqlite");
    sqlite3 *database = NULL;
    sqlite3_stmt *statement = NULL;
    assert_int_equal(sqlite3_open_v2(path, &database, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(database, sql, -1, &statement, NULL), SQLITE_OK);
    int result = sqlite3_step(statement);
    int64_t value = result == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : -1;
    (void)sqlite3_finalize(statement);
    (void)sqlite3_close(database);
    return value;
}

/* Makes an entry to be added or configured. */
static inline struct entry *fixture_entry(const char *spiffe_id, const char *selector)
{
    struct entry *entry = NEW(struct entry);
    entry->references = 1;
    entry->spiffe_id = memory_copy_text(spiffe_id);
    text_list_add(&entry->selectors, selector);
    entry->hint = memory_copy_text("");
    return entry;
}

/* The answer to an addition or a removal. */
struct fixture_answer {
    bool is_there, is_failed;
    struct error failure;
    char id[ENTRY_ID_MAX_BYTES + 1];
};

static inline void fixture_answered(void *user, const struct entry *entry,
                                    const struct error *failure)
{
    struct fixture_answer *answer = user;
    assert_false(answer->is_there);
    answer->is_there = true;
    answer->is_failed = failure != NULL;
    if (failure) {
        answer->failure = *failure;
    } else {
        (void)snprintf(answer->id, sizeof(answer->id), "%s", entry->id);
    }
}

static inline struct fixture_answer fixture_add(struct fixture *fixture, struct entry *entry)
{
    struct fixture_answer answer = {0};
    fixture->issuer->operations->entry_add(fixture->issuer, entry, fixture_answered, &answer);
    assert_false(answer.is_there);
    FIXTURE_UNTIL(fixture, answer.is_there);
    return answer;
}

static inline struct fixture_answer fixture_remove_entry(struct fixture *fixture, const char *id)
{
    struct fixture_answer answer = {0};
    fixture->issuer->operations->entry_remove(fixture->issuer, id, fixture_answered, &answer);
    assert_false(answer.is_there);
    FIXTURE_UNTIL(fixture, answer.is_there);
    return answer;
}

/* An X.509-SVID wanted and got. */
struct fixture_x509 {
    struct x509_request request;
    struct entry *entry;
    EVP_PKEY *key;
    struct buffer spki;
    bool is_there, is_failed;
    struct error failure;
};

static inline void fixture_x509_done(struct x509_request *request, const struct error *failure)
{
    struct fixture_x509 *wanted = request->user;
    assert_false(wanted->is_there);
    wanted->is_there = true;
    wanted->is_failed = failure != NULL;
    if (failure) {
        wanted->failure = *failure;
    }
}

static inline void fixture_x509_want(struct fixture *fixture, struct entry *entry, EVP_PKEY *key,
                                     struct fixture_x509 *wanted)
{
    uint8_t *spki = NULL;
    int size = i2d_PUBKEY(key, &spki);
    wanted->entry = entry_ref(entry);
    wanted->key = key;
    buffer_append(&wanted->spki, spki, (size_t)size);
    OPENSSL_free(spki);
    wanted->request.entry = wanted->entry;
    wanted->request.public_key = buffer_bytes(&wanted->spki);
    wanted->request.protection = "hardware";
    wanted->request.is_urgent = true;
    wanted->request.done = fixture_x509_done;
    wanted->request.user = wanted;
    fixture->issuer->operations->x509_issue(fixture->issuer, &wanted->request);
    assert_false(wanted->is_there);
}

/* Takes the key. */
static inline void fixture_x509(struct fixture *fixture, struct entry *entry, EVP_PKEY *key,
                                struct fixture_x509 *wanted)
{
    fixture_x509_want(fixture, entry, key, wanted);
    FIXTURE_UNTIL(fixture, wanted->is_there);
}

static inline void fixture_x509_clear(struct fixture_x509 *wanted)
{
    EVP_PKEY_free(wanted->key);
    entry_unref(wanted->entry);
    buffer_clear(&wanted->spki);
    buffer_clear(&wanted->request.chain);
    free(wanted->request.serial);
    *wanted = (struct fixture_x509){0};
}

struct fixture_jwt {
    struct jwt_request request;
    bool is_there, is_failed;
    struct error failure;
};

static inline void fixture_jwt_done(struct jwt_request *request, const struct error *failure)
{
    struct fixture_jwt *wanted = request->user;
    assert_false(wanted->is_there);
    wanted->is_there = true;
    wanted->is_failed = failure != NULL;
    if (failure) {
        wanted->failure = *failure;
    }
}

static inline void fixture_jwt(struct fixture *fixture, struct entry *entry, const char *audience,
                               struct fixture_jwt *wanted)
{
    wanted->request.entry = entry_ref(entry);
    if (audience) {
        text_list_add(&wanted->request.audience, audience);
    }
    wanted->request.done = fixture_jwt_done;
    wanted->request.user = wanted;
    fixture->issuer->operations->jwt_issue(fixture->issuer, &wanted->request);
    assert_false(wanted->is_there);
    FIXTURE_UNTIL(fixture, wanted->is_there);
}

static inline void fixture_jwt_clear(struct fixture_jwt *wanted)
{
    entry_unref(wanted->request.entry);
    text_list_clear(&wanted->request.audience);
    free(wanted->request.token);
    free(wanted->request.kid);
    *wanted = (struct fixture_jwt){0};
}
