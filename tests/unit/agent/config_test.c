#include "agent/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/config_block.h"
#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

/* The least that is accepted, two lines. */
#define LEAST                                                                                      \
    "trust_domain = \"example.org\"  tpm { }  keystore \"tpm\" { type = \"tpm\" }\n"               \
    "issuer \"embedded\" { keystore = \"tpm\" }\n"
#define ZEROS_63 "000000000000000000000000000000000000000000000000000000000000000"
#define ZEROS_64 ZEROS_63 "0"
/* Nothing that a node could be attested by. */
#define NO_TPM                                                                                     \
    "trust_domain = \"example.org\" issuer \"embedded\" { keystore = \"hsm\" } keystore \"hsm\" "  \
    "{ "                                                                                           \
    "type = \"pkcs11\" module = \"/x.so\" token = \"signet\" }\n"
#define HSM "keystore \"hsm\" { type = \"pkcs11\" module = \"/x.so\" token = \"signet\" "

static int parse(const char *text, struct config **ret_config, struct error *err)
{
    return config_parse(bytes_of_text(text), "test.conf", ret_config, err);
}

static struct config *accepted(const char *text)
{
    struct config *config = NULL;
    struct error err = {0};
    if (parse(text, &config, &err) < 0) {
        fail_msg("%s", err.text);
    }
    return config;
}

static void a_node(void **state)
{
    (void)state;
    _cleanup_(config_free_cleanup) struct config *plain = accepted(LEAST "node { }");
    const struct node_settings *settings = &plain->node;
    assert_true(plain->has_node);
    assert_string_equal(settings->keystore, "tpm");
    assert_null(settings->ek_ca);
    assert_int_equal(settings->selection.count, 0);
    assert_string_equal(settings->event_log_path,
                        "/sys/kernel/security/tpm0/binary_bios_measurements");
    assert_null(settings->ima_path);
    assert_int_equal(settings->resets, RESET_ALLOW);
    assert_int_equal(settings->ak_type, KEY_TYPE_EC_P256);
    assert_int_equal(settings->reattest_interval_s, 3600);
    assert_int_equal(settings->on_failure, NODE_LOCK);
    assert_int_equal(settings->counter_index, 0x01805347);
    assert_int_equal(plain->warnings.count, 1); /* whom to believe */

    _cleanup_(config_free_cleanup) struct config *config = accepted(
        LEAST "node { ek_hashes = { \"sha256:" ZEROS_64 "\" } pcrs = \"sha256:0,7+sha1:4\"\n"
              "facts = { \"secure_boot=on\", \"kernel_command_line~*quiet*\" }\n"
              "event_log = \"/log\" ima = \"kernel\" resets = \"deny\" ak = \"rsa-2048\"\n"
              "reattest_interval = \"1s\" on_failure = deny_new counter = \"none\" }\n"
              "baseline \"one\" { pcrs = { \"sha256:0=" ZEROS_64 "\", \"sha256:7=" ZEROS_64 "\",\n"
              "    \"sha1:4=0000000000000000000000000000000000000000\" } }\n"
              "rule \"*\" { evidence = true }");
    settings = &config->node;
    assert_int_equal(config->warnings.count, 0);
    assert_int_equal(settings->ek_hashes.count, 1);
    assert_int_equal(settings->selection.count, 2);
    assert_int_equal(settings->selection.banks[0].mask, 0x81);
    assert_int_equal(settings->facts.count, 2);
    assert_string_equal(settings->event_log_path, "/log");
    assert_string_equal(settings->ima_path, "/sys/kernel/security/ima/binary_runtime_measurements");
    assert_int_equal(settings->resets, RESET_DENY);
    assert_int_equal(settings->ak_type, KEY_TYPE_RSA_2048);
    assert_int_equal(settings->reattest_interval_s, 1);
    assert_int_equal(settings->on_failure, NODE_DENY_NEW);
    assert_int_equal(settings->counter_index, 0);
    assert_int_equal(settings->baselines.count, 1);
    assert_true(settings->baselines.items[0].is_configured);
    assert_non_null(pcr_set_value(&settings->baselines.items[0].pcrs, TPM2_ALG_SHA1, 4));
    assert_true(config->rules.items[0].may_show_evidence);
}

static void who_requires_what_never_comes_is_told(void **state)
{
    (void)state;
    _cleanup_(config_free_cleanup) struct config *config =
        accepted(LEAST "rule \"*\" { requires_attested = true }");
    assert_int_equal(config->warnings.count, 1);
    assert_non_null(strstr(config->warnings.items[0], "test.conf:3: rule \"*\" requires"));
}

static void defaults(void **state)
{
    (void)state;
    _cleanup_(config_free_cleanup) struct config *config = accepted(LEAST);
    assert_string_equal(config->path, "test.conf");
    assert_string_equal(config->data_dir, "/var/lib/signet");
    assert_string_equal(config->run_dir, "/run/signet");
    assert_int_equal(config->log_level, LOG_LEVEL_INFO);
    assert_string_equal(config->tcti, "device:/dev/tpmrm0");
    assert_int_equal(config->keystores[0].type, CONFIG_KEYSTORE_TPM);
    assert_int_equal(config->keystores[0].workers, 1);
    assert_false(config->keystores[0].is_isolated);
    assert_string_equal(config->issuer.keystore, "tpm");
    assert_int_equal(config->issuer.ca_key_type, KEY_TYPE_EC_P256);
    assert_int_equal(config->issuer.jwt_key_type, KEY_TYPE_EC_P256);
    assert_int_equal(config->issuer.ca_ttl_s, 86400);
    assert_int_equal(config->issuer.x509_svid_ttl_s, 3600);
    assert_int_equal(config->issuer.jwt_svid_ttl_s, 300);
    assert_int_equal(config->delivered_max_ttl_s, 3600);
    assert_int_equal(config->key_pool_size, 4);
    assert_int_equal(config->connections_per_uid, 1024);
    assert_int_equal(config->sha256_limit_bytes, 0);
    assert_int_equal(config->entry_count, 0);
    assert_int_equal(config->rules.count, 0);
    assert_string_equal(config->audit.folder, "/var/lib/signet/audit");
    assert_int_equal(config->audit.on_failure, AUDIT_ON_FAILURE_DENY);
    assert_int_equal(config->audit.file_max_bytes, 64 << 20);
    assert_int_equal(config->audit.file_max_age_s, 86400);
    assert_int_equal(config->audit.files_kept, 90);
    assert_string_equal(config->audit.keystore, "tpm");
    assert_int_equal(config->audit.head_interval_s, 60);
    assert_false(config->audit.is_journald);
    assert_false(config->has_outside);
    assert_int_equal(config->outside.timeout_ms, 250);
    assert_int_equal(config->outside.cache_ms, 1000);
    assert_null(config->metrics_listen);
    assert_int_equal(config->recheck_interval_s, 10);
    assert_int_equal(config->warnings.count, 0);
}

