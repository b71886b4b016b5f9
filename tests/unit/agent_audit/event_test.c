/* The bodies of records: what is in them, in which order, whatever the texts are. */
#include "tests/unit/cmocka_all.h"

#include <jansson.h>
#include <sodium.h>
#include <string.h>
#include <time.h>

#include "agent/audit/body.h"
#include "agent/audit/event.h"
#include "agent/audit/sentence.h"
#include "audit/record.h"
#include "lib/base/memory.h"

/* Parses the body as the record will have it. */
static json_t *parse_body(const struct buffer *body)
{
    struct buffer text = {0};
    json_error_t why;
    assert_true(body->size < AUDIT_RECORD_MAX_BYTES - AUDIT_BODY_OVERHEAD_BYTES);
    assert_null(memchr(body->data, '\n', body->size));
    buffer_append_text(&text, "{");
    buffer_append(&text, body->data, body->size);
    buffer_append_text(&text, "}");
    json_t *root = json_loadb((const char *)text.data, text.size, JSON_REJECT_DUPLICATES, &why);
    if (!root) {
        fail_msg("%s at %d: %.*s", why.text, why.position, (int)text.size, (char *)text.data);
    }
    buffer_clear(&text);
    return root;
}

static json_t *body_of(const struct audit_event *event)
{
    struct buffer body = {0};
    audit_event_body(event, &body);
    json_t *root = parse_body(&body);
    buffer_clear(&body);
    return root;
}

static const char *text_of(const json_t *root, const char *name)
{
    return json_string_value(json_object_get(root, name));
}

static void assert_names(const json_t *root, const char *const *names, size_t count)
{
    size_t at = 0;
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)root, name, value)
    {
        assert_true(at < count);
        assert_string_equal(name, names[at++]);
    }
    assert_int_equal(at, count);
}

static char *selector_items[] = {(char *)"unix:uid:1000", (char *)"unix:path:/usr/bin/\"pay\""};
static const struct text_list selectors = {selector_items, 2};
static char *audience_items[] = {(char *)"https://bank.example"};
static const struct text_list audience = {audience_items, 1};

static const struct audit_process process = {
    .pid = 4711,
    .uid = 1000,
    .gid = 4294967294,
    .start_time = 123456789012,
    .started_at_ms = 951782400001,
    .executable = "/usr/bin/pay",
    .sha256 = "00ff",
    .container_id = "c0ffee",
    .unit = "pay.service",
    .selectors = &selectors,
};
static const struct audit_credential credential = {
    .kind = "x509-svid",
    .serial = "0a0b",
    .fingerprint = "f1f2",
    .key_id = "aabb",
    .protection = "hardware",
    .expires_at_s = 4102444799,
};
static const struct audit_event full = {
    .action = AUDIT_USED,
    .spiffe_id = "spiffe://example.org/pay",
    .process = &process,
    .asked = "sign",
    .audience = &audience,
    .decider = AUDIT_DECIDER_RULE,
    .decider_id = "spiffe://example.org/*",
    .reason = "it may",
    .credential = &credential,
    .count = 17,
    .time_ms = 1700000000123,
    .first_ms = 1700000000000,
    .detail = "twice a \"day\"",
};

