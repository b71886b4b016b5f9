/* A node with a TPM of its own: its state, what it remembers, evidence, baselines. */
#include "agent/node/node.h"

#include "agent/node/state.h"
#include "lib/base/clock.h"
#include "tests/unit/node/place.h"

#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"
#define ONE "7:sha256=0000000000000000000000000000000000000000000000000000000000000001"

struct fixture {
    struct place *place;
    struct node_settings settings;
    struct node *node;
    struct node_state state;
    unsigned changes;
    bool is_stopped;
};

static void changed(void *user, struct node *node)
{
    struct fixture *fixture = user;
    fixture->changes++;
    node_state(node, &fixture->state);
}

static int try_open(struct fixture *fixture, struct error *err)
{
    const struct node_config config = {
        .settings = &fixture->settings,
        .data_dir = fixture->place->data_dir,
        .keystore = fixture->place->keystore,
        .tcti = fixture->place->swtpm.tcti,
        .changed = changed,
        .user = fixture,
    };
    int result = node_new(&fixture->place->loop, &config, &fixture->node, err);
    if (result == 0) {
        node_state(fixture->node, &fixture->state);
    }
    return result;
}

static void open_node(struct fixture *fixture)
{
    struct error err;
    if (try_open(fixture, &err) < 0) {
        fail_msg("%s", err.text);
    }
}

static void stopped(void *user)
{
    ((struct fixture *)user)->is_stopped = true;
}

static void close_node(struct fixture *fixture)
{
    fixture->is_stopped = false;
    node_stop(fixture->node, stopped, fixture);
    PLACE_UNTIL(fixture->place, fixture->is_stopped);
    fixture->node = NULL;
}

static void attested(void *user)
{
    *(bool *)user = true;
}

static void attest(struct fixture *fixture)
{
    bool is_done = false;
    node_attest(fixture->node, attested, &is_done);
    PLACE_UNTIL(fixture->place, is_done);
    node_state(fixture->node, &fixture->state);
}

static void assert_attested(const struct fixture *fixture)
{
    if (!fixture->state.is_attested) {
        fail_msg("%s: %s", verdict_reason_name(fixture->state.reason), fixture->state.reason_text);
    }
}

static void assert_reason(const struct fixture *fixture, enum verdict_reason reason)
{
    assert_false(fixture->state.is_attested);
    if (fixture->state.reason != reason) {
        fail_msg("%s: %s", verdict_reason_name(fixture->state.reason), fixture->state.reason_text);
    }
}

static int set_up(void **state)
{
    struct fixture *fixture = NEW(struct fixture);
    struct baseline baseline = {.name = "zeros", .is_configured = true};
    struct error err;
    (void)place_set_up((void **)&fixture->place);
    fixture->settings = (struct node_settings){
        .keystore = memory_copy_text("tpm"),
        .reattest_interval_s = 3600,
        .counter_index = 0x01800007,
    };
    assert_int_equal(pcr_selection_parse("sha256:0,7", &fixture->settings.selection, &err), 0);
    assert_int_equal(pcr_set_put_text(&baseline.pcrs, "sha256:0=" ZEROS, &err), 0);
    assert_int_equal(pcr_set_put_text(&baseline.pcrs, "sha256:7=" ZEROS, &err), 0);
    assert_int_equal(baselines_add(&fixture->settings.baselines, &baseline, &err), 0);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    if (fixture->node) {
        close_node(fixture);
    }
    node_settings_clear(&fixture->settings);
    (void)place_tear_down((void **)&fixture->place);
    free(fixture);
    return 0;
}

static void a_node_is_attested_before_it_is_there(void **state)
{
    struct fixture *fixture = *state;
    open_node(fixture);
    assert_attested(fixture);
    assert_int_equal(fixture->changes, 0);
    assert_false(fixture->state.is_issuing_denied);
    assert_false(fixture->state.is_use_denied);
    assert_string_equal(fixture->state.verdict->baseline, "zeros");
    assert_non_null(strstr(fixture->state.ek_kind, "first sight"));
    assert_true(strncmp(fixture->state.ek_fingerprint, "sha256:", 7) == 0);
    assert_true(fixture->state.next_at_s > clock_now_s() + 3000);
    attest(fixture);
    assert_attested(fixture);
    assert_int_equal(fixture->changes, 0); /* nothing has */
    struct node_counters counters;
    node_counters(fixture->node, &counters);
    assert_int_equal(counters.attestations, 2);
    assert_int_equal(counters.failures, 0);
}

