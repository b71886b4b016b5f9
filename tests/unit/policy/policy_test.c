#include "tests/unit/cmocka_all.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/policy/meters_of.h"
#include "agent/policy/policy.h"
#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

#define ID "spiffe://example.org/payments/api"
#define SHA256 "unix:sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
/* Saturday, 2026-11-21 12:00 UTC. */
static const int64_t noon_s = 1795262400;

struct fixture {
    char folder[32];
    struct policy *policy;
    struct text_list selectors;
    struct audit_process process;
    struct policy_answer answer;
};

static struct rule *add_rule(struct rules *rules, const char *pattern)
{
    rules->items = memory_resize_array(rules->items, rules->count + 1, sizeof(*rules->items));
    rules->items[rules->count] = (struct rule){.pattern = memory_copy_text(pattern)};
    return &rules->items[rules->count++];
}

/* One rule for the ID, which the test may still change, and a later one for all. */
static struct rule *with_rule(struct fixture *fixture)
{
    struct rules *rules = NEW(struct rules);
    (void)add_rule(rules, "spiffe://example.org/payments/*");
    (void)add_rule(rules, "spiffe://example.org/other");
    policy_set_rules(fixture->policy, rules);
    return &rules->items[0];
}

static int set_up(void **state)
{
    struct fixture *fixture = NEW(struct fixture);
    struct error err;
    (void)snprintf(fixture->folder, sizeof(fixture->folder), "/tmp/policy_test.XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    if (policy_new(fixture->folder, NEW(struct rules), &fixture->policy, &err) < 0) {
        fail_msg("%s", err.text);
    }
    text_list_add(&fixture->selectors, SHA256);
    text_list_add(&fixture->selectors, "unix:uid:1000");
    fixture->process = (struct audit_process){.pid = getpid(), .selectors = &fixture->selectors};
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    _cleanup_(free_cleanup) char *locks = file_join(fixture->folder, "locks.json");
    policy_free(fixture->policy);
    text_list_clear(&fixture->selectors);
    (void)unlink(locks);
    assert_int_equal(rmdir(fixture->folder), 0);
    free(fixture);
    return 0;
}

static void set_age(struct fixture *fixture, uint64_t age_ms)
{
    uint64_t ticks_a_second = (uint64_t)sysconf(_SC_CLK_TCK);
    uint64_t now_ms = clock_monotonic_ms();
    assert_true(now_ms > age_ms);
    fixture->process.start_time = (now_ms - age_ms) * ticks_a_second / 1000;
}

static const struct policy_answer *decide(struct fixture *fixture, int64_t now_s)
{
    policy_decide_identity(fixture->policy, ID, now_s, &fixture->answer);
    return &fixture->answer;
}

static const struct policy_answer *decide_holder(struct fixture *fixture, int64_t first_use_s)
{
    const struct policy_holder holder = {&fixture->process, first_use_s};
    policy_decide_holder(fixture->policy, ID, &holder, noon_s, &fixture->answer);
    return &fixture->answer;
}

static void assert_denied(const struct policy_answer *answer, enum audit_decider decider,
                          const char *decider_id, const char *words)
{
    assert_false(answer->is_allowed);
    assert_int_equal(answer->decider, decider);
    assert_string_equal(answer->decider_id, decider_id);
    if (!strstr(answer->reason, words)) {
        fail_msg("\"%s\" has no \"%s\"", answer->reason, words);
    }
}

static void without_rules_the_built_in_one_allows(void **state)
{
    const struct policy_answer *answer = decide(*state, noon_s);
    assert_true(answer->is_allowed);
    assert_int_equal(answer->decider, AUDIT_DECIDER_NONE);
    assert_string_equal(answer->decider_id, "");
    assert_string_equal(answer->reason, "");
    assert_int_equal(answer->until_s, INT64_MAX);
    assert_non_null(answer->rule);
    assert_true(decide_holder(*state, 0)->is_allowed);
}

static void a_rule_that_matches_allows(void **state)
{
    struct rule *rule = with_rule(*state);
    const struct policy_answer *answer = decide(*state, noon_s);
    assert_true(answer->is_allowed);
    assert_int_equal(answer->decider, AUDIT_DECIDER_RULE);
    assert_string_equal(answer->decider_id, "spiffe://example.org/payments/*");
    assert_ptr_equal(answer->rule, rule);
}