static void all_members_come_in_their_order(void **state)
{
    static const char *const names[] = {"@timestamp",
                                        "ecs.version",
                                        "event.kind",
                                        "event.dataset",
                                        "event.action",
                                        "event.outcome",
                                        "event.start",
                                        "message",
                                        "event.reason",
                                        "host.name",
                                        "process.pid",
                                        "process.start",
                                        "process.executable",
                                        "process.hash.sha256",
                                        "user.id",
                                        "group.id",
                                        "container.id",
                                        "systemd.unit",
                                        "signet.process.start_time",
                                        "signet.process.selectors",
                                        "signet.spiffe_id",
                                        "signet.asked",
                                        "signet.audience",
                                        "signet.decision.by",
                                        "signet.decision.id",
                                        "signet.credential.kind",
                                        "x509.serial_number",
                                        "signet.credential.fingerprint",
                                        "signet.key.id",
                                        "signet.key.protection",
                                        "signet.credential.expires",
                                        "signet.count",
                                        "signet.detail"};
    static const struct {
        const char *name, *value;
    } texts[] = {
        {"@timestamp", "2023-11-14T22:13:20.123Z"},
        {"ecs.version", "8.11"},
        {"event.kind", "event"},
        {"event.dataset", "signet.audit"},
        {"event.action", "used"},
        {"event.outcome", "success"},
        {"event.start", "2023-11-14T22:13:20.000Z"},
        {"message", "process 4711 (/usr/bin/pay) signed as spiffe://example.org/pay, 17 times, "
                    "asked for sign, decided by rule spiffe://example.org/*: it may"},
        {"event.reason", "it may"},
        {"process.start", "2000-02-29T00:00:00.001Z"},
        {"process.executable", "/usr/bin/pay"},
        {"process.hash.sha256", "00ff"},
        {"user.id", "1000"},
        {"group.id", "4294967294"},
        {"container.id", "c0ffee"},
        {"systemd.unit", "pay.service"},
        {"signet.spiffe_id", "spiffe://example.org/pay"},
        {"signet.asked", "sign"},
        {"signet.decision.by", "rule"},
        {"signet.decision.id", "spiffe://example.org/*"},
        {"signet.credential.kind", "x509-svid"},
        {"x509.serial_number", "0a0b"},
        {"signet.credential.fingerprint", "f1f2"},
        {"signet.key.id", "aabb"},
        {"signet.key.protection", "hardware"},
        {"signet.credential.expires", "2099-12-31T23:59:59Z"},
        {"signet.detail", "twice a \"day\""},
    };
    (void)state;
    json_t *root = body_of(&full);
    assert_names(root, names, ARRAY_SIZE(names));
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        assert_non_null(text_of(root, texts[i].name));
        assert_string_equal(text_of(root, texts[i].name), texts[i].value);
    }
    assert_int_equal(json_integer_value(json_object_get(root, "process.pid")), 4711);
    assert_int_equal(json_integer_value(json_object_get(root, "signet.process.start_time")),
                     123456789012);
    assert_int_equal(json_integer_value(json_object_get(root, "signet.count")), 17);
    const json_t *list = json_object_get(root, "signet.process.selectors");
    assert_int_equal(json_array_size(list), 2);
    assert_string_equal(json_string_value(json_array_get(list, 1)), selector_items[1]);
    json_decref(root);
}

static void what_is_not_known_is_left_out(void **state)
{
    static const char *const names[] = {"@timestamp",
                                        "ecs.version",
                                        "event.kind",
                                        "event.dataset",
                                        "event.action",
                                        "event.outcome",
                                        "message",
                                        "host.name",
                                        "process.pid",
                                        "user.id",
                                        "group.id",
                                        "signet.process.start_time",
                                        "signet.credential.kind",
                                        "signet.credential.jti"};
    const struct audit_process bare = {.pid = 1};
    const struct audit_credential token = {.kind = "jwt-svid", .serial = "j1"};
    const struct audit_event event = {.action = AUDIT_DENIED,
                                      .is_failure = true,
                                      .process = &bare,
                                      .credential = &token,
                                      .count = 1};
    (void)state;
    json_t *root = body_of(&event);
    assert_names(root, names, ARRAY_SIZE(names));
    assert_string_equal(text_of(root, "signet.credential.jti"), "j1");
    assert_string_equal(text_of(root, "event.outcome"), "failure");
    assert_string_equal(text_of(root, "message"), "an identity was refused to process 1");
    json_decref(root);
}

static void texts_come_out_as_printable_utf8(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"", ""},
        {"plain /text {}[]:,", "plain /text {}[]:,"},
        {"\"\\", "\"\\"},
        {"a\nb\tc\r\x01\x1f\x7f", "a?b?c????"},
        {"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x94\x91",
         "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x94\x91"},
        {"\xc3", "?"},                /* cut */
        {"\xe2\x82", "??"},           /* cut */
        {"\xc0\x80", "??"},           /* NUL, too long */
        {"\xe0\x80\xaf", "???"},      /* too long */
        {"\xed\xa0\x80", "???"},      /* surrogate */
        {"\xf4\x90\x80\x80", "????"}, /* beyond Unicode */
        {"\xff\xfe\x80", "???"},      /* never UTF-8 */
        {"\xc2\x85\xc2\x9f", "????"}, /* C1 controls */
        {"\xe2\x80\xae"
         "evil",
         "???evil"},             /* right to left */
        {"\xe2\x80\xa8", "???"}, /* line separator */
        {"\xef\xbb\xbf", "???"}, /* byte order mark */
        {"\xef\xbf\xbf", "???"}, /* no character */
        {"\xc3\"\\\xc3", "?\"\\?"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct audit_event event = {.action = AUDIT_STOPPED, .detail = cases[i].in};
        json_t *root = body_of(&event);
        assert_string_equal(text_of(root, "signet.detail"), cases[i].out);
        json_decref(root);
    }
}