static void every_key(void **state)
{
    (void)state;
    _cleanup_(config_free_cleanup) struct config *config = accepted(
        "# signet\n"
        "trust_domain = \"example.org\" // name\r\n"
        "data_dir = \"/d\" run_dir = '/r' log_level = debug\n"
        "delivered_max_ttl = \"30m\" key_pool_size = 0 connections_per_uid = \"7\"\n"
        "/* rules\n ${HOME} \" { */ rule \"*\" { }\n"
        "tpm { tcti = \"swtpm:path=/x\" }\n"
        "keystore \"tpm\" { type = \"tpm\" }\n"
        "keystore \"hsm\" { type = \"pkcs11\" module = \"softhsm2\" token = \"a b\"\n"
        "    pin = \"file:/etc/pin\" isolate = true workers = 16 }\n"
        "issuer \"embedded\" { keystore = \"hsm\" ca_ttl = \"2m\" x509_svid_ttl = \"1m\"\n"
        "    jwt_svid_ttl = \"10s\" ca_key_type = \"rsa-2048\" jwt_key_type = \"ec-p384\" }\n"
        "workload { sha256_limit = \"512M\" }\n"
        "entry \"spiffe://example.org/a\" {\n"
        "    selectors = { \"unix:uid:1000\", 'unix:path:/usr/bin/a b\\'\\\\${x}', }\n"
        "    x509_svid_ttl = \"30s\" jwt_svid_ttl = \"20s\"\n"
        "    dns_names = { \"a.example.org\", \"b\" } hint = \"say \\\"hi\\\"\" }\n"
        "entry \"spiffe://example.org/a\" { selectors = \"unix:uid:1001\" }\n"
        "rule \"spiffe://example.org/a/*\" { key = \"guarded\" key_type = \"ec-p384\" }\n"
        "rule \"spiffe://example.org/b\" { key = \"hardware\" keystore = \"hsm\" }\n");
    assert_string_equal(config->trust_domain, "example.org");
    assert_string_equal(config->data_dir, "/d");
    assert_string_equal(config->run_dir, "/r");
    assert_int_equal(config->log_level, LOG_LEVEL_DEBUG);
    assert_int_equal(config->delivered_max_ttl_s, 1800);
    assert_int_equal(config->key_pool_size, 0);
    assert_int_equal(config->connections_per_uid, 7);
    assert_string_equal(config->tcti, "swtpm:path=/x");
    assert_int_equal(config->keystore_count, 2);
    const struct config_keystore *hsm = &config->keystores[1];
    assert_string_equal(hsm->name, "hsm");
    assert_int_equal(hsm->type, CONFIG_KEYSTORE_PKCS11);
    assert_string_equal(hsm->module, "softhsm2");
    assert_string_equal(hsm->token, "a b");
    assert_string_equal(hsm->pin.path, "/etc/pin");
    assert_true(hsm->is_isolated);
    assert_int_equal(hsm->workers, 16);
    assert_string_equal(config->issuer.keystore, "hsm");
    assert_int_equal(config->issuer.ca_ttl_s, 120);
    assert_int_equal(config->issuer.x509_svid_ttl_s, 60);
    assert_int_equal(config->issuer.jwt_svid_ttl_s, 10);
    assert_int_equal(config->issuer.ca_key_type, KEY_TYPE_RSA_2048);
    assert_int_equal(config->issuer.jwt_key_type, KEY_TYPE_EC_P384);
    assert_int_equal(config->sha256_limit_bytes, (uint64_t)512 << 20);
    assert_int_equal(config->entry_count, 2);
    const struct entry *entry = config->entries[0];
    assert_string_equal(entry->spiffe_id, "spiffe://example.org/a");
    assert_int_equal(entry->selectors.count, 2);
    assert_string_equal(entry->selectors.items[0], "unix:path:/usr/bin/a b'\\${x}");
    assert_string_equal(entry->selectors.items[1], "unix:uid:1000");
    assert_int_equal(entry->x509_svid_ttl_s, 30);
    assert_int_equal(entry->jwt_svid_ttl_s, 20);
    assert_int_equal(entry->dns_names.count, 2);
    assert_string_equal(entry->hint, "say \"hi\"");
    assert_true(entry->is_configured);
    assert_memory_equal(entry->id, "conf:", 5);
    assert_string_equal(config->entries[1]->hint, "");
    assert_int_equal(config->entries[1]->selectors.count, 1);
    assert_string_not_equal(entry->id, config->entries[1]->id);
    assert_int_equal(config->rules.count, 3);
    assert_string_equal(config->rules.items[0].pattern, "*");
    assert_int_equal(config->rules.items[1].protection, KEY_PROTECTION_GUARDED);
    assert_int_equal(config->rules.items[1].key_type, KEY_TYPE_EC_P384);
    assert_null(config->rules.items[1].keystore);
    assert_string_equal(config->rules.items[2].keystore, "hsm");
}

#define HEX32 "0123456789abcdef0123456789abcdef"
#define HEX64 HEX32 HEX32

static void every_key_of_a_rule(void **state)
{
    (void)state;
    _cleanup_(config_free_cleanup) struct config *config = accepted(
        LEAST "rule \"*\" { sign_rate = 200 sign_burst = 400 max_uses = 5000000000 svid_rate = 6\n"
              "    jwt_rate = 60 jwt_audiences = { \"db\", \"https://*.example.org\" }\n"
              "    jwt_max_ttl = \"2m\" hours = \"Mon-Fri 08:00-18:00\"\n"
              "    time_zone = \"Europe/Berlin\" max_process_age = \"7d\"\n"
              "    first_use_within = \"1m\" requires_attested = true\n"
              "    executables = { \"sha256:" HEX64 "\", \"fsverity:sha512:" HEX64 HEX64
              "\", \"fsverity:sha256:" HEX64 "\" } }\n");
    const struct rule *rule = &config->rules.items[0];
    assert_int_equal(rule->sign_rate, 200);
    assert_int_equal(rule->sign_burst, 400);
    assert_int_equal(rule->max_uses, 5000000000);
    assert_int_equal(rule->svid_rate, 6);
    assert_int_equal(rule->jwt_rate, 60);
    assert_int_equal(rule->jwt_audiences.count, 2);
    assert_string_equal(rule->jwt_audiences.items[1], "https://*.example.org");
    assert_int_equal(rule->jwt_max_ttl_s, 120);
    assert_string_equal(schedule_text(rule->hours), "Mon-Fri 08:00-18:00 Europe/Berlin");
    assert_int_equal(rule->max_process_age_s, 7 * 86400);
    assert_int_equal(rule->first_use_within_s, 60);
    assert_true(rule->requires_attested);
    assert_int_equal(rule->executables.count, 3);
    assert_string_equal(rule->executables.items[0], "unix:fsverity:sha256:" HEX64);
    assert_string_equal(rule->executables.items[1], "unix:fsverity:sha512:" HEX64 HEX64);
    assert_string_equal(rule->executables.items[2], "unix:sha256:" HEX64);
    assert_non_null(config->rules.index);
}

