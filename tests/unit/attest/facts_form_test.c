#include "attest/facts.h"

#include "tests/unit/cmocka_all.h"

#include <string.h>

#include "lib/base/memory.h"

static void checks_wanted_facts(void **state)
{
    (void)state;
    static const struct {
        const char *wanted, *words; /* in the error; NULL: accepted */
    } cases[] = {
        {"secure_boot", NULL},
        {"secure_boot=on", NULL},
        {"secure_boot~o*", NULL},
        {"secure_boot.dbx=sha256:00", NULL},
        {"boot_application.2~*", NULL},
        {"boot_application.9", NULL},
        {"kernel_command_line=/vmlinuz root=/dev/sda1~x", NULL},
        {"separators=complete", NULL},
        {"secure_boot=On", "\"on\" or \"off\""},
        {"separators=yes", "\"complete\" or \"missing\""},
        {"", "no fact \"\""},
        {"=on", "no fact \"\""},
        {"secure_boo=on", "no fact \"secure_boo\""},
        {"secure_boot.pk", "no fact"},
        {"secure_boot.2", "no fact"},
        {"boot_application.1", "no fact"},
        {"boot_application.10", "no fact"},
        {"boot_application.", "no fact"},
        {"secure_boot ", "no fact"},
        {"firmware_version=", "1 to 4096"},
        {"firmware_version~", "1 to 4096"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct error err = {0};
        int result = facts_check_form(cases[i].wanted, &err);
        if ((result == 0) != !cases[i].words ||
            (cases[i].words &&
             (err.code != ERROR_INVALID_ARGUMENT || !strstr(err.text, cases[i].words)))) {
            fail_msg("%s: %s", cases[i].wanted, err.text);
        }
    }
    static const char name[] = "firmware_version=";
    _cleanup_(free_cleanup) char *longest = memory_new(sizeof(name) + FACT_VALUE_MAX_BYTES + 1);
    memset(longest, 'x', sizeof(name) + FACT_VALUE_MAX_BYTES);
    memcpy(longest, name, strlen(name));
    assert_int_equal(facts_check_form(longest, NULL), -1);
    longest[strlen(name) + FACT_VALUE_MAX_BYTES] = 0;
    assert_int_equal(facts_check_form(longest, NULL), 0);
}

static void matches_values(void **state)
{
    (void)state;
    char line_name[] = "kernel_command_line", line[] = "a\\x5cb [c] d=e";
    char image_name[] = "boot_application.2", image[] = "sha256:00";
    struct fact items[] = {{line_name, line, 8}, {image_name, image, 4}};
    const struct facts facts = {items, ARRAY_SIZE(items)};
    static const struct {
        const char *wanted;
        bool holds;
    } cases[] = {
        {"kernel_command_line", true},
        {"kernel_command_line=a\\x5cb [c] d=e", true},
        {"kernel_command_line=a\\x5cb [c] d=", false},
        {"kernel_command_line=*", false},
        {"kernel_command_line~*", true},
        {"kernel_command_line~*d=e", true},
        {"kernel_command_line~a\\x5c*", true},
        {"kernel_command_line~*[[]c]*", true},
        {"kernel_command_line~b*", false},
        {"boot_application.2", true},
        {"boot_application", false},
        {"boot_application~*", false},
        {"secure_boot", false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        if (facts_hold(&facts, cases[i].wanted) != cases[i].holds) {
            fail_msg("%s", cases[i].wanted);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checks_wanted_facts),
        cmocka_unit_test(matches_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