static void on_failure(void **state)
{
    static const struct {
        enum node_on_failure on_failure;
        bool is_issuing_denied, is_use_denied;
    } cases[] = {{NODE_LOCK, true, true}, {NODE_DENY_NEW, true, false}, {NODE_WARN, false, false}};
    struct fixture *fixture = *state;
    open_node(fixture);
    place_extend(fixture->place, ONE);
    attest(fixture);
    assert_reason(fixture, VERDICT_PCR_CHANGED);
    assert_int_equal(fixture->state.verdict->changed_pcrs, 1U << 7);
    assert_int_equal(fixture->changes, 1);
    attest(fixture);
    assert_int_equal(fixture->changes, 1);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        fixture->settings.on_failure = cases[i].on_failure;
        node_set_settings(fixture->node, &fixture->settings); /* counts at once */
        assert_false(fixture->state.is_attested);
        assert_int_equal(fixture->state.is_issuing_denied, cases[i].is_issuing_denied);
        assert_int_equal(fixture->state.is_use_denied, cases[i].is_use_denied);
    }
    attest(fixture);
    assert_reason(fixture, VERDICT_PCR_CHANGED);
    assert_true(fixture->state.next_at_s <= clock_now_s() + 60); /* the trouble may pass */
}

static void a_selection_needs_a_baseline(void **state)
{
    struct fixture *fixture = *state;
    baselines_clear(&fixture->settings.baselines);
    open_node(fixture);
    assert_reason(fixture, VERDICT_NO_BASELINE);
    assert_non_null(strstr(fixture->state.reason_text, "signet attest baseline record"));
}

static void whom_to_believe_can_be_said(void **state)
{
    struct fixture *fixture = *state;
    text_list_add(&fixture->settings.ek_hashes, "sha256:" ZEROS);
    open_node(fixture);
    assert_reason(fixture, VERDICT_EK_UNTRUSTED);
    text_list_add(&fixture->settings.ek_hashes, fixture->state.ek_fingerprint);
    node_set_settings(fixture->node, &fixture->settings);
    attest(fixture);
    assert_attested(fixture);
    assert_non_null(strstr(fixture->state.ek_kind, "hash"));
}

/* Several attestations that wait: each begins with what the one before left. */
static void many_at_once_are_one_after_the_other(void **state)
{
    struct fixture *fixture = *state;
    bool done[8] = {false};
    open_node(fixture);
    for (size_t i = 0; i < ARRAY_SIZE(done); i++) {
        node_attest(fixture->node, attested, &done[i]);
        node_set_settings(fixture->node, &fixture->settings);
    }
    PLACE_UNTIL(fixture->place, done[7]);
    for (size_t i = 0; i < ARRAY_SIZE(done); i++) {
        assert_true(done[i]);
    }
    assert_attested(fixture);
}

/* One that was asked for before the settings changed says nothing about them. */
static void what_is_superseded_is_not_told(void **state)
{
    struct fixture *fixture = *state;
    struct node_counters counters;
    const struct baselines zeros = fixture->settings.baselines;
    open_node(fixture);
    fixture->settings.baselines = (struct baselines){0};
    node_set_settings(fixture->node, &fixture->settings); /* would not be attested */
    fixture->settings.baselines = zeros;
    node_set_settings(fixture->node, &fixture->settings);
    assert_int_equal(fixture->changes, 2);
    attest(fixture);
    assert_attested(fixture);
    assert_int_equal(fixture->changes, 2);
    node_counters(fixture->node, &counters);
    assert_int_equal(counters.attestations, 2); /* the first and the last */
    assert_int_equal(counters.failures, 0);
}

/* Evidence. */

struct answer {
    bool is_there, is_failed;
    struct error failure;
    struct evidence evidence;
};

static void answered(void *user, struct bytes json, const struct error *failure)
{
    struct answer *answer = user;
    struct error err;
    assert_false(answer->is_there);
    answer->is_there = true;
    answer->is_failed = failure != NULL;
    if (failure) {
        answer->failure = *failure;
    } else if (evidence_parse(json, &answer->evidence, &err) < 0) {
        fail_msg("%s", err.text);
    }
}