static void every_key_of_the_blocks_for_control(void **state)
{
    (void)state;
    _cleanup_(config_free_cleanup) struct config *config = accepted(
        LEAST HSM "}\n"
                  "audit { dir = \"/log\" on_failure = \"continue\" file_size = \"1G\"\n"
                  "    file_age = \"0s\" files = 0 keystore = \"hsm\" head_interval = \"5m\"\n"
                  "    journald = true }\n"
                  "policy { opa = \"unix:///run/opa.sock\" path = \"signet/allow\"\n"
                  "    timeout = \"1s500ms\" cache = \"0s\"\n"
                  "    continue_for = { \"spiffe://example.org/a/*\", \"*\" } }\n"
                  "metrics { listen = \"127.0.0.1:9464\" } recheck_interval = \"1m\"\n");
    assert_string_equal(config->audit.folder, "/log");
    assert_int_equal(config->audit.on_failure, AUDIT_ON_FAILURE_CONTINUE);
    assert_int_equal(config->audit.file_max_bytes, 1 << 30);
    assert_int_equal(config->audit.file_max_age_s, 0);
    assert_int_equal(config->audit.files_kept, 0);
    assert_string_equal(config->audit.keystore, "hsm");
    assert_int_equal(config->audit.head_interval_s, 300);
    assert_true(config->audit.is_journald);
    assert_true(config->has_outside);
    assert_string_equal(config->outside.url, "unix:///run/opa.sock");
    assert_string_equal(config->outside.path, "signet/allow");
    assert_int_equal(config->outside.timeout_ms, 1500);
    assert_int_equal(config->outside.cache_ms, 0);
    assert_int_equal(config->outside.continue_for.count, 2);
    assert_string_equal(config->metrics_listen, "127.0.0.1:9464");
    assert_int_equal(config->recheck_interval_s, 60);
}

static void rules_share_their_hours(void **state)
{
    (void)state;
    _cleanup_(config_free_cleanup) struct config *config =
        accepted(LEAST "rule \"spiffe://example.org/a\" { hours = \"08:00-18:00\" }\n"
                       "rule \"spiffe://example.org/b\" { hours = \"08:00-18:00\" }\n"
                       "rule \"spiffe://example.org/c\" { hours = \"08:00-19:00\" }\n");
    const struct rule *rules = config->rules.items;
    assert_string_equal(schedule_text(rules[0].hours), "08:00-18:00 UTC");
    assert_ptr_equal(rules[0].hours, rules[1].hours);
    assert_ptr_not_equal(rules[1].hours, rules[2].hours);
}

