#include "tests/unit/svid/fixture.h"

struct taker {
    unsigned calls;
    size_t count;
    char tokens[4][256];
    char hints[4][32];
    struct error failure;
    struct fixture *asks_again; /* from within the callback */
    const char *wanted_id;      /* NULL: all */
    uint32_t ttl_limit_s;
};

static void take(void *user, const struct jwt_svid *svids, size_t count,
                 const struct error *failure);

static bool choose(void *user, const struct entry *entry, uint32_t *ret_ttl_limit_s)
{
    const struct taker *taker = user;
    *ret_ttl_limit_s = taker->ttl_limit_s;
    return !taker->wanted_id || strcmp(entry->spiffe_id, taker->wanted_id) == 0;
}

static void ask(struct fixture *fixture, struct taker *taker, const char *selectors,
                const char *audience, const char *spiffe_id)
{
    struct entry *caller = fixture_entry(fixture, "caller", "caller", selectors);
    struct entry *wanted = fixture_entry(fixture, "caller", "caller", audience);
    taker->wanted_id = spiffe_id;
    manager_jwt_fetch(fixture->manager, &caller->selectors, &wanted->selectors, choose, take,
                      taker);
    entry_unref(wanted);
    entry_unref(caller);
}

static void take(void *user, const struct jwt_svid *svids, size_t count,
                 const struct error *failure)
{
    struct taker *taker = user;
    taker->calls++;
    taker->count = count;
    taker->failure = failure ? *failure : (struct error){0};
    assert_true((count == 0) == (failure != NULL));
    for (size_t i = 0; i < MIN(count, ARRAY_SIZE(taker->tokens)); i++) {
        (void)snprintf(taker->tokens[i], sizeof(taker->tokens[i]), "%s", svids[i].token);
        (void)snprintf(taker->hints[i], sizeof(taker->hints[i]), "%s", svids[i].hint);
        assert_true(svids[i].expires_at_s > fixture_now_s());
    }
    if (taker->asks_again) {
        struct fixture *fixture = take_ptr(taker->asks_again);
        ask(fixture, taker, "unix:uid:1", "again", NULL);
    }
}

static void issues_once_and_keeps_until_half_of_life(void **state)
{
    struct fixture *fixture = *state;
    struct taker first = {0};
    struct taker second = {0};
    fixture_add(fixture, "1", "a", "unix:uid:1");
    ask(fixture, &first, "unix:uid:1", "y x", NULL);
    ask(fixture, &second, "unix:uid:1", "x y x", NULL); /* the same at once */
    FIXTURE_WAIT(fixture, first.calls == 1 && second.calls == 1);
    assert_int_equal(fixture->issuer.jwt_issued, 1);
    assert_string_equal(first.tokens[0], "token 1 of spiffe://example.org/a for x");
    assert_string_equal(second.tokens[0], first.tokens[0]);

    fixture_pass(fixture, 119000); /* 40 % of 300 s is the earliest */
    ask(fixture, &second, "unix:uid:1", "x y", NULL);
    assert_int_equal(second.calls, 2); /* at once */
    assert_int_equal(fixture->issuer.jwt_issued, 1);
    fixture_pass(fixture, 62000); /* 60 % the latest */
    ask(fixture, &second, "unix:uid:1", "x y", NULL);
    FIXTURE_WAIT(fixture, second.calls == 3);
    assert_int_equal(fixture->issuer.jwt_issued, 2);

    /* Another audience is another token. */
    ask(fixture, &second, "unix:uid:1", "x", NULL);
    FIXTURE_WAIT(fixture, second.calls == 4);
    assert_int_equal(fixture->issuer.jwt_issued, 3);
    assert_int_equal(jwt_cache_count(fixture->manager->jwts), 2);
}

static void gives_all_identities_or_the_one_asked_for(void **state)
{
    static const struct {
        const char *selectors, *spiffe_id;
        size_t count;
        enum error_code code;
    } table[] = {
        {"unix:uid:1", NULL, 2, ERROR_OK},
        {"unix:uid:1", "spiffe://example.org/b", 1, ERROR_OK},
        {"unix:uid:1", "spiffe://example.org/c", 0, ERROR_PERMISSION_DENIED},
        {"unix:uid:2", "spiffe://example.org/c", 1, ERROR_OK},
        {"unix:uid:3", NULL, 0, ERROR_PERMISSION_DENIED},
    };
    struct fixture *fixture = *state;
    struct entry *entry = fixture_entry(fixture, "2", "b", "unix:uid:1");
    free(entry->hint);
    entry->hint = memory_copy_text("hint of b");
    fixture_set(fixture, entry);
    fixture_add(fixture, "1", "a", "unix:uid:1");
    fixture_add(fixture, "3", "c", "unix:uid:2");
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        struct taker taker = {0};
        ask(fixture, &taker, table[i].selectors, "x", table[i].spiffe_id);
        FIXTURE_WAIT(fixture, taker.calls == 1);
        assert_int_equal(taker.count, table[i].count);
        assert_int_equal(taker.failure.code, table[i].code);
        if (table[i].count == 2) {
            assert_non_null(strstr(taker.tokens[0], "/a "));
            assert_non_null(strstr(taker.tokens[1], "/b "));
            assert_string_equal(taker.hints[1], "hint of b");
        }
    }
}

