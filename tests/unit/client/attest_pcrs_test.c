#include "client/attest_pcrs.h"

#include <string.h>

#include "lib/base/memory.h"
#include "tests/unit/cmocka_all.h"

#define VALUE "0000000000000000000000000000000000000000000000000000000000000001"
#define OTHER "0000000000000000000000000000000000000000000000000000000000000002"

static void open_registers_are_a_mask(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t mask; /* 0: refused */
    } cases[] = {
        {"4", 0x10}, {"4,8,9", 0x310}, {"0,23", 0x800001}, {"4,4", 0x10}, {"", 0},    {"24", 0},
        {"4,24", 0}, {"-1", 0},        {"4,", 0},          {",4", 0},     {"4-9", 0}, {"x", 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        uint32_t mask = 0;
        struct error error = {0};
        assert_int_equal(attest_pcrs_set_open(&mask, cases[i].text, &error),
                         cases[i].mask ? 0 : -1);
        assert_int_equal(mask, cases[i].mask);
        if (!cases[i].mask) {
            assert_int_equal(error_exit_code(error.code), 2);
        }
    }
}

static void values_and_selections_are_checked_before_the_agent_is_asked(void **state)
{
    (void)state;
    static const struct {
        const char *value, *selection;
        uint32_t open_mask;
        const char *problem; /* NULL: fine */
    } cases[] = {
        {"sha256:4=" VALUE, NULL, 0, NULL},
        {"sha256:4=" VALUE, "sha256:0,7", 0x300, NULL},
        {"sha256:4=" VALUE, NULL, 0x10, "--open"},
        {"sha256:4=00", NULL, 0, "--pcr"},
        {"sha256:24=" VALUE, NULL, 0, "--pcr"},
        {"md5:4=" VALUE, NULL, 0, "--pcr"},
        {"4=" VALUE, NULL, 0, "--pcr"},
        {"sha256:4=" VALUE, "sha256", 0, "--pcrs"},
        {"sha256:4=" VALUE, "sha256:0,99", 0, "--pcrs"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(text_list_clear) struct text_list values = {0};
        struct error error = {0};
        text_list_add(&values, cases[i].value);
        int result = attest_pcrs_check(&values, cases[i].selection, cases[i].open_mask, &error);
        assert_int_equal(result, cases[i].problem ? -1 : 0);
        if (cases[i].problem) {
            assert_int_equal(error_exit_code(error.code), 2);
            assert_non_null(strstr(error.text, cases[i].problem));
        }
    }
}

static void values_become_messages_in_order(void **state)
{
    (void)state;
    _cleanup_(attest_pcrs_clear) struct attest_pcrs pcrs = {0};
    struct arguments arguments = {0};
    struct error error = {0};
    text_list_add(&arguments.pcr_values, "sha256:9=" VALUE);
    text_list_add(&arguments.pcr_values, "sha1:1=0000000000000000000000000000000000000001");
    text_list_add(&arguments.pcr_values, "sha256:4=" OTHER);
    assert_int_equal(attest_pcrs_collect(&arguments, NULL, &pcrs, &error), 0);
    _cleanup_(free_cleanup) char *names = attest_pcrs_names(pcrs.items, pcrs.count);
    assert_string_equal(names, "sha256:4,9+sha1:1");
    assert_int_equal(pcrs.items[0]->value.len, 32);
    assert_int_equal(pcrs.items[0]->value.data[31], 2);
    assert_int_equal(pcrs.items[2]->value.len, 20);
    text_list_clear(&arguments.pcr_values);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(open_registers_are_a_mask),
        cmocka_unit_test(values_and_selections_are_checked_before_the_agent_is_asked),
        cmocka_unit_test(values_become_messages_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
