/* The API as it is in the agent, on a loop thread of its own, with an issuer that grants
 * everything. Tests call it through the blocking client. Each test program of this folder includes
 * it once. */
#pragma once

#include "tests/unit/cmocka_all.h"

#include <openssl/ec.h>
#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <unistd.h>

#include "agent/access/access.h"
#include "agent/api/api.h"
#include "agent/listener.h"
#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "lib/rpc/client.h"
#include "pkcs11/memory/memory.h"

enum { FIXTURE_TIMEOUT_MS = 20000, FIXTURE_LIFE_S = 3600 };

struct fixture {
    char folder[64];
    char *api_path, *admin_path;
    uv_loop_t loop;
    pthread_t thread;
    uv_async_t wake;
    sem_t done;
    void (*work)(struct fixture *fixture, void *argument); /* for the loop thread */
    void *argument;
    struct issuer issuer;
    struct issuer_listener tell;
    struct manager_keystore keystore;
    struct attestor *attestor;
    struct manager *manager;
    struct policy *policy;
    struct access *access;
    struct api *api;
    struct listener api_socket, admin_socket;
    uint64_t sequence, issued;
};

/* The issuer: answers at the next turn of the loop. */

struct answer {
    uv_timer_t timer;
    struct fixture *fixture;
    struct x509_request *x509;
    struct jwt_request *jwt;
};

static inline void answer_freed(uv_handle_t *handle)
{
    free(container_of(handle, struct answer, timer));
}

static inline void answer_now(uv_timer_t *timer)
{
    struct answer *answer = container_of(timer, struct answer, timer);
    char *text = text_format("%llu", (unsigned long long)++answer->fixture->issued);
    if (answer->x509) {
        buffer_append_text(&answer->x509->chain, "chain ");
        buffer_append_text(&answer->x509->chain, text);
        answer->x509->serial = text;
        answer->x509->not_before_s = clock_now_s() - 10;
        answer->x509->expires_at_s = clock_now_s() + FIXTURE_LIFE_S;
        answer->x509->done(answer->x509, NULL);
    } else {
        answer->jwt->token = text;
        answer->jwt->kid = memory_copy_text("kid");
        answer->jwt->issued_at_s = clock_now_s();
        answer->jwt->expires_at_s = clock_now_s() + FIXTURE_LIFE_S;
        answer->jwt->done(answer->jwt, NULL);
    }
    uv_close((uv_handle_t *)timer, answer_freed);
}

static inline void answer_later(struct issuer *issuer, struct x509_request *x509,
                                struct jwt_request *jwt)
{
    struct answer *answer = NEW(struct answer);
    answer->fixture = container_of(issuer, struct fixture, issuer);
    answer->x509 = x509;
    answer->jwt = jwt;
    (void)uv_timer_init(&answer->fixture->loop, &answer->timer);
    (void)uv_timer_start(&answer->timer, answer_now, 0, 0);
}

static inline void issue_x509(struct issuer *issuer, struct x509_request *request)
{
    answer_later(issuer, request, NULL);
}

static inline void issue_jwt(struct issuer *issuer, struct jwt_request *request)
{
    answer_later(issuer, NULL, request);
}

static inline void entry_was_seen(struct issuer *issuer, const struct entry *entry)
{
    (void)issuer;
    (void)entry;
}

static inline void add_entry(struct issuer *issuer, struct entry *entry,
                             void (*done)(void *user, const struct entry *added,
                                          const struct error *failure),
                             void *user)
{
    struct fixture *fixture = container_of(issuer, struct fixture, issuer);
    free(entry->id);
    entry->id = text_format("added-%llu", (unsigned long long)++fixture->sequence);
    fixture->tell.entry_set(fixture->tell.user, entry);
    done(user, entry, NULL);
    entry_unref(entry);
}

static inline void remove_entry(struct issuer *issuer, const char *entry_id,
                                void (*done)(void *user, const struct entry *removed,
                                             const struct error *failure),
                                void *user)
{
    struct fixture *fixture = container_of(issuer, struct fixture, issuer);
    struct entry removed = {.id = (char *)entry_id, .spiffe_id = (char *)"", .hint = (char *)""};
    fixture->tell.entry_removed(fixture->tell.user, entry_id);
    done(user, &removed, NULL);
}

/* certificate and has_jwt_key: what the bundle says. */
static inline void tell_bundle(struct fixture *fixture, bool has_jwt_key)
{
    struct bundle *bundle = NULL;
    struct error error;
    struct bundle_jwt_key key = {.kid = (char *)"kid", .expires_at_s = clock_now_s() + 86400};
    key.public_key = has_jwt_key ? EVP_EC_gen("P-256") : NULL;
    assert_int_equal(bundle_new("example.org", ++fixture->sequence, NULL, 0, &key,
                                has_jwt_key ? 1 : 0, &bundle, &error),
                     0);
    fixture->tell.bundle_changed(fixture->tell.user, bundle);
    bundle_unref(bundle);
    EVP_PKEY_free(key.public_key);
}