static void refuses_what_no_audience_is(void **state)
{
    struct fixture *fixture = *state;
    char huge[2100];
    memset(huge, 'x', sizeof(huge));
    huge[sizeof(huge) - 1] = '\0';
    struct buffer many = {0};
    for (int i = 0; i < 65; i++) {
        char *one = text_format("audience%d ", i);
        buffer_append_text(&many, one);
        free(one);
    }
    buffer_append_u8(&many, 0);
    const char *const bad[] = {"", huge, (const char *)many.data};
    fixture_add(fixture, "1", "a", "unix:uid:1");
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct taker taker = {0};
        ask(fixture, &taker, "unix:uid:1", bad[i], NULL);
        assert_int_equal(taker.calls, 1);
        assert_int_equal(taker.failure.code, ERROR_INVALID_ARGUMENT);
    }
    buffer_clear(&many);
}

static void a_failure_leaves_the_old_one_while_it_lives(void **state)
{
    struct fixture *fixture = *state;
    struct taker taker = {0};
    fixture_add(fixture, "1", "a", "unix:uid:1");
    ask(fixture, &taker, "unix:uid:1", "x", NULL);
    FIXTURE_WAIT(fixture, taker.calls == 1);
    fixture->issuer.failure = "the CA is away";
    fixture_pass(fixture, 200000);
    ask(fixture, &taker, "unix:uid:1", "x", NULL);
    FIXTURE_WAIT(fixture, taker.calls == 2);
    assert_int_equal(taker.count, 1);
    assert_string_equal(taker.tokens[0], "token 1 of spiffe://example.org/a for x");
    /* The issuer is left in peace for a moment. */
    ask(fixture, &taker, "unix:uid:1", "x", NULL);
    assert_int_equal(taker.calls, 3);
    assert_int_equal(taker.count, 1);
    fixture_pass(fixture, 100000);
    ask(fixture, &taker, "unix:uid:1", "x", NULL);
    FIXTURE_WAIT(fixture, taker.calls == 4);
    assert_int_equal(taker.failure.code, ERROR_UNAVAILABLE);
    assert_non_null(strstr(taker.failure.text, "the CA is away"));
    ask(fixture, &taker, "unix:uid:1", "x", NULL);
    assert_int_equal(taker.calls, 5); /* not asked again so soon */
    assert_int_equal(taker.failure.code, ERROR_UNAVAILABLE);
    fixture->issuer.failure = NULL;
    fixture_pass(fixture, 1001);
    ask(fixture, &taker, "unix:uid:1", "x", NULL);
    FIXTURE_WAIT(fixture, taker.calls == 6);
    assert_int_equal(taker.count, 1);
}

static void a_clock_set_back_or_forward_brings_a_new_one(void **state)
{
    static const int64_t jumps_ms[] = {-86400000, 86400000};
    struct fixture *fixture = *state;
    struct taker taker = {0};
    fixture_add(fixture, "1", "a", "unix:uid:1");
    ask(fixture, &taker, "unix:uid:1", "x", NULL);
    FIXTURE_WAIT(fixture, taker.calls == 1);
    for (unsigned i = 0; i < ARRAY_SIZE(jumps_ms); i++) {
        fixture_wall_ms += jumps_ms[i];
        ask(fixture, &taker, "unix:uid:1", "x", NULL);
        FIXTURE_WAIT(fixture, taker.calls == i + 2);
        assert_int_equal(fixture->issuer.jwt_issued, i + 2);
    }
}

