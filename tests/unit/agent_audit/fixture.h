/* An audit log in a folder of its own, its heads signed by hardware that obeys the test, on a disk
 * that does so too. Each test program of this folder that needs it includes it once. */
#pragma once

#include "tests/unit/cmocka_all.h"

#include <ftw.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <uv.h>

#include "agent/audit/audit.h"
#include "audit/verify.h"
#include "lib/base/clock.h"
#include "tests/unit/issuer/soft_driver.h"

enum { FIXTURE_PATIENCE_MS = 30000 };

/* The disk: fdatasync as the log calls it. */
static atomic_bool disk_hangs;
static atomic_int disk_error; /* errno; 0: none */
static atomic_uint disk_syncs;

int fdatasync(int descriptor)
{
    while (atomic_load(&disk_hangs)) {
        (void)poll(NULL, 0, 1);
    }
    (void)atomic_fetch_add(&disk_syncs, 1);
    if (atomic_load(&disk_error)) {
        errno = atomic_load(&disk_error);
        return -1;
    }
    return (int)syscall(SYS_fdatasync, descriptor);
}

static atomic_bool hardware_hangs;

static inline int hanging_key_sign(void *state, struct driver_key *driver_key,
                                   const struct sign_request *request,
                                   uint8_t ret_signature[SIGNATURE_MAX_BYTES], size_t *ret_size,
                                   struct error *err)
{
    while (atomic_load(&hardware_hangs)) {
        (void)poll(NULL, 0, 1);
    }
    return soft_key_sign(state, driver_key, request, ret_signature, ret_size, err);
}

struct fixture {
    uv_loop_t loop;
    char folder[64]; /* of the test */
    char *log_folder, *key_folder;
    struct keystore_driver driver;
    struct soft_config hardware;
    struct keystore *keystore;
    struct audit_config config;
    struct audit *audit;
    bool is_stopped;
    unsigned failures, recoveries; /* told */
    struct error failure;
};

static inline void fixture_turn(struct fixture *fixture)
{
    if (uv_run(&fixture->loop, UV_RUN_NOWAIT) >= 0) {
        struct pollfd poller = {.fd = uv_backend_fd(&fixture->loop), .events = POLLIN};
        (void)poll(&poller, 1, 1);
    }
}

/* Runs the loop until the condition holds. */
#define FIXTURE_WAIT(fixture, condition)                                                           \
    do {                                                                                           \
        uint64_t fixture_deadline = clock_monotonic_ms() + FIXTURE_PATIENCE_MS;                    \
        while (!(condition)) {                                                                     \
            assert_true(clock_monotonic_ms() < fixture_deadline);                                  \
            fixture_turn(fixture);                                                                 \
        }                                                                                          \
    } while (0)

static inline void fixture_changed(void *user, const struct error *failure)
{
    struct fixture *fixture = user;
    if (failure) {
        fixture->failures++;
        fixture->failure = *failure;
    } else {
        fixture->recoveries++;
    }
}

static inline void fixture_stopped(void *user)
{
    ((struct fixture *)user)->is_stopped = true;
}

static inline void fixture_start(struct fixture *fixture)
{
    struct error err;
    fixture->is_stopped = false;
    if (audit_new(&fixture->loop, &fixture->config, &fixture->audit, &err) < 0) {
        fail_msg("%s", err.text);
    }
}

static inline void fixture_stop(struct fixture *fixture)
{
    audit_stop(take_ptr(fixture->audit), fixture_stopped, fixture);
    FIXTURE_WAIT(fixture, fixture->is_stopped);
}

static inline void fixture_open_keystore(struct fixture *fixture)
{
    struct error err;
    const struct keystore_config config = {
        .name = "hsm", .driver = &fixture->driver, .driver_config = &fixture->hardware};
    assert_int_equal(keystore_new(&config, &fixture->keystore, &err), 0);
    fixture->config.keystore = fixture->keystore;
}

static inline void fixture_close_keystore(struct fixture *fixture)
{
    keystore_free(take_ptr(fixture->keystore));
}

/* Nothing runs yet. */
static inline int fixture_setup(void **state)
{
    struct fixture *fixture = NEW(struct fixture);
    struct error err;
    assert_int_equal(secret_init(&err), 0);
    (void)uv_loop_init(&fixture->loop);
    (void)snprintf(fixture->folder, sizeof(fixture->folder), "/tmp/signet-audit-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    fixture->log_folder = file_join(fixture->folder, "audit");
    fixture->key_folder = file_join(fixture->folder, "keys");
    assert_int_equal(mkdir(fixture->key_folder, 0700), 0);
    atomic_store(&disk_hangs, false);
    atomic_store(&disk_error, 0);
    atomic_store(&hardware_hangs, false);
    fixture->hardware.folder = fixture->key_folder;
    fixture->driver = soft_driver;
    fixture->driver.key_sign = hanging_key_sign;
    fixture->config = (struct audit_config){
        .log = {.folder = fixture->log_folder, .file_max_bytes = 64 << 20},
        .head_interval_s = 3600,
        .changed = fixture_changed,
        .user = fixture,
    };
    *state = fixture;
    return 0;
}

static inline int fixture_remove(const char *path, const struct stat *status, int type,
                                 struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    return remove(path);
}

static inline void fixture_remove_folder(const char *path)
{
    (void)nftw(path, fixture_remove, 8, FTW_DEPTH | FTW_PHYS);
}

static inline int fixture_teardown(void **state)
{
    struct fixture *fixture = *state;
    if (fixture->audit) {
        fixture_stop(fixture);
    }
    if (fixture->keystore) {
        fixture_close_keystore(fixture);
    }
    (void)uv_run(&fixture->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&fixture->loop), 0);
    fixture_remove_folder(fixture->folder);
    free(fixture->log_folder);
    free(fixture->key_folder);
    free(fixture);
    return 0;
}