static const uint8_t nonce[] = "twelve bytes";

static void ask(struct fixture *fixture, struct node_evidence_request request,
                struct answer *answer)
{
    *answer = (struct answer){0};
    if (!request.nonce.data) {
        request.nonce = (struct bytes){nonce, sizeof(nonce) - 1};
    }
    node_evidence(fixture->node, &request, answered, answer);
    assert_false(answer->is_there);
}

static void evidence(void **state)
{
    struct fixture *fixture = *state;
    struct keystore *keystore = fixture->place->keystore;
    struct error err;
    struct answer answer;
    _cleanup_(key_unref_cleanup) struct key *key = NULL;
    open_node(fixture);
    assert_int_equal(
        keystore_key_generate(keystore, KEY_TYPE_EC_P256, NULL, KEYSTORE_PRIORITY_USE, &key, &err),
        0);
    ask(fixture, (struct node_evidence_request){.key = key}, &answer);
    PLACE_UNTIL(fixture->place, answer.is_there);
    assert_false(answer.is_failed);
    assert_true(bytes_is_equal(buffer_bytes(&answer.evidence.nonce),
                               (struct bytes){nonce, sizeof(nonce) - 1}));
    assert_true(answer.evidence.quote.signature.size > 0);
    assert_true(answer.evidence.key.signature.size > 0);
    const struct attest_policy policy = {.selection = fixture->settings.selection,
                                         .may_lack_ak_binding = true};
    const struct judge_request request = {.evidence = &answer.evidence,
                                          .policy = &policy,
                                          .nonce = {nonce, sizeof(nonce) - 1},
                                          .wants_key = true,
                                          .now_s = clock_now_s()};
    struct verdict verdict;
    judge_evidence(&request, &verdict);
    assert_int_equal(verdict.claims[CLAIM_KEY_IN_TPM].result, CLAIM_PROVEN);
    assert_int_equal(verdict.claims[CLAIM_KEY_PROPERTIES].result, CLAIM_PROVEN);
    assert_true(verdict_allows(&verdict));
    verdict_clear(&verdict);
    evidence_clear(&answer.evidence);
}

/* A challenge of somebody else, answered by the TPM. */
static void evidence_answers_a_challenge(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    struct answer plain;
    struct answer answer;
    struct challenge challenge = {0};
    struct secret secret = {0};
    struct buffer json = {0};
    open_node(fixture);
    ask(fixture, (struct node_evidence_request){0}, &plain);
    PLACE_UNTIL(fixture->place, plain.is_there);
    assert_int_equal(judge_challenge(&plain.evidence, &challenge, &secret, &err), 0);
    challenge_format(&challenge, &json);
    ask(fixture, (struct node_evidence_request){.challenge = buffer_bytes(&json)}, &answer);
    PLACE_UNTIL(fixture->place, answer.is_there);
    assert_false(answer.is_failed);
    const struct attest_policy policy = {.selection = fixture->settings.selection};
    const struct judge_request request = {.evidence = &answer.evidence,
                                          .policy = &policy,
                                          .nonce = {nonce, sizeof(nonce) - 1},
                                          .challenge_secret = secret_bytes(&secret),
                                          .now_s = clock_now_s()};
    struct verdict verdict;
    judge_evidence(&request, &verdict);
    assert_int_equal(verdict.claims[CLAIM_AK_IN_TPM].result, CLAIM_PROVEN);
    verdict_clear(&verdict);
    challenge_clear(&challenge);
    secret_clear(&secret);
    buffer_clear(&json);
    evidence_clear(&plain.evidence);
    evidence_clear(&answer.evidence);
}

static void evidence_is_refused(void **state)
{
    struct fixture *fixture = *state;
    const struct {
        struct node_evidence_request request;
        enum error_code code;
        const char *text;
    } cases[] = {
        {{.nonce = {nonce, 7}}, ERROR_INVALID_ARGUMENT, "8 to 32"},
        {{.nonce = {(const uint8_t *)ZEROS, 33}}, ERROR_INVALID_ARGUMENT, "8 to 32"},
        {{.challenge = {nonce, 3}}, ERROR_INVALID_ARGUMENT, ""},
        {{.challenge = {nonce, 17 << 10}}, ERROR_INVALID_ARGUMENT, "more than"},
    };
    struct answer answer;
    open_node(fixture);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        ask(fixture, cases[i].request, &answer);
        PLACE_UNTIL(fixture->place, answer.is_there);
        assert_true(answer.is_failed);
        assert_int_equal(answer.failure.code, cases[i].code);
        assert_non_null(strstr(answer.failure.text, cases[i].text));
    }
}