static inline int start_issuer(struct issuer *issuer, const struct issuer_listener *listener,
                               struct error *err)
{
    struct fixture *fixture = container_of(issuer, struct fixture, issuer);
    (void)err;
    fixture->tell = *listener;
    tell_bundle(fixture, false);
    return 0;
}

static inline void issuer_is_ready(struct issuer *issuer, struct issuer_health *ret_health)
{
    (void)issuer;
    ret_health->is_ready = true;
}

static const struct issuer_operations fixture_operations = {
    .name = "fixture",
    .start = start_issuer,
    .x509_issue = issue_x509,
    .jwt_issue = issue_jwt,
    .entry_seen = entry_was_seen,
    .entry_add = add_entry,
    .entry_remove = remove_entry,
    .health = issuer_is_ready,
};

/* Work on the loop thread. */

static inline void woken(uv_async_t *wake)
{
    struct fixture *fixture = container_of(wake, struct fixture, wake);
    fixture->work(fixture, fixture->argument);
    (void)sem_post(&fixture->done);
}

/* Runs work on the loop thread and waits for it. */
static inline void on_loop(struct fixture *fixture,
                           void (*work)(struct fixture *fixture, void *argument), void *argument)
{
    fixture->work = work;
    fixture->argument = argument;
    (void)uv_async_send(&fixture->wake);
    assert_int_equal(sem_wait(&fixture->done), 0);
}

static inline void *run_loop(void *state)
{
    (void)uv_run(&((struct fixture *)state)->loop, UV_RUN_DEFAULT);
    return NULL;
}

/* The rule for IDs that end in "/delivered" is delivered, else guarded. */
static inline struct rules *fixture_rules(void)
{
    static const struct rule items[] = {
        {.pattern = (char *)"spiffe://example.org/delivered/*",
         .protection = KEY_PROTECTION_DELIVERED},
        {.pattern = (char *)"*", .protection = KEY_PROTECTION_GUARDED},
    };
    struct rules *rules = NEW(struct rules);
    rules->count = ARRAY_SIZE(items);
    rules->items = memory_new_array(rules->count, sizeof(*rules->items));
    for (size_t i = 0; i < rules->count; i++) {
        rules->items[i] = items[i];
        rules->items[i].pattern = memory_copy_text(items[i].pattern);
    }
    return rules;
}

static inline void fixture_start_manager(struct fixture *fixture)
{
    struct error error;
    const struct keystore_config memory = {.name = "memory", .driver = &keystore_driver_memory};
    const struct attestor_config attestor = {0};
    fixture->keystore.name = "memory";
    assert_int_equal(keystore_new(&memory, &fixture->keystore.keystore, &error), 0);
    assert_int_equal(attestor_new(&fixture->loop, &attestor, &fixture->attestor, &error), 0);
    fixture->issuer.operations = &fixture_operations;
    const struct manager_config manager = {
        .issuer = &fixture->issuer,
        .trust_domain = "example.org",
        .keystores = &fixture->keystore,
        .keystore_count = 1,
        .rules = fixture_rules(),
        .delivered_max_ttl_s = FIXTURE_LIFE_S,
        .key_pool_size = 1,
    };
    assert_int_equal(manager_new(&fixture->loop, &manager, &fixture->manager, &error), 0);
    assert_int_equal(policy_new(fixture->folder, fixture_rules(), &fixture->policy, &error), 0);
    const struct access_config access = {
        .trust_domain = "example.org",
        .manager = fixture->manager,
        .attestor = fixture->attestor,
        .policy = fixture->policy,
    };
    assert_int_equal(access_new(&fixture->loop, &access, &fixture->access, &error), 0);
    assert_int_equal(manager_start(fixture->manager, &error), 0);
}

static inline int reload_nothing(void *user, struct api_reloaded *ret_reloaded, struct error *err)
{
    (void)user;
    (void)ret_reloaded;
    return error_set(err, ERROR_INVALID_ARGUMENT, "x.conf:1: nothing to read");
}

