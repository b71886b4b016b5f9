/* The part of the admin API that tells what would be decided, step by step. It takes nothing from
 * what is limited by rate. */
#include "agent/api/admin.h"

#include <string.h>

#include "agent/access/access.h"
#include "agent/api/context.h"
#include "agent/api/rule_steps.h"
#include "agent/spiffe_id.h"
#include "lib/base/memory.h"
#include "proto/admin.pb-c.h"

/* A test under way. The process is attested, the outside policy asked, both perhaps later. */
struct test {
    struct api *api;
    struct account *account;
    struct rpc_call *call; /* NULL once it has ended */
    struct rule_question question;
    struct rule_steps steps;
    struct peer *peer; /* NULL: of no process in particular */
    struct outside_wait wait;
};

static void call_closed(struct rpc_call *call, void *state)
{
    (void)call;
    ((struct test *)state)->call = NULL;
}

static void test_free(struct test *test)
{
    struct accounts *accounts = &test->api->accounts;
    struct account *account = test->account;
    if (test->peer) {
        peer_unref(test->peer);
    }
    rule_question_clear(&test->question);
    rule_steps_clear(&test->steps);
    free(test);
    account_work_end(accounts, account);
}

static void fill_rule(Admin__TestRuleResponse *response, const struct rule *rule)
{
    if (rule) {
        response->rule = rule->pattern;
        response->protection = (char *)key_protection_name(rule->protection);
        response->key_type = (char *)key_type_name(rule->key_type);
        response->keystore = rule->keystore ? rule->keystore : response->keystore;
    }
}

static void answer(struct test *test)
{
    const struct rule_steps *steps = &test->steps;
    Admin__TestRuleResponse response = ADMIN__TEST_RULE_RESPONSE__INIT;
    Admin__TestStep items[RULE_STEPS_MAX], *pointers[RULE_STEPS_MAX];
    response.allowed = true;
    response.steps = pointers;
    response.n_steps = steps->count;
    for (size_t i = 0; i < steps->count; i++) {
        admin__test_step__init(&items[i]);
        items[i].what = (char *)steps->items[i].what;
        items[i].allows = steps->items[i].allows;
        items[i].text = steps->items[i].text;
        response.allowed = response.allowed && items[i].allows;
        pointers[i] = &items[i];
    }
    fill_rule(&response, test->question.rule);
    if (test->call) {
        rpc_call_reply(take_ptr(test->call), &response.base);
    }
    test_free(test);
}

static void outside_told(struct outside_wait *wait, bool is_allowed, const char *reason,
                         uint64_t until_ms)
{
    struct test *test = container_of(wait, struct test, wait);
    (void)until_ms;
    rule_steps_add(&test->steps, "outside", is_allowed, "the outside policy %s%s%s",
                   is_allowed ? "allows it" : "denies it", reason && reason[0] ? ": " : "",
                   reason && reason[0] ? reason : "");
    answer(test);
}

static void decide(struct test *test)
{
    struct outside *outside = test->api->config.outside;
    const struct rule_question *question = &test->question;
    rule_steps_decide(test->api, &test->question, &test->steps);
    if (!outside) {
        answer(test);
        return;
    }
    const struct outside_question asked = {
        .action = question->audience.count > 0 ? "jwt" : "issue",
        .spiffe_id = question->spiffe_id,
        .entry_id = question->entry_id,
        .rule = question->rule ? question->rule->pattern : NULL,
        .process = question->process,
        .audience = question->audience.count > 0 ? &question->audience : NULL,
    };
    test->wait.done = outside_told;
    outside_ask(outside, &asked, &test->wait);
}

static void fail_test(struct test *test, const struct error *failure)
{
    if (test->call) {
        rpc_call_finish(take_ptr(test->call), failure);
    }
    test_free(test);
}

static void attested(void *user, const struct text_list *selectors, const struct error *failure)
{
    struct test *test = user;
    const struct process_facts *facts = &test->question.facts;
    struct error changed;
    if (!failure && facts->is_program_known && !peer_runs(test->peer, &facts->program)) {
        (void)error_set(&changed, ERROR_ABORTED,
                        "testing the rules: pid %d started another program meanwhile; try again",
                        test->peer->pid);
        failure = &changed;
    }
    if (failure) {
        fail_test(test, failure);
        return;
    }
    rule_question_set_process(&test->question, test->peer, selectors);
    decide(test);
}

static int check(const struct api *api, const Admin__TestRuleRequest *wanted, struct error *err)
{
    enum { AUDIENCES_MAX = 64, PID_MAX = 1 << 22 };
    if (wanted->pid > PID_MAX || wanted->n_audience > AUDIENCES_MAX) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "a pid is at most %d, and there are at most %d audiences", PID_MAX,
                         AUDIENCES_MAX);
    }
    return spiffe_id_check_workload(wanted->spiffe_id, api->config.trust_domain, err);
}

static int begin(struct api *api, struct rpc_call *call, const Admin__TestRuleRequest *wanted,
                 struct test **ret_test, struct error *err)
{
    struct peer *peer = NULL;
    const struct caller *caller = rpc_call_peer(call);
    TRY(check(api, wanted, err));
    if (wanted->pid > 0) {
        TRY(peer_of_pid((pid_t)wanted->pid, &peer, err));
    }
    if (account_work_begin(&api->accounts, caller->account, err) < 0) {
        if (peer) {
            peer_unref(peer);
        }
        return -1;
    }
    struct test *test = NEW(struct test);
    *test = (struct test){.api = api, .account = caller->account, .call = call, .peer = peer};
    test->question.spiffe_id = memory_copy_text(wanted->spiffe_id);
    for (size_t i = 0; i < wanted->n_audience; i++) {
        text_list_add(&test->question.audience, wanted->audience[i]);
    }
    rpc_call_on_closed(call, call_closed, test);
    *ret_test = test;
    return 0;
}

void admin_test_rule(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
    struct api *api = user;
    struct test *test = NULL;
    struct error error;
    if (begin(api, call, (const Admin__TestRuleRequest *)request, &test, &error) < 0) {
        (void)error_prepend(&error, "testing the rules");
        rpc_call_finish(call, &error);
        return;
    }
    if (test->peer) {
        (void)peer_facts(test->peer, &test->question.facts);
        attestor_attest(api->config.attestor, test->peer, attested, test);
    } else {
        decide(test);
    }
}