static void withdrawn_ones_are_refused_and_forgotten(void **state)
{
    struct fixture *fixture = *state;
    struct taker waiting = {0};
    struct taker cached = {0};
    fixture_add(fixture, "1", "a", "unix:uid:1");
    ask(fixture, &cached, "unix:uid:1", "x", NULL);
    FIXTURE_WAIT(fixture, cached.calls == 1);
    fixture->issuer.is_held = true;
    ask(fixture, &waiting, "unix:uid:1", "y", NULL);
    fixture_turn(fixture);
    assert_int_equal(waiting.calls, 0);
    fixture_remove(fixture, "1");
    assert_int_equal(waiting.calls, 1);
    assert_int_equal(waiting.failure.code, ERROR_PERMISSION_DENIED);
    ask(fixture, &cached, "unix:uid:1", "x", NULL);
    assert_int_equal(cached.failure.code, ERROR_PERMISSION_DENIED);
    assert_int_equal(jwt_cache_count(fixture->manager->jwts), 0);
    /* The entry of this name that comes next has no part in it. */
    fixture_add(fixture, "1", "b", "unix:uid:1");
    fixture->issuer.is_held = false;
    fake_wake(&fixture->issuer);
    ask(fixture, &cached, "unix:uid:1", "y", NULL);
    FIXTURE_WAIT(fixture, cached.calls == 3);
    assert_non_null(strstr(cached.tokens[0], "example.org/b"));
    /* Rules that deny. */
    manager_set_rules(
        fixture->manager,
        fixture_rule("spiffe://example.org/x", KEY_PROTECTION_GUARDED, KEY_TYPE_EC_P256, NULL));
    assert_int_equal(jwt_cache_count(fixture->manager->jwts), 0);
    ask(fixture, &cached, "unix:uid:1", "y", NULL);
    assert_int_equal(cached.failure.code, ERROR_PERMISSION_DENIED);
}

static void a_changed_life_or_id_asks_for_another_token(void **state)
{
    struct fixture *fixture = *state;
    struct taker taker = {0};
    fixture_add(fixture, "1", "a", "unix:uid:1");
    ask(fixture, &taker, "unix:uid:1", "x", NULL);
    FIXTURE_WAIT(fixture, taker.calls == 1);
    struct entry *entry = fixture_entry(fixture, "1", "a", "unix:uid:1");
    entry->jwt_svid_ttl_s = 60;
    fixture_set(fixture, entry);
    ask(fixture, &taker, "unix:uid:1", "x", NULL);
    FIXTURE_WAIT(fixture, taker.calls == 2);
    assert_int_equal(fixture->issuer.jwt_issued, 2);
    fixture_add(fixture, "1", "b", "unix:uid:1");
    ask(fixture, &taker, "unix:uid:1", "x", NULL);
    FIXTURE_WAIT(fixture, taker.calls == 3);
    assert_string_equal(taker.tokens[0], "token 3 of spiffe://example.org/b for x");
}

static void a_callback_may_ask_again(void **state)
{
    struct fixture *fixture = *state;
    struct taker takers[5] = {0};
    fixture_add(fixture, "1", "a", "unix:uid:1");
    for (size_t i = 0; i < ARRAY_SIZE(takers); i++) {
        takers[i].asks_again = fixture;
        ask(fixture, &takers[i], "unix:uid:1", "x", NULL);
    }
    for (size_t i = 0; i < ARRAY_SIZE(takers); i++) {
        FIXTURE_WAIT(fixture, takers[i].calls == 2);
        assert_non_null(strstr(takers[i].tokens[0], "again"));
    }
    assert_int_equal(fixture->issuer.jwt_issued, 2);
}

static void ask_number(struct fixture *fixture, struct taker *taker, const char *selectors, int i)
{
    char audience[32];
    (void)snprintf(audience, sizeof(audience), "audience%d", i);
    ask(fixture, taker, selectors, audience, NULL);
}

static void the_cache_is_bounded_by_use(void **state)
{
    struct fixture *fixture = *state;
    struct taker taker = {0};
    fixture_add(fixture, "1", "a", "unix:uid:1");
    for (int i = 0; i < JWT_CACHE_MAX + 200; i++) {
        unsigned calls = taker.calls;
        ask_number(fixture, &taker, "unix:uid:1", i);
        FIXTURE_WAIT(fixture, taker.calls == calls + 1);
        ask_number(fixture, &taker, "unix:uid:1", 0); /* always in use */
        FIXTURE_WAIT(fixture, taker.calls == calls + 2);
    }
    assert_int_equal(jwt_cache_count(fixture->manager->jwts), JWT_CACHE_MAX);
    assert_int_equal(fixture->issuer.jwt_issued, JWT_CACHE_MAX + 200);
    ask_number(fixture, &taker, "unix:uid:1", 0);
    assert_int_equal(fixture->issuer.jwt_issued, JWT_CACHE_MAX + 200);
}