/* Each is refused with an error that begins with the place and has the words. */
static const struct {
    const char *text, *place, *words;
} refused[] = {
    /* Syntax. */
    {"data_dir", "test.conf:1: ", "file ends before"},
    {LEAST "data_dir \"/x\"", "test.conf:3: ", "comes '='"},
    {LEAST "data_dir = ", "test.conf:3: ", "file ends before"},
    {LEAST "data_dir = }", "test.conf:3: ", "never opened"},
    {LEAST "data_dir = { \"/x\" }", "test.conf:3: ", "'{' cannot stand here"},
    {LEAST "data_dir = /x", "test.conf:3: ", "in \"/run/signet\""},
    {LEAST "\"data_dir\" = \"/x\"", "test.conf:3: ", "without quotes"},
    {LEAST "data_dir = \"/x\n\"", "test.conf:3: ", "not closed"},
    {LEAST "data_dir = '/x", "test.conf:3: ", "not closed"},
    {LEAST "data_dir = \"/x\\", "test.conf:3: ", "after a backslash"},
    {LEAST "data_dir = \"/x\\000y\"", "test.conf:3: ", "after a backslash"},
    {LEAST "data_dir = \"/x\ty\"", "test.conf:3: ", "control character"},
    {LEAST "data_dir = \"/\xff\"", "test.conf:3: ", "not UTF-8"},
    {LEAST "data_dir = \"${HOME}/x\"", "test.conf:3: ", "${HOME} are not replaced"},
    {LEAST "data_dir = ${HOME}", "test.conf:3: ", "means nothing here"},
    {LEAST "data_dir = *", "test.conf:3: ", "means nothing here"},
    {LEAST "data_dir += \"/x\"", "test.conf:3: ", "means nothing here"},
    {LEAST "- = 5", "test.conf:3: ", "without a key"},
    {LEAST "# comment\n/* a\n */ \n# b\n!", "test.conf:7: ", "means nothing here"},
    {LEAST "# comment\n/* a\n */ \n# b\nx = 1", "test.conf:7: ", "unknown key \"x\""},
    {LEAST "/* \n\n", "test.conf:3: ", "never closed"},
    {LEAST "a\rb", "test.conf:3: ", "carriage return"},
    {LEAST "tpm {\n", "test.conf:3: ", "never closed"},
    {LEAST "}", "test.conf:3: ", "never opened"},
    {LEAST "{ }", "test.conf:3: ", "without the name"},
    {LEAST "tpm { tpm { } }", "test.conf:3: ", "a block within a block"},
    {LEAST "tpm \"x\" { }", "test.conf:3: ", "comes '{'"},
    {LEAST "tpm ", "test.conf:3: ", "file ends before"},
    {LEAST "entry { selectors = \"unix:uid:1\" }", "test.conf:3: ", "needs a title"},
    {LEAST "entry \"a\" \"b\" { }", "test.conf:3: ", "comes '{'"},
    {LEAST "x (1)", "test.conf:3: ", "means nothing here"},
    {LEAST "include(\"/etc/passwd\")", "test.conf:3: ", "means nothing here"},
    {LEAST "include \"/etc/passwd\"", "test.conf:3: ", "unknown key \"include\""},
    {LEAST "\"tpm|tcti\" \"x\"", "test.conf:3: ", "test.conf:3: "},
    /* Keys. */
    {LEAST "dat_dir = \"/x\"", "test.conf:3: ", "expected trust_domain, data_dir"},
    {LEAST "tpm = \"x\"", "test.conf:3: ", "comes '{'"},
    {"tpm {\n tcty = \"x\" }", "test.conf:2: ", "tpm: unknown key \"tcty\"; expected tcti"},
    {LEAST "data_dir = \"/x\"\ndata_dir = \"/y\"", "test.conf:4: ", "twice"},
    {LEAST "tpm { tcti = \"x\" }", "test.conf:3: ", "twice"},
    {LEAST "tpm { }", "test.conf:3: ", "twice"},
    {LEAST "issuer \"embedded\" { keystore = \"tpm\" }", "test.conf:3: ", "twice"},
    {LEAST "workload { } workload { }", "test.conf:3: ", "twice"},
    {LEAST "entry \"spiffe://example.org/a\" { selectors = { \"unix:uid:1\" }\nselectors = { "
           "\"unix:uid:2\" } }",
     "test.conf:4: ", "twice"},
    {"data_dir = \"/x\"", "test.conf: ", "trust_domain is missing"},
    /* Values. */
    {"trust_domain = \"Example.org\"", "test.conf:1: trust_domain", "lower case"},
    {LEAST "data_dir = \"x\"", "test.conf:3: data_dir", "absolute"},
    {LEAST "data_dir = \"/x/../y\"", "test.conf:3: data_dir", "\"..\""},
    {LEAST "data_dir = \"/x/\"", "test.conf:3: data_dir", "absolute"},
    {LEAST "log_level = \"loud\"", "test.conf:3: log_level", "debug, info"},
    {LEAST "delivered_max_ttl = 60", "test.conf:3: delivered_max_ttl", "a number and a unit"},
    {LEAST "delivered_max_ttl = \"1500ms\"", "test.conf:3: delivered_max_ttl", "whole seconds"},
    {LEAST "delivered_max_ttl = \"9s\"", "test.conf:3: delivered_max_ttl",
     "from \"10s\" to \"1d\""},
    {LEAST "key_pool_size = 257", "test.conf:3: key_pool_size", "from 0 to 256"},
    {LEAST "key_pool_size = \"-1\"", "test.conf:3: key_pool_size", "from 0 to 256"},
    {LEAST "connections_per_uid = 0", "test.conf:3: connections_per_uid", "from 1 to"},
    {LEAST "workload { sha256_limit = \"5T\" }", "test.conf:3: sha256_limit", "K, M or G"},
    {LEAST "workload { sha256_limit = \"99999999999999999999G\" }", "test.conf:3: ", "K, M or G"},
    {LEAST "workload { sha256_limit = \"2000G\" }", "test.conf:3: sha256_limit", "K, M or G"},
    {LEAST "workload { sha256_limit = \"\" }", "test.conf:3: sha256_limit", "K, M or G"},
    {"run_dir = \"/23456789012345678901234567890123456789012345678901234567890123456789012345678"
     "901234567890123456\"\n" LEAST,
     "test.conf: run_dir", "more than the 107 bytes"},
    {LEAST "run_dir = \"/x\" data_dir = \"/x\"", "test.conf: ", "one folder"},
    /* Keystores. */
    {"trust_domain = \"a\" issuer \"embedded\" { keystore = \"x\" }",
     "test.conf: ", "no block keys"},
    {"keystore \"tpm\" { type = \"tpm\" } trust_domain = \"a\" issuer \"embedded\" { keystore = "
     "\"tpm\" }",
     "test.conf: keystore \"tpm\"", "add tpm {"},
    {LEAST "keystore \"x\" { }", "test.conf:3: keystore \"x\"", "type is missing"},
    {LEAST "keystore \"x\" { type = \"hsm\" }", "test.conf:3: type", "neither \"tpm\" nor"},
    {LEAST "keystore \"x y\" { type = \"tpm\" }", "test.conf:3: keystore", "not a name"},
    {LEAST "keystore \"memory\" { type = \"pkcs11\" }", "test.conf:3: keystore", "own memory"},
    {LEAST "keystore \"tpm\" { type = \"pkcs11\" }", "test.conf:3: keystore", "of this name"},
    {LEAST "keystore \"two\" { type = \"tpm\" }", "test.conf:3: keystore", "has one TPM"},
    {LEAST "keystore \"x\" { type = \"pkcs11\" module = \"m\" }",
     "test.conf:3: ", "module and token"},
    {LEAST "keystore \"x\" { type = \"pkcs11\" module = \"./m\" }", "test.conf:3: module",
     "p11-kit"},
    {"tpm { } keystore \"tpm\" { type = \"tpm\" workers = 2 }", "test.conf:1: keystore",
     "no key mod"},
    {LEAST HSM "workers = 17 }", "test.conf:3: workers", "from 1 to 16"},
    {LEAST HSM "isolate = yes }", "test.conf:3: isolate", "neither true nor false"},
    {LEAST HSM "\n pin = \"credential:a/b\" }", "test.conf:4: pin", "name of a systemd credential"},
    {LEAST HSM "pin = \"credential:hsm\" }", "test.conf:3: pin", "CREDENTIALS_DIRECTORY"},
    {"trust_domain = \"a\" " HSM
     "pin = \"tpm-sealed:/x\" } issuer \"embedded\" { keystore = \"hsm\" }",
     "test.conf: ", "no block tpm"},
    /* Issuer. */
    {"trust_domain = \"a\" tpm { } keystore \"tpm\" { type = \"tpm\" }",
     "test.conf: ", "no block iss"},
    {"issuer \"spire\" { keystore = \"x\" }", "test.conf:1: issuer \"spire\"", "embedded"},
    {"issuer \"embedded\" { }", "test.conf:1: issuer", "keystore is missing"},
    {"trust_domain = \"a\"\nissuer \"embedded\" { keystore = \"x\" }\n" HSM "}",
     "test.conf:2: ", "no block keystore \"x\""},
    {"issuer \"embedded\" { keystore = \"x\" ca_key_type = \"rsa\" }", "test.conf:1: ca_key_type",
     "rsa-2048"},
    {"trust_domain = \"a\"\n" HSM "} issuer \"embedded\" { keystore = \"hsm\" ca_ttl = \"1h\" }",
     "test.conf:2: ca_ttl", "twice the x509_svid_ttl"},
    {"trust_domain = \"a\"\n" HSM "} issuer \"embedded\" { keystore = \"hsm\" ca_ttl = \"4m\" "
     "x509_svid_ttl = \"1m\" }",
     "test.conf:2: ca_ttl", "jwt_svid_ttl"},
    /* Entries. */
    {LEAST "entry \"spiffe://example.org/a\" { }", "test.conf:3: entry", "selectors is missing"},
    {LEAST "entry \"spiffe://example.org/a\" { selectors = { } }", "test.conf:3: ", "empty list"},
    {LEAST "entry \"spiffe://example.org/a\" { selectors = { \"unix:uid:1\" \"b\" } }",
     "test.conf:3: ", "commas"},
    {LEAST "entry \"spiffe://example.org/a\" { selectors = { { \"unix:uid:1\" } } }",
     "test.conf:3: ", "a list within a list"},
    {LEAST "entry \"spiffe://example.org/a\" { selectors = { , } }", "test.conf:3: ", "','"},
    {LEAST "entry \"spiffe://example.org/a\" { selectors = {\n\"unix:uid:1\",\n\"unix:uid:x\" } }",
     "test.conf:5: selectors", "\"x\" is not a whole number"},
    {LEAST "entry \"spiffe://example.org/a\" { selectors = \"unix:uid:\" }",
     "test.conf:3: selectors", "no value"},
    {LEAST "entry \"spiffe://example.org/a/\" { selectors = \"unix:uid:1\" }", "test.conf:3: entry",
     "slash"},
    {LEAST "entry \"spiffe://example.org\" { selectors = \"unix:uid:1\" }",
     "test.conf:3: ", "path"},
    {LEAST "\nentry \"spiffe://example.net/a\" { selectors = \"unix:uid:1\" }",
     "test.conf:4: ", "trust domain"},
    {LEAST "entry \"spiffe://example.org/a\" { selectors = \"unix:uid:1\" dns_names = \"a..b\" }",
     "test.conf:3: ", "DNS name"},
    {LEAST "entry \"spiffe://example.org/a\" { selectors = \"unix:uid:1\" x509_svid_ttl = \"2d\" }",
     "test.conf:3: ", "longer than the CA"},
    {LEAST "entry \"spiffe://example.org/a\" { selectors = { \"unix:uid:1\", \"unix:gid:1\" } }\n"
           "entry \"spiffe://example.org/b\" { selectors = { \"unix:gid:1\" } }\n"
           "entry \"spiffe://example.org/a\" { selectors = { \"unix:gid:1\", \"unix:uid:1\" } }\n",
     "test.conf:5: entry \"spiffe://example.org/a\"", "line 3 has the same entry"},
    /* Rules. */
    {LEAST "rule \"spiffe://example.org/a*\" { }", "test.conf:3: rule", "'*' stands alone"},
    {LEAST "rule \"spiffe://example.net/*\" { }", "test.conf:3: rule", "would never apply"},
    {LEAST "rule \"*\" { keystore = \"hsm\" }", "test.conf:3: ", "no block keystore \"hsm\""},
    {LEAST "rule \"*\" { key = \"soft\" }", "test.conf:3: key", "\"guarded\" and \"delivered\""},
    {LEAST "rule \"*\" { key = \"guarded\" keystore = \"tpm\" }", "test.conf:3: rule", "leave out"},
    {LEAST "rule \"*\" { key_type = \"ed25519\" }", "test.conf:3: key_type", "ec-p256"},
    {LEAST "rule \"*\" { }\n\nrule \"*\" { }", "test.conf:5: rule", "line 3 has a rule"},
    {LEAST "rule \"*\" { sign_rates = 1 }", "test.conf:3: rule: unknown key", "key, keystore"},
    {LEAST "rule \"*\" { sign_rate = 0 }", "test.conf:3: sign_rate", "from 1 to 1000000"},
    {LEAST "rule \"*\" { sign_rate = 1000001 }", "test.conf:3: sign_rate", "from 1 to 1000000"},
    {LEAST "rule \"*\" { sign_burst = 5 }", "test.conf:3: rule \"*\"", "add sign_rate"},
    {LEAST "rule \"*\" { max_uses = 0 }", "test.conf:3: max_uses", "from 1 to"},
    {LEAST "rule \"*\" { max_uses = 9223372036854775808 }", "test.conf:3: max_uses", "from 1 to"},
    {LEAST "rule \"*\" { key = delivered sign_rate = 5 }", "test.conf:3: rule", "never sees it"},
    {LEAST "rule \"*\" { max_uses = 5 key = delivered }", "test.conf:3: rule", "max_uses cannot"},
    {LEAST "rule \"*\" { svid_rate = x }", "test.conf:3: svid_rate", "from 1 to"},
    {LEAST "rule \"*\" { jwt_rate = \"-1\" }", "test.conf:3: jwt_rate", "from 1 to"},
    {LEAST "rule \"*\" { jwt_audiences = \"\" }", "test.conf:3: jwt_audiences", "1 to 1024"},
    {LEAST "rule \"*\" { jwt_max_ttl = \"1s\" }", "test.conf:3: jwt_max_ttl", "\"10s\""},
    {LEAST "rule \"*\" {\n hours = \"8-18\" }", "test.conf:3: rule \"*\"", "\"08:00-18:00\""},
    {LEAST "rule \"*\" { hours = \"08:00-18:00\" time_zone = \"Mars\" }", "test.conf:3: rule",
     "no time zone \"Mars\""},
    {LEAST "rule \"*\" { hours = \"08:00-18:00\" time_zone = \"../UTC\" }", "test.conf:3: rule",
     "not the name of a time zone"},
    {LEAST "rule \"*\" { time_zone = \"UTC\" }", "test.conf:3: rule", "add hours"},
    {LEAST "rule \"*\" { max_process_age = \"0s\" }", "test.conf:3: max_process_age", "\"1s\""},
    {LEAST "rule \"*\" { first_use_within = 30 }", "test.conf:3: first_use_within", "a unit"},
    {LEAST "rule \"*\" { requires_attested = yes }", "test.conf:3: requires_attested", "neither"},
    {LEAST "rule \"*\" { executables = \"sha1:00\" }", "test.conf:3: executables", "no digest"},
    {LEAST "rule \"*\" { executables = \"sha256:00\" }", "test.conf:3: executables", "and 64"},
    {LEAST "rule \"*\" { executables = \"path:/bin/sh\" }", "test.conf:3: executables", "digest"},
    {LEAST "rule \"*\" { executables = \"fsverity:md5:00\" }", "test.conf:3: executables", "128"},
    {LEAST "rule \"*\" { evidence = 1 }", "test.conf:3: evidence", "neither"},
    /* Node, baselines. */
    {NO_TPM "node { }", "test.conf:2: node", "no keystore of type \"tpm\""},
    {LEAST HSM "pin = \"file:/p\" }\nnode { keystore = \"hsm\" }", "test.conf:4: node",
     "\"hsm\" is not of type"},
    {LEAST "\nnode { keystore = \"two\" }", "test.conf:4: node", "no block keystore \"two\""},
    {LEAST "node { } node { }", "test.conf:3: node", "twice"},
    {LEAST "node { ek_ca = \"cas\" }", "test.conf:3: ek_ca", "absolute"},
    {LEAST "node { ek_ca = \"/no/such/folder\" }", "test.conf:3: node: ek_ca", "/no/such/folder"},
    {LEAST "node { ek_hashes = \"00\" }", "test.conf:3: ek_hashes", "and 64"},
    {LEAST "node { ek_hashes = \"sha256:" ZEROS_64 "0\" }", "test.conf:3: ek_hashes", "and 64"},
    {LEAST "node { ek_hashes = \"sha256:A" ZEROS_63 "\" }", "test.conf:3: ek_hashes", "lower-case"},
    {LEAST "node { pcrs = \"0,7\" }", "test.conf:3: pcrs", "sha256"},
    {LEAST "node { pcrs = \"sha256:24\" }", "test.conf:3: pcrs", "24"},
    {LEAST "node { pcrs = \"sha256:7,0\" }", "test.conf:3: pcrs", "."},
    {LEAST "node { pcrs = \"sha256:0\" facts = \"no_such=on\" }", "test.conf:3: facts", "no_such"},
    {LEAST "node { facts = \"secure_boot=on\" }", "test.conf:3: node", "need pcrs"},
    {LEAST "node { facts = \"secure_boot=on\" pcrs = \"sha256:7\" event_log = \"none\" }",
     "test.conf:3: node", "not \"none\""},
    {LEAST "node { event_log = \"log\" }", "test.conf:3: event_log", "nor a path"},
    {LEAST "node { ima = \"yes\" }", "test.conf:3: ima", "\"kernel\""},
    {LEAST "node { resets = \"never\" }", "test.conf:3: resets", "\"deny\""},
    {LEAST "node { ak = \"ec-p384\" }", "test.conf:3: ak", "\"rsa-2048\""},
    {LEAST "node { reattest_interval = \"500ms\" }", "test.conf:3: reattest_interval", "\"1s\""},
    {LEAST "node { reattest_interval = \"8d\" }", "test.conf:3: reattest_interval", "\"7d\""},
    {LEAST "node { on_failure = \"panic\" }", "test.conf:3: on_failure", "\"deny_new\""},
    {LEAST "node { counter = \"0x017fffff\" }", "test.conf:3: counter", "\"0x01800000\""},
    {LEAST "node { counter = \"0x01c00000\" }", "test.conf:3: counter", "\"0x01bfffff\""},
    {LEAST "node { counter = 25182023 }", "test.conf:3: counter", "neither \"none\""},
    {LEAST "node { counter = \"0x0180534x\" }", "test.conf:3: counter", "NV index"},
    {LEAST "\nbaseline \"a\" { pcrs = \"sha256:0=" ZEROS_64 "\" }", "test.conf:4: baseline \"a\"",
     "no block node"},
    {LEAST "node { pcrs = \"sha256:0\" }\nbaseline \"a\" { }", "test.conf:4: baseline \"a\"",
     "pcrs is missing"},
    {LEAST "node { pcrs = \"sha256:0\" } baseline \"a b\" { pcrs = \"sha256:0=" ZEROS_64 "\" }",
     "test.conf:3: baseline", "a b"},
    {LEAST "node { pcrs = \"sha256:0\" }\nbaseline \"a\" { pcrs = \"sha256:0=" ZEROS_63 "\" }",
     "test.conf:4: pcrs", "."},
    {LEAST "node { pcrs = \"sha256:0\" }\n"
           "baseline \"a\" { pcrs = { \"sha256:0=" ZEROS_64 "\", \"sha256:0=" ZEROS_64 "\" } }",
     "test.conf:4: pcrs", "twice"},
    {LEAST "node { pcrs = \"sha256:0,7\" }\nbaseline \"a\" { pcrs = \"sha256:0=" ZEROS_64 "\" }",
     "test.conf:4: baseline \"a\"", "exactly the registers"},
    {LEAST "node { pcrs = \"sha256:0\" }\nbaseline \"a\" { pcrs = \"sha256:0=" ZEROS_64 "\" }\n"
           "baseline \"a\" { pcrs = \"sha256:0=" ZEROS_64 "\" }",
     "test.conf:5: baseline \"a\"", "another baseline"},
    /* Audit, outside policy, metrics. */
    {LEAST "audit { dir = \"log\" }", "test.conf:3: dir", "absolute"},
    {LEAST "audit { dir = \"/var/lib/signet\" }", "test.conf: audit", "folder of its own"},
    {LEAST "audit { dir = \"/run/signet\" }", "test.conf: audit", "folder of its own"},
    {LEAST "run_dir = \"/d/audit\" data_dir = \"/d\"", "test.conf: audit", "folder of its own"},
    {LEAST "audit { on_failure = \"panic\" }", "test.conf:3: on_failure", "\"continue\""},
    {LEAST "audit { file_size = 1000 }", "test.conf:3: file_size", "1048576 to"},
    {LEAST "audit { file_age = \"500ms\" }", "test.conf:3: file_age", "whole seconds"},
    {LEAST "audit { files = -1 }", "test.conf:3: files", "from 0 to"},
    {LEAST "audit { files = 1000001 }", "test.conf:3: files", "from 0 to"},
    {LEAST "\naudit {\nkeystore = \"hsm\" }", "test.conf:4: ", "no block keystore \"hsm\""},
    {LEAST "audit { head_interval = \"0s\" }", "test.conf:3: head_interval", "\"1s\""},
    {LEAST "audit { journald = 1 }", "test.conf:3: journald", "neither"},
    {LEAST "audit { } audit { }", "test.conf:3: audit", "twice"},
    {LEAST "policy { path = \"a\" }", "test.conf:3: policy", "opa is missing"},
    {LEAST "policy { opa = \"unix:///a\" }", "test.conf:3: policy", "path is missing"},
    {LEAST "policy { opa = \"unix://a\" path = \"a\" }", "test.conf:3: policy", "unix:///"},
    {LEAST "policy { opa = \"http://opa:8181\" path = \"a\" }", "test.conf:3: policy", "127.0.0.1"},
    {LEAST "policy { opa = \"https://127.0.0.1:1\" path = \"a\" }", "test.conf:3: policy", "http:"},
    {LEAST "policy { opa = \"http://127.0.0.1:0\" path = \"a\" }", "test.conf:3: policy", "PORT"},
    {LEAST "policy { opa = \"http://127.0.0.1:1/x\" path = \"a\" }", "test.conf:3: policy", "PORT"},
    {LEAST "policy { opa = \"unix:///a\" path = \"/a\" }", "test.conf:3: policy", "separated by"},
    {LEAST "policy { opa = \"unix:///a\" path = \"a/../b\" }", "test.conf:3: policy", "separated"},
    {LEAST "policy { timeout = \"9ms\" }", "test.conf:3: timeout", "from \"10ms\" to \"10s\""},
    {LEAST "policy { cache = \"61s\" }", "test.conf:3: cache", "to \"1m\""},
    {LEAST "policy { cache = 5 }", "test.conf:3: cache", "a unit"},
    {LEAST "policy { continue_for = \"x\" }", "test.conf:3: continue_for", "spiffe://"},
    {LEAST "policy { opa = \"unix:///a\" path = \"a\" continue_for = \"spiffe://b/c\" }",
     "test.conf:3: policy: continue_for", "would never apply"},
    {LEAST "metrics { }", "test.conf:3: metrics", "listen is missing"},
    {LEAST "metrics { listen = \"0.0.0.0:9464\" }", "test.conf:3: listen", "127.0.0.1"},
    {LEAST "recheck_interval = \"0s\"", "test.conf:3: recheck_interval", "from \"1s\" to \"1h\""},
};