static void times_are_right_at_the_edges(void **state)
{
    static const struct {
        int64_t ms;
        const char *text;
    } cases[] = {{1, "1970-01-01T00:00:00.001Z"},
                 {-5, "1970-01-01T00:00:00.000Z"},
                 {951868799999, "2000-02-29T23:59:59.999Z"},
                 {951868800000, "2000-03-01T00:00:00.000Z"},
                 {1709164800000, "2024-02-29T00:00:00.000Z"},
                 {4107542399999, "2100-02-28T23:59:59.999Z"},
                 {4107542400000, "2100-03-01T00:00:00.000Z"},
                 {253402300799999, "9999-12-31T23:59:59.999Z"},
                 {INT64_MAX, "9999-12-31T23:59:59.999Z"},
                 {INT64_MIN, "1970-01-01T00:00:00.000Z"}};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct audit_event event = {.action = AUDIT_STOPPED, .time_ms = cases[i].ms};
        json_t *root = body_of(&event);
        assert_string_equal(text_of(root, "@timestamp"), cases[i].text);
        json_decref(root);
    }
    const struct audit_credential odd[] = {{.kind = "key", .expires_at_s = INT64_MAX},
                                           {.kind = "key", .expires_at_s = INT64_MIN}};
    for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
        const struct audit_event event = {.action = AUDIT_ISSUED, .credential = &odd[i]};
        json_t *root = body_of(&event);
        assert_string_equal(text_of(root, "signet.credential.expires"),
                            i ? "1970-01-01T00:00:00Z" : "9999-12-31T23:59:59Z");
        json_decref(root);
    }
}

/* Every day of four hundred years against the C library. */
static void each_day_is_that_of_the_calendar(void **state)
{
    (void)state;
    for (int64_t day = 0; day < 146097 + 400; day += 1 + day % 3) {
        time_t seconds = (time_t)(day * 86400 + 3661);
        struct tm utc;
        char text[32];
        struct buffer body = {0};
        const struct audit_event event = {.action = AUDIT_STOPPED, .time_ms = seconds * 1000};
        audit_event_body(&event, &body);
        assert_non_null(gmtime_r(&seconds, &utc));
        (void)strftime(text, sizeof(text), "\"%Y-%m-%dT%H:%M:%S.000Z\"", &utc);
        assert_memory_equal(body.data + strlen("\"@timestamp\":"), text, strlen(text));
        buffer_clear(&body);
    }
}

/* A record is never too long, and says what it left out. */
static void long_ones_are_cut(void **state)
{
    enum { LONG = 100000 };
    static const char *const fills[] = {"\"", "a", "\xe2\x82\xac", "\xff", "\n"};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(fills); i++) {
        size_t size = strlen(fills[i]);
        char *text = memory_new(LONG + 8);
        for (size_t at = 0; at + size <= LONG; at += size) {
            memcpy(text + at, fills[i], size);
        }
        struct text_list list = {0};
        for (size_t j = 0; j < 2000; j++) {
            text_list_add(&list, "unix:supplementary-group:12345");
        }
        const struct audit_process huge = {.pid = INT32_MAX,
                                           .uid = UINT32_MAX,
                                           .gid = UINT32_MAX,
                                           .start_time = UINT64_MAX,
                                           .started_at_ms = INT64_MAX,
                                           .executable = text,
                                           .sha256 = text,
                                           .container_id = text,
                                           .unit = text,
                                           .selectors = &list};
        const struct audit_credential of_it = {text, text, text, text, text, INT64_MAX};
        struct audit_event event = full;
        event.process = &huge;
        event.credential = &of_it;
        event.spiffe_id = event.asked = event.decider_id = event.reason = event.detail = text;
        event.audience = &list;
        event.count = UINT64_MAX;
        json_t *root = body_of(&event);
        assert_true(json_is_true(json_object_get(root, "signet.truncated")));
        size_t kept = json_array_size(json_object_get(root, "signet.process.selectors"));
        assert_true(kept > 100 && kept < 2000);
        json_decref(root);
        text_list_clear(&list);
        free(text);
    }
    json_t *root = body_of(&full);
    assert_null(json_object_get(root, "signet.truncated"));
    json_decref(root);
}

