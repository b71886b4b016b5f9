#include "attest/facts.h"

#include "tests/unit/cmocka_all.h"

#include "tests/unit/attest/event_log_files.h"

static void draw_file(const char *name, const char *bank, uint32_t quoted, struct facts *ret_facts)
{
    struct log_file file;
    log_file_open(name, &file);
    facts_draw(&file.log, hash_by_name(bank)->id, quoted, ret_facts);
    log_file_close(&file);
}

/* facts.txt: FILE BANK FACT=VALUE, all that there are of each log listed there; found with another
 * parser. */
static void finds_the_facts_of_real_logs(void **state)
{
    (void)state;
    _cleanup_(text_list_clear) struct text_list lines = {0};
    log_file_lines("facts.txt", &lines);
    struct facts facts = {0};
    char drawn[80] = "";
    size_t found = 0;
    for (size_t i = 0; i < lines.count; i++) {
        _cleanup_(free_cleanup) char *line = memory_copy_text(lines.items[i]);
        char *rest = line;
        const char *name = strsep(&rest, " ");
        const char *bank = strsep(&rest, " ");
        const char *fact = rest;
        if (strcmp(name, drawn) != 0) {
            assert_int_equal(found, facts.count);
            facts_clear(&facts);
            draw_file(name, bank, 0xffffff, &facts);
            (void)snprintf(drawn, sizeof(drawn), "%s", name);
            found = 0;
        }
        if (facts_check_form(fact, NULL) < 0 || !facts_hold(&facts, fact)) {
            fail_msg("%s does not hold", lines.items[i]);
        }
        found++;
    }
    assert_int_equal(found, facts.count);
    facts_clear(&facts);
}

/* The digest or text of a fact, as tpm2_eventlog prints it in its list of events. */
static void look_up(const char *name, const struct fact *fact, const char *text)
{
    static const char *const compared[] = {"boot_application", "kernel_command_line"};
    for (size_t i = 0; i < ARRAY_SIZE(compared); i++) {
        const char *value = fact->value;
        if (strncmp(fact->name, compared[i], strlen(compared[i])) != 0 || strchr(value, '\\')) {
            continue;
        }
        const char *colon = strchr(value, ':');
        value = colon && i == 0 ? colon + 1 : value;
        /* It prints UTF-16 in hexadecimal. */
        if (!strstr(text, value) && fact->pcr != 12) {
            fail_msg("%s: tpm2_eventlog does not print %s=%s", name, fact->name, fact->value);
        }
    }
}

static void agrees_with_tpm2_tools(void **state)
{
    (void)state;
    _cleanup_(text_list_clear) struct text_list names = {0};
    log_file_names(&names);
    size_t compared = 0;
    for (size_t i = 0; i < names.count; i++) {
        struct log_file file;
        struct facts facts;
        _cleanup_(buffer_clear) struct buffer text = {0};
        log_file_open(names.items[i], &file);
        if (log_file_by_tpm2_tools(&file, &text)) {
            const char *printed = (const char *)text.data;
            facts_draw(&file.log, file.log.banks[file.log.bank_count > 1], 0xffffff, &facts);
            for (size_t fact = 0; fact < facts.count; fact++) {
                look_up(names.items[i], &facts.items[fact], printed);
            }
            const char *value = strstr(printed, "UnicodeName: SecureBoot\n    VariableData: \"");
            if (value) {
                const bool is_on = strncmp(strchr(value, '"'), "\"01\"", 4) == 0;
                assert_true(facts_hold(&facts, is_on ? "secure_boot=on" : "secure_boot=off") ||
                            !strcmp(names.items[i], "two-of-four-banks.bin"));
                compared++;
            }
            facts_clear(&facts);
        }
        log_file_close(&file);
    }
    if (compared == 0) {
        print_message("tpm2_eventlog is not installed\n");
        skip();
    }
    assert_true(compared > 10);
}

/* What the log hands in beside the digests decides nothing: with all types rewritten and all data
 * gone, only what the digests say is left, and it is the same. */
static void rewritten_types_add_nothing(void **state)
{
    (void)state;
    static const char *const names[] = {"rhel-8.bin", "ubuntu-24.04.bin", "gdc-host.bin"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        struct log_file file;
        struct facts before, typeless, bare;
        log_file_open(names[i], &file);
        facts_draw(&file.log, TPM2_ALG_SHA256, 0xffffff, &before);
        for (size_t event = 0; event < file.log.count; event++) {
            file.log.events[event].type = 2;
        }
        facts_draw(&file.log, TPM2_ALG_SHA256, 0xffffff, &typeless);
        assert_false(facts_hold(&typeless, "firmware_version"));
        assert_int_equal(typeless.count, before.count - facts_hold(&before, "firmware_version"));
        for (size_t event = 0; event < file.log.count; event++) {
            file.log.events[event].data = (struct bytes){0};
        }
        facts_draw(&file.log, TPM2_ALG_SHA256, 0xffffff, &bare);
        for (size_t fact = 0; fact < bare.count; fact++) {
            _cleanup_(free_cleanup) char *wanted =
                text_format("%s=%s", bare.items[fact].name, bare.items[fact].value);
            assert_true(facts_hold(&before, wanted));
        }
        assert_true(facts_hold(&bare, "secure_boot") && facts_hold(&bare, "boot_application.2"));
        assert_false(facts_hold(&bare, "secure_boot.db"));
        assert_false(facts_hold(&bare, "kernel_command_line"));
        facts_clear(&before);
        facts_clear(&typeless);
        facts_clear(&bare);
        log_file_close(&file);
    }
}

/* Facts come from quoted registers alone. */
static void draws_from_quoted_registers(void **state)
{
    (void)state;
    for (unsigned missing = 0; missing < PCR_COUNT; missing++) {
        struct facts facts;
        draw_file("gdc-host.bin", "sha256", 0xffffffU & ~(1U << missing), &facts);
        for (size_t i = 0; i < facts.count; i++) {
            assert_int_not_equal(facts.items[i].pcr, missing);
        }
        assert_int_equal(facts_hold(&facts, "secure_boot"), missing != 7);
        assert_int_equal(facts_hold(&facts, "boot_application"), missing != 4);
        assert_int_equal(facts_hold(&facts, "kernel_command_line"), missing != 8 && missing != 12);
        facts_clear(&facts);
    }
    struct facts none;
    draw_file("gdc-host.bin", "sha256", 0, &none);
    assert_int_equal(none.count, 0);
    /* A bank that the log lacks. */
    draw_file("gdc-host.bin", "sha1", 0xffffff, &none);
    assert_int_equal(none.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_facts_of_real_logs),
        cmocka_unit_test(agrees_with_tpm2_tools),
        cmocka_unit_test(rewritten_types_add_nothing),
        cmocka_unit_test(draws_from_quoted_registers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