static void refusals(void **state)
{
    unsigned wrong = 0;
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
        struct config *config = NULL;
        struct error err = {0};
        int result = parse(refused[i].text, &config, &err);
        if (result == 0 || err.code == ERROR_OK ||
            strncmp(err.text, refused[i].place, strlen(refused[i].place)) != 0 ||
            !strstr(err.text, refused[i].words)) {
            print_error("%s\n%s: %s\nexpected %s ... %s\n", refused[i].text,
                        result == 0 ? "accepted" : "refused", err.text, refused[i].place,
                        refused[i].words);
            wrong++;
        }
        assert_null(config);
    }
    assert_int_equal(wrong, 0);
}

/* Whatever stands where a PIN belongs, 7531 is never repeated. */
static void pin_stays_secret(void **state)
{
    (void)state;
    static const char *const pins[] = {
        "pin = \"7531\"",
        "pin = 7531",
        "pin = 'file:7531'",
        "pin = \"credential:/7531\"",
        "pin = \"x\" \"7531\"",
        "pin = \"file:/x\" \"7531\"",
        "pin = \"file:/x\" 7531",
        "pin = \"file:/x\" seven7531",
        "pin = { \"7531\" }",
        "pin = = 7531",
        "pin \"7531\"",
        "pin = \"7531",
        "pin = {7531, \"x\"}",
        "pin = \"file:/x\" 7531 = 1",
        "pin = \"credential:7531\"",
        "pin = \"tpm-sealed:7531\"",
        "pin = \"tpm-sealed:/x/../7531\"",
    };
    for (size_t i = 0; i < ARRAY_SIZE(pins); i++) {
        struct config *config = NULL;
        struct error err = {0};
        _cleanup_(free_cleanup) char *text =
            text_format("%skeystore \"hsm\" { type = \"pkcs11\" %s }", LEAST, pins[i]);
        assert_int_equal(parse(text, &config, &err), -1);
        if (strstr(err.text, "7531") || strncmp(err.text, "test.conf:3: ", 13) != 0) {
            fail_msg("%s: %s", pins[i], err.text);
        }
    }
    struct config *config = NULL;
    struct error err = {0};
    assert_int_equal(parse(LEAST "keystore \"hsm\" { token = "
                                 "\"pkcs11:token=a?pin-value=7531\" }",
                           &config, &err),
                     -1);
    assert_null(strstr(err.text, "7531"));
    assert_non_null(strstr(err.text, "pin-value"));
    assert_int_equal(parse(LEAST HSM "pin = \"7531\" }", &config, &err), -1);
    assert_non_null(strstr(err.text, "give \"file:PATH\""));
}

