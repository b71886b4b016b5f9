#include "tests/unit/api/fixture.h"

#include <sys/stat.h>

#include "agent/access/usage.h"
#include "agent/api/context.h"
#include "proto/admin.pb-c.h"

#define ADMIN_METHOD(name) "/signet.admin.v1.Admin/" name

static struct usage *usage; /* of the test that runs */

static void open_usage(struct fixture *fixture, void *argument)
{
    (void)argument;
    assert_int_equal(usage_open(&fixture->loop, fixture->folder, &usage, NULL), 0);
    fixture->api->config.usage = usage;
}

static void close_usage(struct fixture *fixture, void *argument)
{
    (void)argument;
    fixture->api->config.usage = NULL;
    usage_close(usage);
}

static int close_all(void **state)
{
    static const char *const files[] = {"usage.db", "usage.db-wal", "locks.json"};
    struct fixture *fixture = *state;
    if (fixture->api->config.usage) {
        on_loop(fixture, close_usage, NULL);
    }
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        _cleanup_(free_cleanup) char *path = file_join(fixture->folder, files[i]);
        (void)unlink(path);
    }
    return fixture_close(state);
}

/* The steps as text, "yes entry" and so on, each with a semicolon. */
static char *steps_text(const Admin__TestRuleResponse *response)
{
    struct buffer text = {0};
    for (size_t i = 0; i < response->n_steps; i++) {
        buffer_append_text(&text, response->steps[i]->allows ? "yes " : "no ");
        buffer_append_text(&text, response->steps[i]->what);
        buffer_append_text(&text, "; ");
    }
    buffer_append_u8(&text, 0);
    return (char *)text.data;
}

struct rule_case {
    const char *spiffe_id;
    bool has_pid, has_audience;
    const char *steps, *text;
};

static void check(struct rpc_client *client, const struct rule_case *wanted)
{
    struct error error = {0};
    ProtobufCMessage *message = NULL;
    char *audience[] = {(char *)"https://a"};
    Admin__TestRuleRequest request = ADMIN__TEST_RULE_REQUEST__INIT;
    request.spiffe_id = (char *)wanted->spiffe_id;
    request.pid = wanted->has_pid ? (uint32_t)getpid() : 0;
    request.audience = audience;
    request.n_audience = wanted->has_audience ? 1 : 0;
    if (rpc_client_call(client, ADMIN_METHOD("TestRule"), &request.base,
                        &admin__test_rule_response__descriptor, &message, &error) < 0) {
        fail_msg("%s", error.text);
    }
    const Admin__TestRuleResponse *response = (const Admin__TestRuleResponse *)message;
    _cleanup_(free_cleanup) char *steps = steps_text(response);
    assert_string_equal(steps, wanted->steps);
    assert_int_equal(response->allowed, !strstr(steps, "no "));
    bool has_text = false;
    for (size_t i = 0; i < response->n_steps; i++) {
        has_text = has_text || strstr(response->steps[i]->text, wanted->text);
    }
    if (!has_text) {
        fail_msg("%s: nothing like \"%s\"", steps, wanted->text);
    }
    protobuf_c_message_free_unpacked(message, NULL);
}

static void add_lock(struct fixture *fixture, void *what)
{
    const struct lock *lock = NULL;
    const struct lock wanted = {
        .kind = LOCK_SPIFFE_ID, .what = what, .reason = (char *)"incident 7", .by = (char *)"test"};
    assert_int_equal(locks_add(policy_locks(fixture->policy), &wanted, &lock, NULL), 0);
}

static void steps(void **state)
{
    static const struct rule_case cases[] = {
        {"spiffe://example.org/none", false, false, "no entry; yes lock; yes rule; ", "to anybody"},
        {"spiffe://example.org/mine", false, false, "yes entry; yes lock; yes rule; ", "e1"},
        {"spiffe://example.org/mine", true, false, "yes entry; yes lock; yes rule; yes process; ",
         "guarded"},
        {"spiffe://example.org/mine", true, true,
         "yes entry; yes lock; yes rule; yes process; yes audience; ", "every audience"},
        {"spiffe://example.org/other", false, false, "yes entry; yes lock; yes rule; ", "e2"},
        {"spiffe://example.org/other", true, false, "no entry; yes lock; yes rule; yes process; ",
         "lacks unix:path:/none"},
        {"spiffe://example.org/locked", true, false, "yes entry; no lock; yes rule; ",
         "incident 7"},
    };
    struct fixture *fixture = *state;
    struct wanted_entry other = {"e2", "spiffe://example.org/other", "unix:path:/none"};
    set_entry(fixture, "e1", "spiffe://example.org/mine");
    on_loop(fixture, set_entry_on_loop, &other);
    set_entry(fixture, "e3", "spiffe://example.org/locked");
    on_loop(fixture, add_lock, (void *)"spiffe://example.org/locked");
    struct rpc_client *client = dial(fixture->admin_path, false);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        check(client, &cases[i]);
    }
    rpc_client_free(client);
}