static void none_that_matches_denies(void **state)
{
    struct fixture *fixture = *state;
    struct rules *rules = NEW(struct rules);
    uint32_t ttl_s = 1;
    (void)add_rule(rules, "spiffe://example.org/other");
    policy_set_rules(fixture->policy, rules);
    assert_denied(decide(fixture, noon_s), AUDIT_DECIDER_RULE, "", "add a rule");
    assert_null(fixture->answer.rule);
    assert_denied(decide_holder(fixture, 0), AUDIT_DECIDER_RULE, "", ID);
    policy_decide_svid(fixture->policy, ID, &fixture->answer);
    assert_denied(&fixture->answer, AUDIT_DECIDER_RULE, "", "no rule");
    policy_decide_jwt(fixture->policy, ID, &fixture->selectors, &ttl_s, &fixture->answer);
    assert_denied(&fixture->answer, AUDIT_DECIDER_RULE, "", "no rule");
    assert_int_equal(ttl_s, 0);
}

static void set_node(struct fixture *fixture, struct policy_node node)
{
    policy_set_node(fixture->policy, &node);
}

static void attestation(void **state)
{
    struct fixture *fixture = *state;
    with_rule(fixture)->requires_attested = true;
    assert_denied(decide(fixture, noon_s), AUDIT_DECIDER_NODE, "spiffe://example.org/payments/*",
                  "attested, and it is not;");
    set_node(fixture, (struct policy_node){.reason = "PCR 7 has changed"});
    assert_denied(decide(fixture, noon_s), AUDIT_DECIDER_NODE, "spiffe://example.org/payments/*",
                  "not: PCR 7 has changed;");
    set_node(fixture, (struct policy_node){.is_attested = true});
    assert_true(decide(fixture, noon_s)->is_allowed);
}

/* Whatever the rules say; locks have the first word. */
static void a_locked_node_denies_use(void **state)
{
    struct fixture *fixture = *state;
    uint32_t ttl_s = 0;
    set_node(fixture, (struct policy_node){.is_use_denied = true,
                                           .is_issuing_denied = true,
                                           .reason = "the TPM was replaced"});
    assert_denied(decide(fixture, noon_s), AUDIT_DECIDER_NODE, "", "held or used while this node");
    assert_denied(decide(fixture, noon_s), AUDIT_DECIDER_NODE, "", "the TPM was replaced;");
    assert_denied(decide_holder(fixture, 0), AUDIT_DECIDER_NODE, "", "the TPM was replaced;");
    policy_decide_svid(fixture->policy, ID, &fixture->answer);
    assert_denied(&fixture->answer, AUDIT_DECIDER_NODE, "", "nothing is issued");
    policy_decide_jwt(fixture->policy, ID, &fixture->selectors, &ttl_s, &fixture->answer);
    assert_denied(&fixture->answer, AUDIT_DECIDER_NODE, "", "the TPM was replaced;");
    set_node(fixture, (struct policy_node){.is_attested = true});
    assert_true(decide(fixture, noon_s)->is_allowed);
}

/* on_failure = deny_new: what is out may be used. */
static void a_node_that_issues_nothing_lets_use(void **state)
{
    struct fixture *fixture = *state;
    uint32_t ttl_s = 0;
    set_node(fixture, (struct policy_node){.is_issuing_denied = true, .reason = "PCR 0"});
    assert_true(decide(fixture, noon_s)->is_allowed);
    assert_true(decide_holder(fixture, 0)->is_allowed);
    policy_decide_svid(fixture->policy, ID, &fixture->answer);
    assert_denied(&fixture->answer, AUDIT_DECIDER_NODE, "", "not attested: PCR 0;");
    policy_decide_jwt(fixture->policy, ID, &fixture->selectors, &ttl_s, &fixture->answer);
    assert_denied(&fixture->answer, AUDIT_DECIDER_NODE, "", "nothing is issued");
    set_node(fixture, (struct policy_node){0});
    policy_decide_svid(fixture->policy, ID, &fixture->answer);
    assert_true(fixture->answer.is_allowed);
}