static void pin_of_systemd(void **state)
{
    (void)state;
    assert_int_equal(setenv("CREDENTIALS_DIRECTORY", "/run/credentials/signetd.service", 1), 0);
    _cleanup_(config_free_cleanup) struct config *config =
        accepted(LEAST HSM "pin = \"credential:hsm.pin\" }");
    assert_string_equal(config->keystores[1].pin.path, "/run/credentials/signetd.service/hsm.pin");
    assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
}

static void pin_sealed_to_the_tpm(void **state)
{
    (void)state;
    _cleanup_(config_free_cleanup) struct config *config =
        accepted(LEAST HSM "pin = \"tpm-sealed:/etc/hsm.sealed\" }");
    assert_int_equal(config->keystores[1].pin.kind, PIN_TPM_SEALED);
    assert_string_equal(config->keystores[1].pin.path, "/etc/hsm.sealed");
}

static void same_answer_after_any_error(void **state)
{
    (void)state;
    /* libconfuse keeps the state of its scanner from one text to the next. */
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
        struct config *config = NULL;
        (void)parse(refused[i].text, &config, NULL);
        config = accepted(LEAST);
        config_free(config);
    }
}

static void ten_thousand_entries(void **state)
{
    (void)state;
    _cleanup_(buffer_clear) struct buffer text = {0};
    buffer_append_text(&text, LEAST);
    for (unsigned i = 0; i < 10000; i++) {
        char entry[200];
        (void)snprintf(entry, sizeof(entry),
                       "entry \"spiffe://example.org/service/%u\" {\n    selectors = { "
                       "\"unix:uid:%u\", \"unix:path:/usr/bin/service\" }\n}\n",
                       i % 5000, i);
        buffer_append_text(&text, entry);
    }
    struct config *config = NULL;
    struct error err = {0};
    uint64_t start_ms = clock_monotonic_ms();
    assert_int_equal(config_parse(buffer_bytes(&text), "many", &config, &err), 0);
    uint64_t taken_ms = clock_monotonic_ms() - start_ms;
    assert_int_equal(config->entry_count, 10000);
    assert_string_equal(config->entries[9999]->selectors.items[1], "unix:uid:9999");
    config_free(config);
    print_message("10,000 entries, %zu bytes: %u ms\n", text.size, (unsigned)taken_ms);
    /* Far from what it takes, even under a sanitizer, but also from what squares take. */
    assert_true(taken_ms < 10000);
}

