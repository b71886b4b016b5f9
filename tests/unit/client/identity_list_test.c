#include "client/identity_list.h"

#include "tests/unit/cmocka_all.h"

#include "lib/base/macro.h"

enum { DAY_S = 86400, NOW_S = 1000 * DAY_S + 1000 };

static void unused(void **state)
{
    (void)state;
    static const struct {
        int64_t known, used, fetched;
        bool has_entry, is_unused;
    } cases[] = {
        {NOW_S - 10, 0, 0, true, false},
        {NOW_S - 100, 0, 0, true, true},
        {NOW_S - 101, 0, 0, true, true},
        {NOW_S - 99, 0, 0, true, false},
        {NOW_S - 101, 0, 0, false, false},
        {NOW_S - 900, NOW_S - 50, 0, true, false},
        {NOW_S - 900, 0, NOW_S - 50, true, false},
        {NOW_S - 900, NOW_S - 200, NOW_S - 100, true, true},
        {NOW_S - 900, NOW_S + 200, 0, true, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        Admin__Identity identity = ADMIN__IDENTITY__INIT;
        identity.known_since = cases[i].known;
        identity.last_used = cases[i].used;
        identity.last_fetched = cases[i].fetched;
        identity.has_entry = cases[i].has_entry;
        if (identity_is_unused(&identity, 100, NOW_S) != cases[i].is_unused) {
            fail_msg("case %zu", i);
        }
    }
}

static void uses_a_day(void **state)
{
    (void)state;
    uint64_t days[] = {70, 7, 0, 0, 0, 0, 0, 1000000};
    static const struct {
        int64_t known;
        size_t days;
        uint64_t tenths;
    } cases[] = {
        {0, 8, 110},
        {NOW_S - 7 * DAY_S, 8, 110},
        {NOW_S, 8, 700},
        {NOW_S - DAY_S, 8, 385},
        {NOW_S + DAY_S, 8, 700},
        {0, 0, 0},
        {0, 1, 100},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        Admin__Identity identity = ADMIN__IDENTITY__INIT;
        identity.known_since = cases[i].known;
        identity.used_days = days;
        identity.n_used_days = cases[i].days;
        assert_int_equal(identity_uses_a_day_tenths(&identity, NOW_S), cases[i].tenths);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unused),
        cmocka_unit_test(uses_a_day),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