/* Answers the newest request alone. */
static void answer_last(struct fake_issuer *fake)
{
    assert_true(fake->jwt_count > 0);
    fake_answer_jwt(fake, fake->jwt[--fake->jwt_count]);
}

static void a_token_that_is_being_told_is_not_thrown_out(void **state)
{
    struct fixture *fixture = *state;
    struct taker first = {.asks_again = fixture};
    struct taker second = {0};
    struct taker others = {0};
    fixture->issuer.is_held = true;
    fixture_add(fixture, "1", "a", "unix:uid:1");
    ask(fixture, &first, "unix:uid:1", "x", NULL);
    ask(fixture, &second, "unix:uid:1", "x", NULL);
    for (int i = 0; i < JWT_CACHE_MAX; i++) { /* until it is the one longest unused */
        ask_number(fixture, &others, "unix:uid:1", i);
        answer_last(&fixture->issuer);
    }
    assert_int_equal(jwt_cache_count(fixture->manager->jwts), JWT_CACHE_MAX);
    /* The first taker asks for one more, which needs a place. */
    answer_last(&fixture->issuer);
    assert_int_equal(first.calls, 1);
    assert_int_equal(second.calls, 1);
    assert_string_equal(second.tokens[0], first.tokens[0]);
    assert_int_equal(fixture->issuer.jwt_count, 1);
    answer_last(&fixture->issuer);
    assert_int_equal(first.calls, 2);
}

static void what_waits_is_bounded_and_one_workload_leaves_room(void **state)
{
    struct fixture *fixture = *state;
    struct taker greedy = {0};
    struct taker modest = {0};
    fixture->issuer.is_held = true;
    fixture_add(fixture, "1", "a", "unix:uid:1");
    fixture_add(fixture, "2", "b", "unix:uid:2");
    for (int i = 0; i < 1000; i++) {
        ask_number(fixture, &greedy, "unix:uid:1", i);
    }
    assert_int_equal(greedy.calls, 1000 - JWT_ISSUING_MAX - JWT_QUEUED_ENTRY_MAX);
    assert_int_equal(greedy.failure.code, ERROR_RESOURCE_EXHAUSTED);
    assert_int_equal(fixture->issuer.jwt_most, JWT_ISSUING_MAX);
    ask(fixture, &modest, "unix:uid:2", "x", NULL);
    assert_int_equal(modest.calls, 0);
    fixture->issuer.is_held = false;
    fake_wake(&fixture->issuer);
    FIXTURE_WAIT(fixture, modest.calls == 1 && greedy.calls == 1000);
    assert_int_equal(modest.count, 1);
    assert_int_equal(fixture->issuer.jwt_most, JWT_ISSUING_MAX);
}

static void a_stop_answers_everybody(void **state)
{
    struct fixture *fixture = *state;
    struct taker taker = {0};
    fixture->issuer.is_held = true;
    fixture_add(fixture, "1", "a", "unix:uid:1");
    for (int i = 0; i < JWT_ISSUING_MAX + 5; i++) {
        ask_number(fixture, &taker, "unix:uid:1", i);
    }
    manager_stop(fixture->manager, fixture_stopped, fixture);
    assert_int_equal(taker.calls, 5);
    assert_int_equal(taker.failure.code, ERROR_CANCELLED);
    assert_false(fixture->is_stopped);
    fixture->issuer.is_held = false;
    fake_wake(&fixture->issuer);
    FIXTURE_WAIT(fixture, fixture->is_stopped);
    assert_int_equal(taker.calls, JWT_ISSUING_MAX + 5);
}

#define FIXTURE_TEST(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(issues_once_and_keeps_until_half_of_life),
        FIXTURE_TEST(gives_all_identities_or_the_one_asked_for),
        FIXTURE_TEST(refuses_what_no_audience_is),
        FIXTURE_TEST(a_failure_leaves_the_old_one_while_it_lives),
        FIXTURE_TEST(a_clock_set_back_or_forward_brings_a_new_one),
        FIXTURE_TEST(withdrawn_ones_are_refused_and_forgotten),
        FIXTURE_TEST(a_changed_life_or_id_asks_for_another_token),
        FIXTURE_TEST(a_callback_may_ask_again),
        FIXTURE_TEST(the_cache_is_bounded_by_use),
        FIXTURE_TEST(a_token_that_is_being_told_is_not_thrown_out),
        FIXTURE_TEST(what_waits_is_bounded_and_one_workload_leaves_room),
        FIXTURE_TEST(a_stop_answers_everybody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