static void hours(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    struct rule *rule = with_rule(fixture);
    assert_int_equal(schedule_new("Mon-Fri 08:00-18:00", "Europe/Berlin", &rule->hours, &err), 0);
    assert_denied(decide(fixture, noon_s), AUDIT_DECIDER_RULE, "spiffe://example.org/payments/*",
                  "allows it Mon-Fri 08:00-18:00 Europe/Berlin; next at Mon 2026-11-23 08:00");
    int64_t monday_s = fixture->answer.until_s;
    assert_int_equal(monday_s, 1795417200);
    assert_true(decide(fixture, monday_s)->is_allowed);
    assert_int_equal(fixture->answer.until_s, monday_s + 36000);
    /* A clock that is set back is believed as it is. */
    assert_false(decide(fixture, monday_s - 1)->is_allowed);
}

/* Locks. */

static const struct lock *add_lock(struct fixture *fixture, enum lock_kind kind, const char *what,
                                   int64_t ends_at_s)
{
    const struct lock *lock = NULL;
    struct error err;
    struct lock wanted = {.kind = kind,
                          .what = (char *)what,
                          .reason = (char *)"seen elsewhere",
                          .by = (char *)"uid 0 pid 1",
                          .ends_at_s = ends_at_s};
    if (locks_add(policy_locks(fixture->policy), &wanted, &lock, &err) < 0) {
        fail_msg("%s", err.text);
    }
    return lock;
}

static void locks_deny_before_rules(void **state)
{
    struct fixture *fixture = *state;
    struct rules *rules = NEW(struct rules);
    (void)add_rule(rules, "spiffe://example.org/other");
    policy_set_rules(fixture->policy, rules);
    int64_t end_s = clock_now_s() + 3600;
    const struct lock *lock =
        add_lock(fixture, LOCK_SPIFFE_ID, "spiffe://example.org/payments/*", end_s);
    assert_denied(decide(fixture, noon_s), AUDIT_DECIDER_LOCK, lock->id, "\"seen elsewhere\"");
    assert_non_null(strstr(fixture->answer.reason, "uid 0 pid 1"));
    assert_non_null(strstr(fixture->answer.reason, "signet unlock"));
    assert_int_equal(fixture->answer.until_s, end_s);
    assert_denied(decide_holder(fixture, 0), AUDIT_DECIDER_LOCK, lock->id, "spiffe_id");
}

static void a_locked_node_denies_all(void **state)
{
    struct fixture *fixture = *state;
    const struct lock *lock = add_lock(fixture, LOCK_NODE, "", 0);
    assert_denied(decide(fixture, noon_s), AUDIT_DECIDER_LOCK, lock->id, "until it is lifted");
    assert_int_equal(fixture->answer.until_s, INT64_MAX);
}

static void locks_of_processes_deny_holders_only(void **state)
{
    struct fixture *fixture = *state;
    char pid[16];
    (void)snprintf(pid, sizeof(pid), "%d", getpid());
    const struct lock *lock = add_lock(fixture, LOCK_PID, pid, 0);
    fixture->process.start_time = lock->start_time;
    assert_true(decide(fixture, noon_s)->is_allowed);
    assert_denied(decide_holder(fixture, 0), AUDIT_DECIDER_LOCK, lock->id, pid);
    fixture->process.pid = 1;
    assert_true(decide_holder(fixture, 0)->is_allowed);
}

static void locks_of_executables(void **state)
{
    struct fixture *fixture = *state;
    assert_false(policy_needs_sha256(fixture->policy));
    const struct lock *lock = add_lock(fixture, LOCK_EXECUTABLE, &SHA256[5], 0);
    assert_true(policy_needs_sha256(fixture->policy));
    assert_true(decide(fixture, noon_s)->is_allowed);
    assert_denied(decide_holder(fixture, 0), AUDIT_DECIDER_LOCK, lock->id, "executable");
}

/* Holders. */

static void executables(void **state)
{
    struct fixture *fixture = *state;
    struct rule *rule = with_rule(fixture);
    text_list_add(&rule->executables, "unix:fsverity:sha256:00");
    assert_denied(decide_holder(fixture, 0), AUDIT_DECIDER_RULE, "spiffe://example.org/payments/*",
                  "add it to the rule's executables");
    assert_true(decide(fixture, noon_s)->is_allowed);
    text_list_add(&rule->executables, SHA256);
    assert_true(decide_holder(fixture, 0)->is_allowed);
    fixture->process.selectors = NULL;
    assert_denied(decide_holder(fixture, 0), AUDIT_DECIDER_RULE, "spiffe://example.org/payments/*",
                  "no digest that is known");
}