static void evidence_is_bounded(void **state)
{
    enum { LIMIT = 64, KEPT = 8, PER_ASKER = 4 };
    struct fixture *fixture = *state;
    struct answer *answers = memory_new_array(LIMIT + 2, sizeof(*answers));
    struct answer again;
    struct answer late;
    open_node(fixture);
    for (size_t i = 0; i < PER_ASKER; i++) {
        ask(fixture, (struct node_evidence_request){.asker = 4711}, &answers[i]);
    }
    ask(fixture, (struct node_evidence_request){.asker = 4711}, &again);
    for (size_t i = PER_ASKER; i < LIMIT - KEPT; i++) {
        ask(fixture, (struct node_evidence_request){.asker = i}, &answers[i]);
    }
    ask(fixture, (struct node_evidence_request){.asker = LIMIT}, &late);
    for (size_t i = LIMIT - KEPT; i < LIMIT + 2; i++) {
        ask(fixture, (struct node_evidence_request){0}, &answers[i]);
    }
    /* Refusals do not wait for the TPM. */
    PLACE_UNTIL(fixture->place, again.is_there && late.is_there && answers[LIMIT + 1].is_there);
    assert_false(answers[LIMIT - 1].is_there);
    PLACE_UNTIL(fixture->place, answers[LIMIT - 1].is_there);
    assert_true(again.is_failed && late.is_failed);
    assert_int_equal(again.failure.code, ERROR_RESOURCE_EXHAUSTED);
    assert_int_equal(late.failure.code, ERROR_RESOURCE_EXHAUSTED);
    for (size_t i = 0; i < LIMIT + 2; i++) {
        assert_true(answers[i].is_there);
        assert_int_equal(answers[i].is_failed, i >= LIMIT);
        evidence_clear(&answers[i].evidence);
    }
    assert_int_equal(answers[LIMIT].failure.code, ERROR_RESOURCE_EXHAUSTED);
    /* There is room again. */
    ask(fixture, (struct node_evidence_request){.asker = 4711}, &again);
    PLACE_UNTIL(fixture->place, again.is_there);
    assert_false(again.is_failed);
    evidence_clear(&again.evidence);
    free(answers);
}

static void evidence_is_dropped_before_the_tpm_begins(void **state)
{
    struct fixture *fixture = *state;
    struct answer answers[3];
    open_node(fixture);
    for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
        ask(fixture, (struct node_evidence_request){.asker = 1}, &answers[i]);
    }
    node_evidence_drop(fixture->node, &answers[0]); /* in hand: it goes on */
    node_evidence_drop(fixture->node, &answers[1]);
    node_evidence_drop(fixture->node, &fixture); /* nobody's */
    assert_false(answers[1].is_there);
    PLACE_UNTIL(fixture->place, answers[2].is_there);
    for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
        assert_true(answers[i].is_there);
        assert_int_equal(answers[i].is_failed, i == 1);
        evidence_clear(&answers[i].evidence);
    }
    assert_int_equal(answers[1].failure.code, ERROR_CANCELLED);
}

static void attestation_goes_first(void **state)
{
    struct fixture *fixture = *state;
    struct answer answers[32];
    size_t answered_before = 0;
    open_node(fixture);
    for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
        ask(fixture, (struct node_evidence_request){0}, &answers[i]);
    }
    attest(fixture);
    for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
        answered_before += answers[i].is_there;
    }
    assert_true(answered_before <= 2);
    PLACE_UNTIL(fixture->place, answers[ARRAY_SIZE(answers) - 1].is_there);
    for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
        evidence_clear(&answers[i].evidence);
    }
}