static void wrong_questions(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        const char *spiffe_id;
        uint32_t pid;
        enum error_code code;
    } cases[] = {
        {"", 0, ERROR_INVALID_ARGUMENT},
        {"spiffe://example.org", 0, ERROR_INVALID_ARGUMENT},
        {"spiffe://example.org/*", 0, ERROR_INVALID_ARGUMENT},
        {"spiffe://other.org/x", 0, ERROR_INVALID_ARGUMENT},
        {"spiffe://example.org/x", 4194304, ERROR_NOT_FOUND},
        {"spiffe://example.org/x", UINT32_MAX, ERROR_INVALID_ARGUMENT},
    };
    struct rpc_client *client = dial(fixture->admin_path, false);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct error error = {0};
        ProtobufCMessage *message = NULL;
        Admin__TestRuleRequest request = ADMIN__TEST_RULE_REQUEST__INIT;
        request.spiffe_id = (char *)cases[i].spiffe_id;
        request.pid = cases[i].pid;
        assert_int_equal(rpc_client_call(client, ADMIN_METHOD("TestRule"), &request.base,
                                         &admin__test_rule_response__descriptor, &message, &error),
                         -1);
        assert_int_equal(error.code, cases[i].code);
    }
    rpc_client_free(client);
}

static void use_some(struct fixture *fixture, void *argument)
{
    int64_t now_s = clock_now_s();
    (void)fixture;
    (void)argument;
    usage_known(usage, "spiffe://example.org/mine");
    usage_used(usage, "spiffe://example.org/mine", 42, now_s);
    usage_fetched(usage, "spiffe://example.org/gone", now_s);
    usage_denied(usage, "spiffe://example.org/gone", 3, now_s);
    usage_known(usage, "spiffe://example.org/locked");
}

/* Page by page, in order. */
static void identities(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        const char *spiffe_id;
        bool has_entry, is_locked;
        uint64_t used, denied;
    } expected[] = {
        {"spiffe://example.org/gone", false, false, 0, 3},
        {"spiffe://example.org/locked", true, true, 0, 0},
        {"spiffe://example.org/mine", true, false, 42, 0},
    };
    on_loop(fixture, open_usage, NULL);
    set_entry(fixture, "e1", "spiffe://example.org/mine");
    set_entry(fixture, "e3", "spiffe://example.org/locked");
    on_loop(fixture, add_lock, (void *)"spiffe://example.org/locked");
    on_loop(fixture, use_some, NULL);
    struct rpc_client *client = dial(fixture->admin_path, false);
    _cleanup_(free_cleanup) char *token = memory_copy_text("");
    for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
        struct error error = {0};
        ProtobufCMessage *message = NULL;
        Admin__ListIdentitiesRequest request = ADMIN__LIST_IDENTITIES_REQUEST__INIT;
        request.page_token = token;
        request.page_size = 1;
        assert_int_equal(rpc_client_call(client, ADMIN_METHOD("ListIdentities"), &request.base,
                                         &admin__list_identities_response__descriptor, &message,
                                         &error),
                         0);
        const Admin__ListIdentitiesResponse *page = (const Admin__ListIdentitiesResponse *)message;
        assert_int_equal(page->n_identities, 1);
        const Admin__Identity *identity = page->identities[0];
        assert_string_equal(identity->spiffe_id, expected[i].spiffe_id);
        assert_int_equal(identity->has_entry, expected[i].has_entry);
        assert_int_equal(strstr(identity->lock, "incident 7") != NULL, expected[i].is_locked);
        assert_int_equal(identity->used, expected[i].used);
        assert_int_equal(identity->denied, expected[i].denied);
        assert_int_equal(identity->n_used_days, USAGE_DAYS);
        assert_int_equal(identity->used_days[0], expected[i].used);
        free(token);
        token = memory_copy_text(page->next_page_token);
        protobuf_c_message_free_unpacked(message, NULL);
    }
    assert_string_equal(token, "");
    rpc_client_free(client);
}

int main(void)
{
#define WITH_API(test) cmocka_unit_test_setup_teardown(test, fixture_open, close_all)
    const struct CMUnitTest tests[] = {
        WITH_API(steps),
        WITH_API(wrong_questions),
        WITH_API(identities),
    };
    struct error error;
    return secret_init(&error) < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