static void digests_are_needed_where_a_rule_has_some(void **state)
{
    struct fixture *fixture = *state;
    struct rules *rules = NEW(struct rules);
    text_list_add(&add_rule(rules, "*")->executables, "unix:fsverity:sha256:00");
    policy_set_rules(fixture->policy, rules);
    assert_false(policy_needs_sha256(fixture->policy));
    rules = NEW(struct rules);
    text_list_add(&add_rule(rules, "*")->executables, SHA256);
    policy_set_rules(fixture->policy, rules);
    assert_true(policy_needs_sha256(fixture->policy));
    policy_set_rules(fixture->policy, NEW(struct rules));
    assert_false(policy_needs_sha256(fixture->policy));
}

static void max_process_age(void **state)
{
    struct fixture *fixture = *state;
    with_rule(fixture)->max_process_age_s = 20;
    set_age(fixture, 1000);
    assert_true(decide_holder(fixture, 0)->is_allowed);
    assert_in_range(fixture->answer.until_s, noon_s + 10, noon_s + 19);
    set_age(fixture, 20000);
    assert_denied(decide_holder(fixture, noon_s), AUDIT_DECIDER_RULE,
                  "spiffe://example.org/payments/*", "for 20s from its start");
    assert_int_equal(fixture->answer.until_s, INT64_MAX);
    /* Started in the future: as good as now. */
    fixture->process.start_time = UINT64_MAX / 2;
    assert_true(decide_holder(fixture, 0)->is_allowed);
    assert_in_range(fixture->answer.until_s, noon_s + 19, noon_s + 20);
}

static void first_use_within(void **state)
{
    struct fixture *fixture = *state;
    with_rule(fixture)->first_use_within_s = 15;
    set_age(fixture, 1000);
    assert_true(decide_holder(fixture, 0)->is_allowed);
    assert_int_equal(fixture->answer.until_s, INT64_MAX);
    set_age(fixture, 16000);
    assert_denied(decide_holder(fixture, 0), AUDIT_DECIDER_RULE, "spiffe://example.org/payments/*",
                  "asks within 15s of its start");
    assert_true(decide_holder(fixture, noon_s - 20)->is_allowed);
    assert_int_equal(fixture->answer.until_s, INT64_MAX);
}

static void the_first_change_counts(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    struct rule *rule = with_rule(fixture);
    assert_int_equal(schedule_new("Sat 08:00-12:05", "UTC", &rule->hours, &err), 0);
    rule->max_process_age_s = 600;
    set_age(fixture, 1000);
    assert_true(decide_holder(fixture, noon_s)->is_allowed);
    assert_int_equal(fixture->answer.until_s, noon_s + 300);
    rule->max_process_age_s = 20;
    assert_true(decide_holder(fixture, 0)->is_allowed);
    assert_in_range(fixture->answer.until_s, noon_s + 10, noon_s + 19);
}

/* Meters. */

static void svids_a_minute(void **state)
{
    struct fixture *fixture = *state;
    with_rule(fixture)->svid_rate = 3;
    for (unsigned i = 0; i < 3; i++) {
        policy_decide_svid(fixture->policy, ID, &fixture->answer);
        assert_true(fixture->answer.is_allowed);
    }
    int64_t now_s = clock_now_s();
    policy_decide_svid(fixture->policy, ID, &fixture->answer);
    assert_denied(&fixture->answer, AUDIT_DECIDER_RULE, "spiffe://example.org/payments/*",
                  "3 X.509-SVIDs a minute");
    assert_in_range(fixture->answer.until_s, now_s, now_s + 21);
    /* Every identity has its own. */
    policy_decide_svid(fixture->policy, ID "2", &fixture->answer);
    assert_true(fixture->answer.is_allowed);
}