/* Who waits is told, and nothing is left behind. */
static void a_stop_ends_what_waits(void **state)
{
    struct fixture *fixture = *state;
    struct answer answers[5];
    bool is_done = false;
    open_node(fixture);
    for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
        ask(fixture, (struct node_evidence_request){0}, &answers[i]);
    }
    node_attest(fixture->node, attested, &is_done);
    close_node(fixture);
    assert_true(is_done);
    for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
        assert_true(answers[i].is_there);
        assert_true(i == 0 || answers[i].is_failed);
        assert_true(!answers[i].is_failed || answers[i].failure.code == ERROR_CANCELLED);
        evidence_clear(&answers[i].evidence);
    }
}

/* Baselines. */

struct change {
    bool is_there, is_failed, is_kept;
    struct error failure;
};

static void change_done(void *user, const struct baseline *baseline, const struct error *failure)
{
    struct change *change = user;
    change->is_there = true;
    change->is_failed = failure != NULL;
    change->is_kept = baseline != NULL;
    if (failure) {
        change->failure = *failure;
    } else {
        assert_non_null(baseline);
    }
}

static struct change record(struct fixture *fixture, const char *name)
{
    struct change change = {0};
    node_baseline_record(fixture->node, name, NULL, change_done, &change);
    PLACE_UNTIL(fixture->place, change.is_there);
    node_state(fixture->node, &fixture->state);
    return change;
}

static void what_is_there_can_be_recorded(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    open_node(fixture);
    place_extend(fixture->place, ONE);
    attest(fixture);
    assert_reason(fixture, VERDICT_PCR_CHANGED);
    assert_false(record(fixture, "update").is_failed);
    assert_attested(fixture); /* with it, before it was answered */
    assert_string_equal(fixture->state.verdict->baseline, "update");
    struct change change = record(fixture, "update");
    assert_true(change.is_failed);
    assert_int_equal(change.failure.code, ERROR_ALREADY_EXISTS);
    assert_int_equal(record(fixture, "no name").failure.code, ERROR_INVALID_ARGUMENT);

    close_node(fixture);
    open_node(fixture); /* kept */
    assert_attested(fixture);
    assert_int_equal(node_baseline_remove(fixture->node, "zeros", &err), -1);
    assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
    assert_int_equal(node_baseline_remove(fixture->node, "nobody", &err), -1);
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    assert_int_equal(node_baseline_remove(fixture->node, "update", &err), 0);
    attest(fixture);
    assert_reason(fixture, VERDICT_PCR_CHANGED);
}

/* A register of which nothing was recorded would have any value. */
static void a_baseline_is_of_what_is_selected(void **state)
{
    static const char *const others[] = {"sha256:0,7,9", "sha256:0", "sha256:0,7+sha384:7",
                                         "sha384:0,7"};
    struct fixture *fixture = *state;
    const struct pcr_selection selection = fixture->settings.selection;
    struct error err;
    open_node(fixture);
    place_extend(fixture->place, ONE);
    assert_false(record(fixture, "update").is_failed);
    assert_attested(fixture);
    baselines_clear(&fixture->settings.baselines);
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        assert_int_equal(pcr_selection_parse(others[i], &fixture->settings.selection, &err), 0);
        node_set_settings(fixture->node, &fixture->settings);
        attest(fixture);
        assert_reason(fixture, VERDICT_NO_BASELINE);
        close_node(fixture);
        open_node(fixture);
        assert_reason(fixture, VERDICT_NO_BASELINE);
        /* It is kept: its name is taken, and it can be removed. */
        assert_non_null(baselines_find(fixture->state.baselines, "update"));
        assert_int_equal(record(fixture, "update").failure.code, ERROR_ALREADY_EXISTS);
    }
    fixture->settings.selection = selection;
    node_set_settings(fixture->node, &fixture->settings);
    attest(fixture);
    assert_attested(fixture);
    assert_string_equal(fixture->state.verdict->baseline, "update");

    /* Nor does one count that is of a bank more. */
    assert_int_equal(pcr_selection_parse("sha256:0,7+sha384:7", &fixture->settings.selection, &err),
                     0);
    node_set_settings(fixture->node, &fixture->settings);
    assert_false(record(fixture, "both").is_failed);
    assert_attested(fixture);
    assert_int_equal(node_baseline_remove(fixture->node, "update", &err), 0);
    fixture->settings.selection = selection;
    node_set_settings(fixture->node, &fixture->settings);
    attest(fixture);
    assert_reason(fixture, VERDICT_NO_BASELINE);
}