/* Writes a record that can be found again by its detail. */
static inline void fixture_write(struct fixture *fixture, const char *detail)
{
    const struct audit_event event = {
        .action = AUDIT_ISSUED, .spiffe_id = "spiffe://example.org/a", .detail = detail};
    audit_write(fixture->audit, &event);
}

/* Somebody who waits. */
struct waiter {
    struct audit_wait wait;
    bool is_done, is_failed;
    struct error failure;
    unsigned *turn; /* counts those that are done */
    unsigned place; /* among them */
};

static inline void waiter_done(struct audit_wait *wait, const struct error *failure)
{
    struct waiter *waiter = container_of(wait, struct waiter, wait);
    assert_false(waiter->is_done);
    waiter->is_done = true;
    waiter->is_failed = failure != NULL;
    if (failure) {
        waiter->failure = *failure;
    }
    if (waiter->turn) {
        waiter->place = (*waiter->turn)++;
    }
}

static inline void waiter_commit(struct fixture *fixture, struct waiter *waiter)
{
    waiter->is_done = false;
    waiter->wait.done = waiter_done;
    audit_commit(fixture->audit, &waiter->wait);
    assert_false(waiter->is_done);
}

/* Writes and waits; whether it was answered for. */
static inline bool fixture_commit(struct fixture *fixture, const char *detail)
{
    struct waiter waiter = {.turn = NULL};
    fixture_write(fixture, detail);
    waiter_commit(fixture, &waiter);
    FIXTURE_WAIT(fixture, waiter.is_done);
    return !waiter.is_failed;
}

/* How many lines of the log have the member, a text. */
static inline size_t log_count(const struct fixture *fixture, const char *member, const char *text)
{
    struct audit_reader *reader = NULL;
    struct error err;
    struct audit_line line;
    bool has_line = true;
    size_t count = 0;
    assert_int_equal(audit_reader_open(fixture->log_folder, &reader, &err), 0);
    while (audit_reader_next(reader, &has_line, &line, &err) == 0 && has_line) {
        if (!line.is_torn) {
            json_t *root = json_loadb((const char *)line.text.data, line.text.size, 0, NULL);
            const char *value = json_string_value(json_object_get(root, member));
            assert_non_null(root);
            count += value && strcmp(value, text) == 0;
            json_decref(root);
        }
    }
    audit_reader_close(reader);
    return count;
}

/* A text member of the last line that has the action; the caller frees it. NULL: none. */
static inline char *log_last(const struct fixture *fixture, const char *action, const char *member)
{
    struct audit_reader *reader = NULL;
    struct error err;
    struct audit_line line;
    bool has_line = true;
    char *found = NULL;
    assert_int_equal(audit_reader_open(fixture->log_folder, &reader, &err), 0);
    while (audit_reader_next(reader, &has_line, &line, &err) == 0 && has_line) {
        json_t *root = json_loadb((const char *)line.text.data, line.text.size, 0, NULL);
        const char *of_line = json_string_value(json_object_get(root, "event.action"));
        if (of_line && strcmp(of_line, action) == 0) {
            free(found);
            found = memory_copy_text(json_string_value(json_object_get(root, member)));
        }
        json_decref(root);
    }
    audit_reader_close(reader);
    return found;
}

static inline void log_finding(void *user, const struct audit_finding *finding)
{
    unsigned *counts = user;
    counts[finding->kind]++;
    if (!finding->is_remark) {
        print_message("%s:%llu: %s: %s\n", finding->file, (unsigned long long)finding->line,
                      audit_finding_name(finding->kind), finding->text);
    }
}

enum { FINDING_KINDS = AUDIT_FINDING_UNSIGNED + 1 };

static inline struct audit_verdict log_verify(const struct fixture *fixture,
                                              unsigned ret_counts[FINDING_KINDS])
{
    struct audit_reader *reader = NULL;
    struct audit_verdict verdict;
    struct error err;
    memset(ret_counts, 0, FINDING_KINDS * sizeof(*ret_counts));
    assert_int_equal(audit_reader_open(fixture->log_folder, &reader, &err), 0);
    assert_int_equal(audit_verify(reader, NULL, log_finding, ret_counts, &verdict, &err), 0);
    audit_reader_close(reader);
    return verdict;
}

/* The log is whole, and says nothing but what `remarks` (kinds or'ed as bits) allow. */
static inline struct audit_verdict log_assert_whole(const struct fixture *fixture, unsigned remarks)
{
    unsigned counts[FINDING_KINDS];
    struct audit_verdict verdict = log_verify(fixture, counts);
    assert_true(verdict.is_whole);
    for (unsigned i = 0; i < FINDING_KINDS; i++) {
        assert_true(counts[i] == 0 || (remarks & 1U << i));
    }
    return verdict;
}

#define FIXTURE_TEST(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)