static inline void fixture_start_api(struct fixture *fixture)
{
    struct error error;
    const struct api_config config = {
        .manager = fixture->manager,
        .attestor = fixture->attestor,
        .issuer = &fixture->issuer,
        .access = fixture->access,
        .policy = fixture->policy,
        .keystores = &fixture->keystore,
        .keystore_count = 1,
        .trust_domain = "example.org",
        .pkcs11_path = "/run/test/pkcs11.sock",
        .connections_per_uid = 16,
        .reload = reload_nothing,
        .descriptor_limit = 1024,
    };
    fixture->api = api_new(&fixture->loop, &config);
    assert_int_equal(listener_open(fixture->api_path, 0777, &fixture->api_socket, &error), 0);
    assert_int_equal(listener_open(fixture->admin_path, 0600, &fixture->admin_socket, &error), 0);
    assert_int_equal(
        api_serve_workloads(fixture->api, file_take(&fixture->api_socket.descriptor), &error), 0);
    assert_int_equal(
        api_serve_admin(fixture->api, file_take(&fixture->admin_socket.descriptor), &error), 0);
}

static inline int fixture_open(void **state)
{
    struct fixture *fixture = NEW(struct fixture);
    (void)snprintf(fixture->folder, sizeof(fixture->folder), "/tmp/signet-api-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    fixture->api_path = file_join(fixture->folder, "api.sock");
    fixture->admin_path = file_join(fixture->folder, "admin.sock");
    assert_int_equal(uv_loop_init(&fixture->loop), 0);
    assert_int_equal(uv_async_init(&fixture->loop, &fixture->wake, woken), 0);
    assert_int_equal(sem_init(&fixture->done, 0, 0), 0);
    fixture_start_manager(fixture);
    fixture_start_api(fixture);
    assert_int_equal(pthread_create(&fixture->thread, NULL, run_loop, fixture), 0);
    *state = fixture;
    return 0;
}

static inline void manager_has_stopped(void *user)
{
    struct fixture *fixture = user;
    attestor_free(fixture->attestor);
    policy_free(fixture->policy);
    uv_close((uv_handle_t *)&fixture->wake, NULL);
}

static inline void access_has_stopped(void *user)
{
    struct fixture *fixture = user;
    manager_stop(fixture->manager, manager_has_stopped, fixture);
}

static inline void api_has_stopped(void *user)
{
    struct fixture *fixture = user;
    access_stop(fixture->access, access_has_stopped, fixture);
}

static inline void stop_api(struct fixture *fixture, void *argument)
{
    (void)argument;
    api_stop(take_ptr(fixture->api), api_has_stopped, fixture);
}

static inline int fixture_close(void **state)
{
    struct fixture *fixture = *state;
    if (fixture->api) {
        on_loop(fixture, stop_api, NULL);
    }
    assert_int_equal(pthread_join(fixture->thread, NULL), 0);
    assert_int_equal(uv_loop_close(&fixture->loop), 0);
    keystore_free(fixture->keystore.keystore);
    listener_close(&fixture->api_socket);
    listener_close(&fixture->admin_socket);
    assert_int_equal(rmdir(fixture->folder), 0);
    (void)sem_destroy(&fixture->done);
    free(fixture->api_path);
    free(fixture->admin_path);
    free(fixture);
    return 0;
}

/* What tests do. */

struct wanted_entry {
    const char *id, *spiffe_id, *selector; /* selector NULL: this process's uid */
};

static inline void set_entry_on_loop(struct fixture *fixture, void *argument)
{
    const struct wanted_entry *wanted = argument;
    _cleanup_(free_cleanup) char *uid = text_format("unix:uid:%u", getuid());
    struct entry *entry = NEW(struct entry);
    entry->references = 1;
    entry->id = memory_copy_text(wanted->id);
    entry->spiffe_id = memory_copy_text(wanted->spiffe_id);
    entry->hint = memory_copy_text("");
    text_list_add(&entry->selectors, wanted->selector ? wanted->selector : uid);
    fixture->tell.entry_set(fixture->tell.user, entry);
    entry_unref(entry);
}

static inline void set_entry(struct fixture *fixture, const char *id, const char *spiffe_id)
{
    struct wanted_entry wanted = {id, spiffe_id, NULL};
    on_loop(fixture, set_entry_on_loop, &wanted);
}

static inline void remove_entry_on_loop(struct fixture *fixture, void *id)
{
    fixture->tell.entry_removed(fixture->tell.user, id);
}

static inline void set_bundle_on_loop(struct fixture *fixture, void *has_jwt_key)
{
    tell_bundle(fixture, *(bool *)has_jwt_key);
}

static inline struct rpc_client *dial(const char *path, bool has_header)
{
    struct rpc_client *client = NULL;
    struct error error = {0};
    if (rpc_client_connect(path, FIXTURE_TIMEOUT_MS, &client, &error) < 0) {
        fail_msg("%s", error.text);
    }
    if (has_header) {
        rpc_client_set_metadata(client, "workload.spiffe.io", "true");
    }
    return client;
}