static void announce(struct fixture *fixture, const struct baseline *baseline,
                     struct change *change)
{
    *change = (struct change){0};
    node_baseline_announce(fixture->node, baseline, change_done, change);
    PLACE_UNTIL(fixture->place, change->is_there);
    node_state(fixture->node, &fixture->state);
}

/* It is on the disk, and yet nobody is told that it counts. */
static void a_stop_is_no_change_that_took_effect(void **state)
{
    struct fixture *fixture = *state;
    struct answer answer;
    struct answer refused;
    struct change change = {0};
    open_node(fixture);
    const struct baseline update = {
        .name = "update", .open_mask = 1U << 7, .ends_at_s = clock_now_s() + 600};
    ask(fixture, (struct node_evidence_request){0}, &answer); /* the TPM is at it */
    ask(fixture, (struct node_evidence_request){.nonce = {nonce, 1}}, &refused);
    node_baseline_announce(fixture->node, &update, change_done, &change);
    close_node(fixture);
    assert_true(answer.is_there && refused.is_there && change.is_there);
    assert_true(change.is_failed && change.is_kept);
    assert_int_equal(change.failure.code, ERROR_CANCELLED);
    evidence_clear(&answer.evidence);
    open_node(fixture);
    assert_non_null(baselines_find(fixture->state.baselines, "update"));
}

static void an_update_can_be_announced(void **state)
{
    struct fixture *fixture = *state;
    struct change change;
    open_node(fixture);
    const struct baseline update = {
        .name = "update", .open_mask = 1U << 7, .ends_at_s = clock_now_s() + 600};
    announce(fixture, &update, &change);
    assert_false(change.is_failed);
    place_extend(fixture->place, ONE);
    attest(fixture);
    assert_reason(fixture, VERDICT_PCR_CHANGED); /* not in this boot */

    close_node(fixture);
    swtpm_reboot(&fixture->place->swtpm);
    const char *const startup[] = {"tpm2_startup", "-c", NULL};
    place_tool(fixture->place, startup);
    place_extend(fixture->place, ONE);
    open_node(fixture);
    assert_attested(fixture);
    assert_string_equal(fixture->state.verdict->baseline, "update");
    const struct baseline *seen = baselines_find(fixture->state.baselines, "update");
    assert_int_equal(seen->open_mask, 0);
    assert_int_equal(seen->ends_at_s, 0);
    assert_non_null(pcr_set_value(&seen->pcrs, TPM2_ALG_SHA256, 7));
    place_extend(fixture->place, ONE);
    attest(fixture);
    assert_reason(fixture, VERDICT_PCR_CHANGED); /* once */
}

static void remove_file(const struct fixture *fixture, const char *name)
{
    _cleanup_(free_cleanup) char *path = file_join(fixture->place->data_dir, name);
    assert_int_equal(unlink(path), 0);
}

/* Its count of boots is another one, by which this boot looks like the next. */
static void an_announcement_ends_with_the_attestation_key(void **state)
{
    static const bool is_forgotten[] = {false, true}; /* the key of before */
    struct fixture *fixture = *state;
    struct change change;
    fixture->settings.counter_index = 0;
    open_node(fixture);
    for (size_t i = 0; i < ARRAY_SIZE(is_forgotten); i++) {
        announce(fixture, &(struct baseline){.name = "update", .open_mask = 1U << 7}, &change);
        assert_false(change.is_failed);
        close_node(fixture);
        remove_file(fixture, "attestation-key");
        if (is_forgotten[i]) {
            remove_file(fixture, "node.json");
        }
        open_node(fixture);
        assert_attested(fixture);
        assert_string_equal(fixture->state.verdict->baseline, "zeros");
        assert_null(baselines_find(fixture->state.baselines, "update"));
        close_node(fixture);
        open_node(fixture);
        assert_null(baselines_find(fixture->state.baselines, "update"));
    }
    place_extend(fixture->place, ONE);
    attest(fixture);
    assert_reason(fixture, VERDICT_PCR_CHANGED);
}