/* Texts of random bytes: the record is JSON whatever they are, and what is plain stays. */
static void random_texts_make_json(void **state)
{
    enum { ROUNDS = 20000, TEXT_MAX = 600 };
    static const char seed[randombytes_SEEDBYTES] = "agent audit event";
    uint8_t *bytes = memory_new((size_t)TEXT_MAX * 4);
    (void)state;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        unsigned char round_seed[randombytes_SEEDBYTES];
        (void)memcpy(round_seed, seed, sizeof(seed));
        (void)memcpy(round_seed + 20, &round, sizeof(round));
        randombytes_buf_deterministic(bytes, (size_t)TEXT_MAX * 4, round_seed);
        char texts[3][TEXT_MAX + 1];
        for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
            size_t size = (size_t)(bytes[i * 2] | bytes[i * 2 + 1] << 8) % TEXT_MAX;
            const uint8_t *from = bytes + 16 + i * TEXT_MAX;
            for (size_t j = 0; j < size; j++) {
                /* Half of the rounds mostly text, so that bad bytes stand among good ones. */
                bool is_text = round % 2 && from[j] % 8;
                texts[i][j] = (char)(is_text ? 0x20 + from[j] % 0x5f : MAX(from[j], 1));
            }
            texts[i][size] = '\0';
        }
        char *items[] = {texts[0], texts[1], texts[2]};
        const struct text_list list = {items, round % 4};
        const struct audit_process odd = {
            .pid = 1, .executable = texts[0], .selectors = &list, .unit = texts[2]};
        const struct audit_event event = {.action = (enum audit_action)(round % AUDIT_ACTION_COUNT),
                                          .is_failure = round % 3 == 0,
                                          .process = round % 5 ? &odd : NULL,
                                          .spiffe_id = texts[1],
                                          .reason = texts[2],
                                          .decider = AUDIT_DECIDER_LOCK,
                                          .decider_id = texts[0],
                                          .detail = texts[1]};
        json_t *root = body_of(&event);
        const char *detail = text_of(root, "signet.detail");
        assert_true(strlen(detail) <= strlen(texts[1]));
        for (size_t j = 0; round % 2 && j < strlen(texts[1]) && (uint8_t)texts[1][j] < 0x80; j++) {
            bool is_shown = texts[1][j] >= 0x20 && texts[1][j] < 0x7f;
            assert_int_equal(detail[j], is_shown ? texts[1][j] : '?');
        }
        json_decref(root);
    }
    free(bytes);
}

static void each_action_has_name_and_sentence(void **state)
{
    (void)state;
    for (int i = 0; i < AUDIT_ACTION_COUNT * 2; i++) {
        const struct audit_event event = {.action = (enum audit_action)(i / 2),
                                          .is_failure = i % 2 != 0,
                                          .spiffe_id = "spiffe://example.org/a",
                                          .detail = "d"};
        char sentence[AUDIT_SENTENCE_BYTES];
        assert_non_null(audit_action_name(event.action));
        audit_sentence(&event, sentence);
        assert_true(strlen(sentence) > 10);
        for (int j = 0; j < i / 2; j++) {
            assert_string_not_equal(audit_action_name(event.action),
                                    audit_action_name((enum audit_action)j));
        }
    }
    for (int i = AUDIT_DECIDER_NONE; i <= AUDIT_DECIDER_ADMIN; i++) {
        assert_non_null(audit_decider_name((enum audit_decider)i));
    }
}

static void a_notice_is_a_record_too(void **state)
{
    struct buffer body = {0};
    const struct audit_notice notice = {
        .is_failure = true, .message = "lost\n", .count = 3, .first_ms = 1000, .last_ms = 2000};
    (void)state;
    audit_notice_body(&notice, &body);
    json_t *root = parse_body(&body);
    assert_string_equal(text_of(root, "event.action"), "audit-log");
    assert_string_equal(text_of(root, "message"), "lost?");
    assert_string_equal(text_of(root, "event.start"), "1970-01-01T00:00:01.000Z");
    assert_string_equal(text_of(root, "@timestamp"), "1970-01-01T00:00:02.000Z");
    assert_int_equal(json_integer_value(json_object_get(root, "signet.count")), 3);
    json_decref(root);
    buffer_clear(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_members_come_in_their_order),
        cmocka_unit_test(what_is_not_known_is_left_out),
        cmocka_unit_test(texts_come_out_as_printable_utf8),
        cmocka_unit_test(times_are_right_at_the_edges),
        cmocka_unit_test(each_day_is_that_of_the_calendar),
        cmocka_unit_test(long_ones_are_cut),
        cmocka_unit_test(random_texts_make_json),
        cmocka_unit_test(each_action_has_name_and_sentence),
        cmocka_unit_test(a_notice_is_a_record_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
