#include "tests/unit/cmocka_all.h"

#include <string.h>

#include "agent/reload.h"
#include "lib/base/memory.h"

static struct config_keystore one_keystore[] = {
    {.name = (char *)"hsm",
     .type = CONFIG_KEYSTORE_PKCS11,
     .module = (char *)"/m.so",
     .token = (char *)"t",
     .pin.path = (char *)"/pin",
     .workers = 2},
};
static struct config_keystore other_workers[] = {
    {.name = (char *)"hsm",
     .type = CONFIG_KEYSTORE_PKCS11,
     .module = (char *)"/m.so",
     .token = (char *)"t",
     .pin.path = (char *)"/pin",
     .workers = 3},
};

static struct config running(void)
{
    struct config config = {
        .path = (char *)"/etc/signet/signetd.conf",
        .trust_domain = (char *)"example.org",
        .data_dir = (char *)"/var/lib/signet",
        .run_dir = (char *)"/run/signet",
        .keystores = one_keystore,
        .keystore_count = 1,
        .connections_per_uid = 1024,
    };
    config.issuer.keystore = (char *)"hsm";
    config.issuer.ca_ttl_s = 86400;
    return config;
}

static void nothing_changed_needs_no_restart(void **state)
{
    (void)state;
    const struct config a = running();
    struct config b = running();
    b.log_level = LOG_LEVEL_DEBUG;
    b.node.on_failure = NODE_WARN;
    b.node.reattest_interval_s = 5;
    b.node.resets = RESET_DENY;
    b.node.ek_ca = (char *)"/cas";
    assert_null(reload_restart_keys(&a, &b));
}

static void changed_keys_are_named(void **state)
{
    (void)state;
    const struct config a = running();
    struct config b = running();
    b.data_dir = (char *)"/elsewhere";
    b.tcti = (char *)"device:/dev/tpmrm0";
    b.keystores = other_workers;
    b.issuer.ca_ttl_s = 3600;
    b.connections_per_uid = 10;
    _cleanup_(free_cleanup) char *keys = reload_restart_keys(&a, &b);
    assert_string_equal(keys, "data_dir, tpm, keystore, issuer, connections_per_uid");
}

static char *any[] = {(char *)"*"};

/* Each differs in one thing from what runs, which has none of them. */
static void each_key_of_the_blocks_for_control_counts(void **state)
{
    (void)state;
    static const struct {
        struct config config;
        const char *key;
    } cases[] = {
        {{.has_node = true}, "node"},
        {{.node.keystore = (char *)"tpm"}, "node"},
        {{.node.ak_type = KEY_TYPE_RSA_2048}, "node"},
        {{.node.event_log_path = (char *)"/log"}, "node"},
        {{.node.ima_path = (char *)"/list"}, "node"},
        {{.node.counter_index = 1}, "node"},
        {{.audit.folder = (char *)"/log"}, "audit"},
        {{.audit.on_failure = AUDIT_ON_FAILURE_CONTINUE}, "audit"},
        {{.audit.file_max_bytes = 1}, "audit"},
        {{.audit.file_max_age_s = 1}, "audit"},
        {{.audit.files_kept = 1}, "audit"},
        {{.audit.keystore = (char *)"hsm"}, "audit"},
        {{.audit.head_interval_s = 1}, "audit"},
        {{.audit.is_journald = true}, "audit"},
        {{.has_outside = true}, "policy"},
        {{.outside.url = (char *)"unix:///a"}, "policy"},
        {{.outside.path = (char *)"a"}, "policy"},
        {{.outside.timeout_ms = 1}, "policy"},
        {{.outside.cache_ms = 1}, "policy"},
        {{.outside.continue_for = {any, 1}}, "policy"},
        {{.metrics_listen = (char *)"unix:/m"}, "metrics"},
        {{.recheck_interval_s = 1}, "recheck_interval"},
    };
    const struct config a = running();
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct config b = running();
        b.audit = cases[i].config.audit;
        b.has_outside = cases[i].config.has_outside;
        b.outside = cases[i].config.outside;
        b.has_node = cases[i].config.has_node;
        b.node = cases[i].config.node;
        b.metrics_listen = cases[i].config.metrics_listen;
        b.recheck_interval_s = cases[i].config.recheck_interval_s;
        _cleanup_(free_cleanup) char *keys = reload_restart_keys(&a, &b);
        assert_non_null(keys);
        assert_string_equal(keys, cases[i].key);
    }
}

static void rules_take_effect_without_a_restart(void **state)
{
    (void)state;
    const struct config a = running();
    struct config b = running();
    struct rule rule = {.pattern = (char *)"*", .sign_rate = 5};
    b.rules = (struct rules){.items = &rule, .count = 1};
    assert_null(reload_restart_keys(&a, &b));
}

static void a_missing_keystore_is_a_change(void **state)
{
    (void)state;
    const struct config a = running();
    struct config b = running();
    b.keystore_count = 0;
    _cleanup_(free_cleanup) char *keys = reload_restart_keys(&a, &b);
    assert_string_equal(keys, "keystore");
}

static void what_cannot_be_taken_over_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *trust_domain, *keystore, *text;
    } cases[] = {
        {"example.org", "hsm", NULL},
        {"example.org", "memory", NULL},
        {"example.org", NULL, NULL},
        {"example.com", "hsm", "example.com"},
        {"example.org", "tpm", "keystore \"tpm\""},
    };
    const struct config a = running();
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct rule rule = {.pattern = (char *)"*", .keystore = (char *)cases[i].keystore};
        struct config b = running();
        struct error error = {0};
        b.trust_domain = (char *)cases[i].trust_domain;
        b.rules = (struct rules){.items = &rule, .count = 1};
        assert_int_equal(reload_check(&a, &b, &error), cases[i].text ? -1 : 0);
        if (cases[i].text) {
            assert_non_null(strstr(error.text, cases[i].text));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_changed_needs_no_restart),
        cmocka_unit_test(changed_keys_are_named),
        cmocka_unit_test(each_key_of_the_blocks_for_control_counts),
        cmocka_unit_test(rules_take_effect_without_a_restart),
        cmocka_unit_test(a_missing_keystore_is_a_change),
        cmocka_unit_test(what_cannot_be_taken_over_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