static void an_announcement_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct change change;
    struct error err;
    struct baseline both = {.name = "both", .open_mask = 1U << 7};
    struct baseline other = {.name = "other"};
    assert_int_equal(pcr_set_put_text(&both.pcrs, "sha256:7=" ZEROS, &err), 0);
    assert_int_equal(pcr_set_put_text(&other.pcrs, "sha256:4=" ZEROS, &err), 0);
    const struct {
        struct baseline baseline;
        enum error_code code;
    } cases[] = {
        {{.name = "nothing"}, ERROR_INVALID_ARGUMENT},
        {{.name = "outside", .open_mask = 1U << 9}, ERROR_INVALID_ARGUMENT},
        {{.name = "zeros", .open_mask = 1U << 7}, ERROR_ALREADY_EXISTS},
        {both, ERROR_INVALID_ARGUMENT},
        {other, ERROR_INVALID_ARGUMENT},
    };
    open_node(fixture);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        announce(fixture, &cases[i].baseline, &change);
        assert_true(change.is_failed);
        if (change.failure.code != cases[i].code) {
            fail_msg("%s: %s", cases[i].baseline.name, change.failure.text);
        }
    }
    place_extend(fixture->place, ONE);
    attest(fixture);
    announce(fixture, &(struct baseline){.name = "x", .open_mask = 1U << 7}, &change);
    assert_int_equal(change.failure.code, ERROR_FAILED_PRECONDITION);
}

/* Which TPM it is, and that its AK is in it. */
static void registers_are_no_must(void **state)
{
    struct fixture *fixture = *state;
    struct answer answer;
    baselines_clear(&fixture->settings.baselines);
    fixture->settings.selection = (struct pcr_selection){0};
    open_node(fixture);
    assert_attested(fixture);
    place_extend(fixture->place, ONE);
    attest(fixture);
    assert_attested(fixture);
    assert_string_equal(fixture->state.verdict->baseline, "");
    /* Evidence for others has the usual ones. */
    ask(fixture, (struct node_evidence_request){0}, &answer);
    PLACE_UNTIL(fixture->place, answer.is_there);
    assert_false(answer.is_failed);
    assert_non_null(pcr_set_value(&answer.evidence.pcrs, TPM2_ALG_SHA256, 7));
    evidence_clear(&answer.evidence);
    assert_int_equal(record(fixture, "any").failure.code, ERROR_FAILED_PRECONDITION);
}

/* Trouble. */

static void damaged_files_are_errors(void **state)
{
    static const char *const names[] = {"node.json", "baselines.json"};
    struct fixture *fixture = *state;
    struct error err;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        _cleanup_(free_cleanup) char *path = file_join(fixture->place->data_dir, names[i]);
        assert_int_equal(file_write_atomic(path, bytes_of_text("{"), 0600, &err), 0);
        assert_int_equal(try_open(fixture, &err), -1);
        assert_non_null(strstr(err.text, names[i]));
        assert_int_equal(unlink(path), 0);
    }
}

static void a_tpm_that_goes_away_and_comes_back(void **state)
{
    struct fixture *fixture = *state;
    open_node(fixture);
    swtpm_kill(&fixture->place->swtpm, SIGKILL);
    attest(fixture);
    assert_reason(fixture, VERDICT_TPM_UNREACHABLE);
    swtpm_start(&fixture->place->swtpm);
    struct error err;
    for (int i = 0; i < 100 && keystore_probe(fixture->place->keystore, &err) < 0; i++) {
        (void)poll(NULL, 0, 50); /* the keystore looks by itself */
    }
    attest(fixture);
    assert_attested(fixture);
}

/* The verdict of before does not live on with it. */
static void a_tpm_hangs(void **state)
{
    struct fixture *fixture = *state;
    bool is_done = false;
    open_node(fixture);
    fixture->node->overdue_ms = 200;
    uv_update_time(&fixture->place->loop); /* from now on, not from before node_new */
    assert_int_equal(kill(fixture->place->swtpm.pid, SIGSTOP), 0);
    node_attest(fixture->node, attested, &is_done);
    PLACE_UNTIL(fixture->place, fixture->changes == 1);
    assert_reason(fixture, VERDICT_TPM_UNREACHABLE);
    assert_true(fixture->state.is_use_denied);
    assert_true(fixture->state.next_at_s <= clock_now_s());
    for (unsigned i = 0; i < CLAIM_COUNT; i++) {
        assert_int_not_equal(fixture->state.verdict->claims[i].result, CLAIM_PROVEN);
    }
    assert_int_equal(fixture->state.verdict->claims[CLAIM_QUOTE].reason, VERDICT_TPM_UNREACHABLE);
    assert_false(is_done);
    assert_int_equal(kill(fixture->place->swtpm.pid, SIGCONT), 0);
    PLACE_UNTIL(fixture->place, is_done);
    node_state(fixture->node, &fixture->state);
    assert_attested(fixture);
    assert_int_equal(fixture->changes, 2);
}