/* Texts between which a line of the configuration is put, and the warnings that it leads to. */
static void warnings(void **state)
{
    (void)state;
    static const struct {
        const char *text, *warning;
    } cases[] = {
        {"rule \"spiffe://example.org/a\" { } rule \"*\" { }", NULL},
        {"rule \"*\" { }\nrule \"spiffe://example.org/a\" { }",
         "test.conf:5: rule \"spiffe://example.org/a\" is never used: the rule in line 4 matches "
         "all "
         "that it does; put this one before it, or take it out"},
        {"rule \"spiffe://example.org/*\" { }\nrule \"spiffe://example.org/b/*\" { }",
         "test.conf:5: rule \"spiffe://example.org/b/*\" is never used: the rule in line 4 matches "
         "all "
         "that it does; put this one before it, or take it out"},
        {"rule \"spiffe://example.org/c\" { }", "test.conf:4: rule \"spiffe://example.org/c\" "
                                                "matches no entry of this file; it counts only "
                                                "for entries that signet entry add makes"},
        {"rule \"spiffe://example.org/a/*\" { }", "test.conf:4: rule \"spiffe://example.org/a/*\" "
                                                  "matches no entry of this file; it counts only "
                                                  "for entries that signet entry add makes"},
        {"rule \"spiffe://example.org/b/*\" { }", NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(free_cleanup) char *text = text_format(
            LEAST "entry \"spiffe://example.org/a\" { selectors = \"unix:uid:1\" } entry "
                  "\"spiffe://example.org/b/c\" { selectors = \"unix:uid:1\" }\n%s\n",
            cases[i].text);
        _cleanup_(config_free_cleanup) struct config *config = accepted(text);
        assert_int_equal(config->warnings.count, cases[i].warning ? 1 : 0);
        if (cases[i].warning) {
            assert_string_equal(config->warnings.items[0], cases[i].warning);
        }
    }
    /* Without entries in the file all of them come from elsewhere. */
    _cleanup_(config_free_cleanup) struct config *config =
        accepted(LEAST "rule \"spiffe://example.org/c\" { }");
    assert_int_equal(config->warnings.count, 0);
}

static void ten_thousand_rules(void **state)
{
    (void)state;
    _cleanup_(buffer_clear) struct buffer text = {0};
    buffer_append_text(&text, LEAST "entry \"spiffe://example.org/a\" { selectors = \"unix:uid:1\" "
                                    "}\nrule \"spiffe://example.org/0/*\" { }\n");
    for (unsigned i = 0; i < 10000; i++) {
        _cleanup_(free_cleanup) char *rule =
            text_format("rule \"spiffe://example.org/0/%u\" { hours = \"Mon-Fri 08:00-18:00\" "
                        "sign_rate = 5 }\n",
                        i);
        buffer_append_text(&text, rule);
    }
    struct config *config = NULL;
    struct error err = {0};
    uint64_t start_ms = clock_monotonic_ms();
    if (config_parse(buffer_bytes(&text), "many", &config, &err) < 0) {
        fail_msg("%s", err.text);
    }
    uint64_t taken_ms = clock_monotonic_ms() - start_ms;
    assert_int_equal(config->rules.count, 10001);
    /* So many are told, and that there are more. */
    assert_int_equal(config->warnings.count, 101);
    assert_non_null(strstr(config->warnings.items[99], "many:104: rule"));
    config_free(config);
    print_message("10,000 rules, %zu bytes: %u ms\n", text.size, (unsigned)taken_ms);
    assert_true(taken_ms < 10000);
}

static void bounds(void **state)
{
    (void)state;
    struct config *config = NULL;
    struct error err = {0};
    _cleanup_(buffer_clear) struct buffer text = {0};
    buffer_append_text(&text, LEAST);
    for (unsigned i = 0; i < 16385; i++) {
        char rule[100];
        (void)snprintf(rule, sizeof(rule), "rule \"spiffe://example.org/%u\" { }\n", i);
        buffer_append_text(&text, rule);
    }
    assert_int_equal(config_parse(buffer_bytes(&text), "many", &config, &err), -1);
    assert_non_null(strstr(err.text, "many:16387: "));
    assert_non_null(strstr(err.text, "more than 16384 rules"));
    buffer_reset(&text);
    buffer_append_text(&text,
                       LEAST "entry \"spiffe://example.org/a\" { selectors = { \"unix:uid:0\"");
    for (unsigned i = 0; i < 128; i++) {
        buffer_append_text(&text, ", \"unix:uid:1\"");
    }
    buffer_append_text(&text, " } }");
    assert_int_equal(config_parse(buffer_bytes(&text), "many", &config, &err), -1);
    assert_non_null(strstr(err.text, "more than 128"));
}

/* A file of the source tree, by its path from its root. */
static void read_source(const char *path, struct buffer *ret_text)
{
    struct error err = {0};
    const char *end = strstr(__FILE__, "tests/unit/agent/config_test.c");
    assert_non_null(end);
    _cleanup_(free_cleanup) char *whole =
        text_format("%.*s%s", (int)(end - __FILE__), __FILE__, path);
    if (buffer_read_file(whole, CONFIG_MAX_BYTES, ret_text, &err) < 0) {
        fail_msg("%s", err.text);
    }
    buffer_append_u8(ret_text, 0);
}

static void example_is_right(void **state)
{
    (void)state;
    _cleanup_(buffer_clear) struct buffer text = {0};
    read_source("docs/examples/signetd.conf", &text);
    _cleanup_(config_free_cleanup) struct config *config = accepted((const char *)text.data);
    assert_int_equal(config->entry_count, 2);
    assert_int_equal(config->rules.count, 3);
    assert_int_equal(config->warnings.count, 0);
}

static void every_key_is_documented(void **state)
{
    (void)state;
    _cleanup_(buffer_clear) struct buffer page = {0}, example = {0};
    read_source("docs/man/signetd.conf.5", &page);
    read_source("docs/examples/signetd.conf", &example);
    for (size_t i = 0; i < config_block_count; i++) {
        const struct config_block *block = &config_blocks[i];
        _cleanup_(free_cleanup) char *heading = text_format(".Ss Block %s", block->name);
        const char *start = strstr((const char *)page.data, i == 0 ? ".Ss Keys outside" : heading);
        assert_non_null(start);
        const char *end = strstr(start, "\n.Ss ");
        end = end ? end : strstr(start, "\n.Sh ");
        for (size_t j = 0; j < block->key_count; j++) {
            const char *name = block->keys[j].name;
            _cleanup_(free_cleanup) char *item = text_format(".It Ic %s P", name);
            const char *found = strstr(start, item);
            if (!found || found > end || !strstr((const char *)example.data, name)) {
                fail_msg("%s in %s is not documented", name, block->name);
            }
        }
    }
}

static void files(void **state)
{
    (void)state;
    char folder[] = "/tmp/config_test.XXXXXX";
    struct config *config = NULL;
    struct error err = {0};
    assert_non_null(mkdtemp(folder));
    _cleanup_(free_cleanup) char *path = file_join(folder, "signetd.conf");
    assert_int_equal(config_read(path, &config, &err), -1);
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    assert_non_null(strstr(err.text, path));
    assert_int_equal(config_read(folder, &config, &err), -1);
    assert_non_null(strstr(err.text, "not a regular file"));
    assert_int_equal(file_write_atomic(path, bytes_of_text(LEAST), 0644, &err), 0);
    assert_int_equal(config_read(path, &config, &err), 0);
    assert_string_equal(config->path, path);
    config_free(config);
    assert_int_equal(chmod(path, 0666), 0);
    assert_int_equal(config_read(path, &config, &err), -1);
    assert_non_null(strstr(err.text, "chmod go-w"));
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(truncate(path, CONFIG_MAX_BYTES + 1), 0);
    assert_int_equal(config_read(path, &config, &err), -1);
    assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_node),
        cmocka_unit_test(who_requires_what_never_comes_is_told),
        cmocka_unit_test(defaults),
        cmocka_unit_test(every_key),
        cmocka_unit_test(every_key_of_a_rule),
        cmocka_unit_test(every_key_of_the_blocks_for_control),
        cmocka_unit_test(rules_share_their_hours),
        cmocka_unit_test(warnings),
        cmocka_unit_test(ten_thousand_rules),
        cmocka_unit_test(refusals),
        cmocka_unit_test(pin_stays_secret),
        cmocka_unit_test(pin_of_systemd),
        cmocka_unit_test(pin_sealed_to_the_tpm),
        cmocka_unit_test(same_answer_after_any_error),
        cmocka_unit_test(ten_thousand_entries),
        cmocka_unit_test(bounds),
        cmocka_unit_test(example_is_right),
        cmocka_unit_test(every_key_is_documented),
        cmocka_unit_test(files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
