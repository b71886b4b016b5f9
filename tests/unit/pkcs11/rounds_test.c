#include "tests/unit/cmocka_all.h"

#include "lib/base/macro.h"
#include "pkcs11/rounds.h"

enum { HAMMERING = 20, NEWCOMERS = 500 };

/* Each wants another turn as soon as it had one. */
static void hammer(struct rounds *rounds, struct rounds_turn *turns)
{
    rounds_init(rounds);
    for (size_t i = 0; i < HAMMERING; i++) {
        rounds_add(rounds, &turns[i]);
    }
    /* Until none has anything saved up. */
    for (unsigned i = 0; i < HAMMERING * (ROUNDS_LEAD + 2); i++) {
        rounds_add(rounds, rounds_next(rounds));
    }
}

static void test_all_have_as_many_turns(void **state)
{
    (void)state;
    struct rounds rounds;
    struct rounds_turn turns[HAMMERING] = {0};
    hammer(&rounds, turns);
    unsigned had[HAMMERING] = {0};
    for (unsigned i = 0; i < 3 * HAMMERING; i++) {
        struct rounds_turn *turn = rounds_next(&rounds);
        assert_int_equal(had[turn - turns]++, i / HAMMERING);
        rounds_add(&rounds, turn);
    }
    assert_int_equal(rounds.waiting, HAMMERING);
}

/* Also where those who hammer come back late, so that hardly any of them wait at a time. */
static void test_who_comes_now_and_then_goes_first(void **state)
{
    (void)state;
    for (size_t waiting = 1; waiting <= HAMMERING; waiting++) {
        struct rounds rounds;
        struct rounds_turn turns[HAMMERING] = {0};
        struct rounds_turn seldom = {0};
        hammer(&rounds, turns);
        struct rounds_turn *away[HAMMERING] = {0};
        size_t next_away = 0;
        for (size_t i = 0; i < HAMMERING - waiting; i++) {
            away[i] = rounds_next(&rounds);
        }
        for (size_t visit = 0; visit < 10; visit++) {
            for (unsigned i = 0; i < 3 * HAMMERING; i++) {
                struct rounds_turn *turn = rounds_next(&rounds);
                if (waiting < HAMMERING) {
                    struct rounds_turn *back = away[next_away];
                    away[next_away] = turn;
                    next_away = (next_away + 1) % (HAMMERING - waiting);
                    turn = back;
                }
                rounds_add(&rounds, turn);
            }
            /* Two calls make a signature. */
            for (size_t call = 0; call < 2; call++) {
                rounds_add(&rounds, &seldom);
                assert_ptr_equal(rounds_next(&rounds), &seldom);
            }
        }
    }
}

static void test_what_was_saved_up_is_bounded(void **state)
{
    (void)state;
    struct rounds rounds;
    struct rounds_turn turns[HAMMERING] = {0};
    struct rounds_turn seldom = {0};
    hammer(&rounds, turns);
    size_t first = 0;
    rounds_add(&rounds, &seldom);
    while (rounds_next(&rounds) == &seldom) {
        first++;
        rounds_add(&rounds, &seldom);
    }
    assert_in_range(first, ROUNDS_LEAD - 1, ROUNDS_LEAD + 1);
    /* From then on it is one of them: the others have a turn each before its next. */
    rounds_add(&rounds, &turns[0]);
    while (rounds_next(&rounds) != &seldom) {
    }
    rounds_add(&rounds, &seldom);
    size_t others = rounds.waiting - 1;
    size_t before = 0;
    while (rounds_next(&rounds) != &seldom) {
        before++;
    }
    assert_int_equal(before, others);
}

/* Newcomers have all their turns saved up, and there are more of them all the time. */
static void test_newcomers_starve_nobody(void **state)
{
    (void)state;
    for (uint64_t age = 0; age < ROUNDS_LEAD + 2; age++) {
        struct rounds rounds;
        struct rounds_turn newcomers[NEWCOMERS] = {0};
        struct rounds_turn last = {0};
        struct rounds_turn steady = {0};
        rounds_init(&rounds);
        last.round = rounds.now + 1;
        steady.round = rounds.now - ROUNDS_LEAD + age;
        rounds_add(&rounds, &last);
        rounds_add(&rounds, &newcomers[0]);
        rounds_add(&rounds, &steady);
        size_t before = 0;
        for (size_t i = 1; rounds_next(&rounds) != &steady; i++, before++) {
            assert_in_range(i, 1, NEWCOMERS - 1);
            rounds_add(&rounds, &newcomers[i]);
        }
        assert_in_range(before, 0, (ROUNDS_RUN + 1) * (ROUNDS_LEAD + 2));
    }
}

static void test_one_that_goes_away_has_no_turn(void **state)
{
    (void)state;
    struct rounds rounds;
    struct rounds_turn turns[3] = {0};
    rounds_init(&rounds);
    assert_null(rounds_next(&rounds));
    for (size_t i = 0; i < ARRAY_SIZE(turns); i++) {
        rounds_add(&rounds, &turns[i]);
        rounds_add(&rounds, &turns[i]);
    }
    rounds_remove(&rounds, &turns[1]);
    rounds_remove(&rounds, &turns[1]);
    assert_int_equal(rounds.waiting, 2);
    assert_ptr_equal(rounds_next(&rounds), &turns[0]);
    assert_ptr_equal(rounds_next(&rounds), &turns[2]);
    assert_null(rounds_next(&rounds));
    assert_int_equal(rounds.waiting, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_have_as_many_turns),
        cmocka_unit_test(test_who_comes_now_and_then_goes_first),
        cmocka_unit_test(test_what_was_saved_up_is_bounded),
        cmocka_unit_test(test_newcomers_starve_nobody),
        cmocka_unit_test(test_one_that_goes_away_has_no_turn),
    };
    return cmocka_run_group_tests_name("rounds", tests, NULL, NULL);
}
