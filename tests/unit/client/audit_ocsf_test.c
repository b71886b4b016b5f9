/* Every event has what OCSF 1.3 requires of its class. */
#include "tests/unit/cmocka_all.h"

#include <string.h>

#include "client/audit_ocsf.h"
#include "lib/base/memory.h"
#include "lib/base/text.h"

#define COMMON                                                                                     \
    "\"event.sequence\":7,\"@timestamp\":\"2026-11-21T10:00:00.123Z\",\"message\":\"m\","          \
    "\"host.name\":\"h\",\"signet.chain\":\"ab\","
#define PROCESS                                                                                    \
    "\"process.pid\":4711,\"process.executable\":\"/usr/bin/pay\",\"process.hash.sha256\":"        \
    "\"e3\",\"user.id\":\"1000\",\"container.id\":\"c0\",\"systemd.unit\":\"pay.service\","
#define CREDENTIAL                                                                                 \
    "\"signet.credential.kind\":\"x509-svid\",\"x509.serial_number\":\"a1\","                      \
    "\"signet.credential.fingerprint\":\"f1\",\"signet.key.id\":\"k1\","                           \
    "\"signet.credential.expires\":\"2026-11-21T11:00:00Z\","
#define ID "\"signet.spiffe_id\":\"spiffe://example.org/pay\""

static const struct {
    const char *action, *rest;
    int class_uid, activity;
} cases[] = {
    {"identified", PROCESS CREDENTIAL ID, 3002, 1},
    {"denied", PROCESS "\"event.outcome\":\"failure\"," ID, 3002, 1},
    {"denied", PROCESS "\"event.outcome\":\"failure\",\"signet.asked\":\"sign\"," ID, 6003, 99},
    {"withdrawn", PROCESS ID, 3002, 2},
    {"node-attested", "\"signet.detail\":\"d\"", 3002, 1},
    {"node-not-attested", "\"event.outcome\":\"failure\"", 3002, 1},
    {"issued", CREDENTIAL ID, 6003, 1},
    {"renewed", CREDENTIAL ID, 6003, 3},
    {"used", PROCESS "\"signet.count\":5,\"event.start\":\"2026-11-21T09:59:00.000Z\"," ID, 6003,
     99},
    {"locked", PROCESS ID, 3001, 9},
    {"unlocked", PROCESS "\"signet.detail\":\"node\"", 3001, 2},
    {"entry-set", PROCESS ID, 3004, 1},
    {"entry-removed", PROCESS ID, 3004, 4},
    {"rules-changed", "\"signet.detail\":\"2 rules\"", 3004, 3},
    {"keystore-lost", "\"signet.detail\":\"hsm\"", 6002, 7},
    {"keystore-back", "\"signet.detail\":\"hsm\"", 6002, 6},
    {"started", "\"signet.detail\":\"0.1\"", 6002, 3},
    {"stopped", "\"signet.detail\":\"0.1\"", 6002, 4},
    {"audit-log", "\"signet.count\":3", 6002, 99},
};

static const struct {
    int class_uid;
    const char *required[4];
} classes[] = {
    {3001, {"user", "actor"}},
    {3002, {"user", "service"}},
    {3004, {"entity"}},
    {6002, {"app"}},
    {6003, {"actor", "api", "src_endpoint"}},
};

static json_t *make(size_t i)
{
    _cleanup_(free_cleanup) char *text =
        text_format("{" COMMON "\"event.action\":\"%s\",%s}", cases[i].action, cases[i].rest);
    json_t *record = json_loads(text, 0, NULL);
    assert_non_null(record);
    json_t *event = audit_ocsf(record);
    assert_non_null(event);
    json_decref(record);
    return event;
}

static json_int_t number(const json_t *event, const char *name)
{
    assert_true(json_is_integer(json_object_get(event, name)));
    return json_integer_value(json_object_get(event, name));
}

static void events_are_classified(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        json_t *event = make(i);
        assert_int_equal(number(event, "class_uid"), cases[i].class_uid);
        assert_int_equal(number(event, "activity_id"), cases[i].activity);
        assert_int_equal(number(event, "category_uid"), cases[i].class_uid / 1000);
        assert_int_equal(number(event, "type_uid"), cases[i].class_uid * 100 + cases[i].activity);
        assert_int_equal(number(event, "time"), INT64_C(1795255200123));
        assert_in_range(number(event, "severity_id"), 1, 4);
        assert_int_equal(number(event, "status_id"), strstr(cases[i].rest, "failure") ? 2 : 1);
        json_decref(event);
    }
}

static void events_have_what_is_required(void **state)
{
    (void)state;
    static const char *const metadata[] = {"version", "product", "sequence", "uid", "event_code"};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        json_t *event = make(i);
        for (size_t j = 0; j < ARRAY_SIZE(classes); j++) {
            for (size_t k = 0; classes[j].class_uid == cases[i].class_uid &&
                               k < ARRAY_SIZE(classes[j].required) && classes[j].required[k];
                 k++) {
                assert_non_null(json_object_get(event, classes[j].required[k]));
            }
        }
        for (size_t j = 0; j < ARRAY_SIZE(metadata); j++) {
            assert_non_null(json_object_get(json_object_get(event, "metadata"), metadata[j]));
        }
        json_decref(event);
    }
}

static void the_process_and_the_certificate_are_carried(void **state)
{
    (void)state;
    json_t *event = make(0);
    const json_t *process = json_object_get(json_object_get(event, "actor"), "process");
    const json_t *file = json_object_get(process, "file");
    const json_t *certificate = json_object_get(event, "certificate");
    assert_int_equal(number(process, "pid"), 4711);
    assert_string_equal(json_string_value(json_object_get(file, "name")), "pay");
    assert_int_equal(json_array_size(json_object_get(file, "hashes")), 1);
    assert_string_equal(json_string_value(json_object_get(certificate, "serial_number")), "a1");
    assert_string_equal(json_string_value(json_object_get(certificate, "issuer")),
                        "spiffe://example.org");
    assert_int_equal(json_array_size(json_object_get(certificate, "fingerprints")), 1);
    assert_int_equal(number(certificate, "expiration_time"), INT64_C(1795258800000));
    json_decref(event);
}

static void what_is_none_of_these_is_left_out(void **state)
{
    (void)state;
    static const char *const records[] = {
        "{}",
        "{\"event.action\":\"audit-head\"}",
        "{\"event.action\":7}",
        "{\"event.action\":\"other\"}",
    };
    for (size_t i = 0; i < ARRAY_SIZE(records); i++) {
        json_t *record = json_loads(records[i], 0, NULL);
        assert_null(audit_ocsf(record));
        json_decref(record);
    }
}

/* Members of a wrong kind make an event with less in it, no more. */
static void strange_records_are_survived(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(free_cleanup) char *text =
            text_format("{\"event.action\":\"%s\",\"@timestamp\":1,\"signet.spiffe_id\":\"x\","
                        "\"process.pid\":[],\"process.executable\":\"\",\"host.name\":{},"
                        "\"x509.serial_number\":\"\"}",
                        cases[i].action);
        json_t *record = json_loads(text, 0, NULL);
        json_t *event = audit_ocsf(record);
        assert_non_null(event);
        json_decref(event);
        json_decref(record);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_are_classified),
        cmocka_unit_test(events_have_what_is_required),
        cmocka_unit_test(the_process_and_the_certificate_are_carried),
        cmocka_unit_test(what_is_none_of_these_is_left_out),
        cmocka_unit_test(strange_records_are_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