static void an_ak_is_lost(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    _cleanup_(free_cleanup) char *path = file_join(fixture->place->data_dir, "attestation-key");
    open_node(fixture);
    assert_attested(fixture);
    close_node(fixture);
    assert_int_equal(file_write_atomic(path, bytes_of_text("no key"), 0600, &err), 0);
    open_node(fixture);
    assert_reason(fixture, VERDICT_AK_LOST);
    assert_non_null(strstr(fixture->state.reason_text, "attestation-key"));
    assert_int_equal(unlink(path), 0);
    attest(fixture);
    assert_attested(fixture);
}

static void a_tpm_is_cleared(void **state)
{
    const char *const clear[] = {"tpm2_clear", "-c", "p", NULL};
    struct fixture *fixture = *state;
    open_node(fixture);
    place_tool(fixture->place, clear);
    attest(fixture);
    assert_reason(fixture, VERDICT_TPM_CLEARED);
    attest(fixture); /* and it stays so */
    assert_reason(fixture, VERDICT_TPM_CLEARED);
}

static void a_tpm_is_replaced(void **state)
{
    struct fixture *fixture = *state;
    char path[160];
    open_node(fixture);
    swtpm_kill(&fixture->place->swtpm, SIGKILL);
    (void)snprintf(path, sizeof(path), "%s/tpm2-00.permall", fixture->place->swtpm.folder);
    assert_int_equal(unlink(path), 0);
    swtpm_start(&fixture->place->swtpm);
    attest(fixture);
    assert_reason(fixture, VERDICT_TPM_REPLACED);
}

static void resets_can_be_denied(void **state)
{
    const char *const startup[] = {"tpm2_startup", "-c", NULL};
    struct fixture *fixture = *state;
    fixture->settings.resets = RESET_DENY;
    open_node(fixture);
    assert_attested(fixture);
    swtpm_reboot(&fixture->place->swtpm);
    place_tool(fixture->place, startup);
    attest(fixture);
    assert_reason(fixture, VERDICT_TPM_RESET);
    fixture->settings.resets = RESET_ALLOW;
    node_set_settings(fixture->node, &fixture->settings);
    attest(fixture);
    assert_attested(fixture);
}

#define NODE_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        NODE_TEST(a_node_is_attested_before_it_is_there),
        NODE_TEST(on_failure),
        NODE_TEST(a_selection_needs_a_baseline),
        NODE_TEST(registers_are_no_must),
        NODE_TEST(whom_to_believe_can_be_said),
        NODE_TEST(many_at_once_are_one_after_the_other),
        NODE_TEST(what_is_superseded_is_not_told),
        NODE_TEST(evidence),
        NODE_TEST(evidence_answers_a_challenge),
        NODE_TEST(evidence_is_refused),
        NODE_TEST(evidence_is_bounded),
        NODE_TEST(evidence_is_dropped_before_the_tpm_begins),
        NODE_TEST(attestation_goes_first),
        NODE_TEST(a_stop_ends_what_waits),
        NODE_TEST(what_is_there_can_be_recorded),
        NODE_TEST(a_stop_is_no_change_that_took_effect),
        NODE_TEST(an_update_can_be_announced),
        NODE_TEST(a_baseline_is_of_what_is_selected),
        NODE_TEST(an_announcement_ends_with_the_attestation_key),
        NODE_TEST(an_announcement_is_refused),
        NODE_TEST(damaged_files_are_errors),
        NODE_TEST(a_tpm_that_goes_away_and_comes_back),
        NODE_TEST(a_tpm_hangs),
        NODE_TEST(an_ak_is_lost),
        NODE_TEST(a_tpm_is_cleared),
        NODE_TEST(a_tpm_is_replaced),
        NODE_TEST(resets_can_be_denied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