static void jwts(void **state)
{
    static const struct {
        const char *audiences[2];
        bool is_allowed;
    } cases[] = {
        {{"db", NULL}, true},
        {{"https://a.example.org", "db"}, true},
        {{"db", "https://example.com"}, false},
        {{"dbx", NULL}, false},
        {{NULL, NULL}, false},
    };
    struct fixture *fixture = *state;
    struct rule *rule = with_rule(fixture);
    text_list_add(&rule->jwt_audiences, "db");
    text_list_add(&rule->jwt_audiences, "https://*.example.org");
    rule->jwt_max_ttl_s = 77;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(text_list_clear) struct text_list audience = {0};
        uint32_t ttl_s = 0;
        for (size_t j = 0; j < 2 && cases[i].audiences[j]; j++) {
            text_list_add(&audience, cases[i].audiences[j]);
        }
        policy_decide_jwt(fixture->policy, ID, &audience, &ttl_s, &fixture->answer);
        assert_int_equal(fixture->answer.is_allowed, cases[i].is_allowed);
        assert_int_equal(ttl_s, cases[i].is_allowed ? 77 : 0);
    }
    _cleanup_(text_list_clear) struct text_list audience = {0};
    uint32_t ttl_s;
    text_list_add(&audience, "db");
    rule->jwt_rate = 1;
    policy_decide_jwt(fixture->policy, ID, &audience, &ttl_s, &fixture->answer);
    assert_true(fixture->answer.is_allowed);
    policy_decide_jwt(fixture->policy, ID, &audience, &ttl_s, &fixture->answer);
    assert_denied(&fixture->answer, AUDIT_DECIDER_RULE, "spiffe://example.org/payments/*",
                  "jwt_rate");
}

static void meters_are_one_for_each_identity(void **state)
{
    struct fixture *fixture = *state;
    struct identity_meters *one = policy_meters(fixture->policy, ID);
    struct identity_meters *same = policy_meters(fixture->policy, ID);
    struct identity_meters *other = policy_meters(fixture->policy, ID "2");
    assert_ptr_equal(one, same);
    assert_ptr_not_equal(one, other);
    assert_string_equal(other->spiffe_id, ID "2");
    identity_meters_unref(one);
    identity_meters_unref(same);
    identity_meters_unref(other);
}

static void idle_meters_do_not_pile_up(void **state)
{
    struct meters_of *meters_of = meters_of_new();
    struct identity_meters *kept = identity_meters_ref(meters_of_find(meters_of, "kept"));
    (void)state;
    atomic_store(&meters_of_find(meters_of, "owes")->svids.due_ns, UINT64_MAX);
    for (unsigned i = 0; i < 10000; i++) {
        char id[32];
        (void)snprintf(id, sizeof(id), "%u", i);
        (void)meters_of_find(meters_of, id);
    }
    assert_true(meters_of_count(meters_of) <= 1024);
    assert_ptr_equal(meters_of_find(meters_of, "kept"), kept);
    assert_int_equal(meters_of_find(meters_of, "owes")->svids.due_ns, UINT64_MAX);
    meters_of_free(meters_of);
    assert_string_equal(kept->spiffe_id, "kept");
    identity_meters_unref(kept);
}

static void long_names_fit(void **state)
{
    struct fixture *fixture = *state;
    struct rules *rules = NEW(struct rules);
    char pattern[2048];
    memset(pattern, 'a', sizeof(pattern));
    (void)memcpy(pattern, "spiffe://example.org/", 21);
    pattern[sizeof(pattern) - 1] = '\0';
    add_rule(rules, pattern)->requires_attested = true;
    policy_set_rules(fixture->policy, rules);
    set_node(fixture, (struct policy_node){.reason = pattern});
    policy_decide_identity(fixture->policy, pattern, noon_s, &fixture->answer);
    assert_false(fixture->answer.is_allowed);
    assert_int_equal(strlen(fixture->answer.decider_id), sizeof(fixture->answer.decider_id) - 1);
    assert_non_null(strstr(fixture->answer.reason, "signet attest show"));
}

#define POLICY_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        POLICY_TEST(without_rules_the_built_in_one_allows),
        POLICY_TEST(a_rule_that_matches_allows),
        POLICY_TEST(none_that_matches_denies),
        POLICY_TEST(attestation),
        POLICY_TEST(a_locked_node_denies_use),
        POLICY_TEST(a_node_that_issues_nothing_lets_use),
        POLICY_TEST(hours),
        POLICY_TEST(locks_deny_before_rules),
        POLICY_TEST(a_locked_node_denies_all),
        POLICY_TEST(locks_of_processes_deny_holders_only),
        POLICY_TEST(locks_of_executables),
        POLICY_TEST(executables),
        POLICY_TEST(digests_are_needed_where_a_rule_has_some),
        POLICY_TEST(max_process_age),
        POLICY_TEST(first_use_within),
        POLICY_TEST(the_first_change_counts),
        POLICY_TEST(svids_a_minute),
        POLICY_TEST(jwts),
        POLICY_TEST(meters_are_one_for_each_identity),
        cmocka_unit_test(idle_meters_do_not_pile_up),
        POLICY_TEST(long_names_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
