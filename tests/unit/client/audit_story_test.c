/* What a person reads. */
#include "tests/unit/cmocka_all.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/audit_story.h"
#include "lib/base/macro.h"

#define AT "\"@timestamp\":\"2026-11-21T10:00:00.123Z\","
#define WHO                                                                                        \
    "\"process.pid\":4711,\"process.executable\":\"/usr/bin/pay\",\"user.id\":\"1000\","           \
    "\"systemd.unit\":\"pay.service\","
#define ID "\"signet.spiffe_id\":\"spiffe://example.org/pay\""
#define INDENT "                               "

static void records_are_told_in_words(void **state)
{
    (void)state;
    static const struct {
        const char *record, *story;
    } cases[] = {
        {"{" AT WHO "\"event.action\":\"identified\",\"signet.asked\":\"FetchX509SVID\","
         "\"signet.decision.by\":\"entry\",\"signet.decision.id\":\"6f1c\"," ID "}",
         "2026-11-21 11:00:00.123+01:00  identified        pid 4711 /usr/bin/pay (uid 1000, "
         "pay.service) was given spiffe://example.org/pay\n" INDENT
         "by the entry 6f1c; asked for FetchX509SVID\n"},
        {"{" AT "\"event.action\":\"issued\",\"signet.credential.kind\":\"x509-svid\","
         "\"x509.serial_number\":\"a1b2\",\"signet.key.id\":\"c3\",\"signet.key.protection\":"
         "\"hardware\",\"signet.credential.expires\":\"2026-11-21T11:00:00Z\"," ID "}",
         "2026-11-21 11:00:00.123+01:00  issued            x509-svid a1b2 was issued for "
         "spiffe://example.org/pay\n" INDENT
         "key c3 (hardware); until 2026-11-21 12:00:00.000+01:00\n"},
        {"{" AT WHO "\"event.action\":\"used\",\"signet.count\":12,\"event.start\":"
         "\"2026-11-21T09:59:59.000Z\",\"signet.key.id\":\"c3\"," ID "}",
         "2026-11-21 11:00:00.123+01:00  used              pid 4711 /usr/bin/pay (uid 1000, "
         "pay.service) signed as spiffe://example.org/pay 12 times\n" INDENT
         "key c3; since 2026-11-21 10:59:59.000+01:00\n"},
        {"{" AT WHO "\"event.action\":\"denied\",\"event.outcome\":\"failure\",\"event.reason\":"
         "\"it is locked: stolen laptop\",\"signet.decision.by\":\"lock\",\"signet.decision.id\":"
         "\"77\"," ID "}",
         "2026-11-21 11:00:00.123+01:00  denied            pid 4711 /usr/bin/pay (uid 1000, "
         "pay.service) was refused spiffe://example.org/pay\n" INDENT
         "it is locked: stolen laptop; by the lock 77\n"},
        {"{" AT "\"event.action\":\"denied\",\"process.pid\":1,\"container.id\":"
         "\"0123456789abcdef0123456789abcdef\",\"signet.audience\":[\"db\",\"web\"]," ID "}",
         "2026-11-21 11:00:00.123+01:00  denied            pid 1 (uid unknown, container "
         "0123456789ab) was refused spiffe://example.org/pay\n" INDENT
         "for the audience db, web\n"},
        {"{" AT WHO
         "\"event.action\":\"locked\",\"signet.detail\":\"lock of pid 99\",\"event.reason\":"
         "\"incident 7\"}",
         "2026-11-21 11:00:00.123+01:00  locked            pid 99 was locked by pid 4711 "
         "/usr/bin/pay (uid 1000, pay.service)\n" INDENT "incident 7\n"},
        {"{" AT WHO "\"event.action\":\"entry-set\",\"event.outcome\":\"failure\"," ID "}",
         "2026-11-21 11:00:00.123+01:00  entry-set         FAILED: an entry for "
         "spiffe://example.org/pay was set by pid 4711 /usr/bin/pay (uid 1000, pay.service)\n"},
        {"{" AT "\"event.action\":\"keystore-lost\",\"signet.detail\":\"hsm\"}",
         "2026-11-21 11:00:00.123+01:00  keystore-lost     a keystore was lost\n" INDENT "hsm\n"},
        {"{" AT "\"event.action\":\"brand-new\",\"message\":\"something happened\"}",
         "2026-11-21 11:00:00.123+01:00  brand-new         something happened\n"},
        {"{}", "(no time)                      unknown           something that this version has "
               "no words for\n"},
        {"{\"event.action\":7,\"@timestamp\":[],\"process.pid\":\"x\",\"signet.audience\":{}}",
         "(no time)                      unknown           something that this version has no "
         "words for\n"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(buffer_clear) struct buffer text = {0};
        json_t *record = json_loads(cases[i].record, 0, NULL);
        assert_non_null(record);
        audit_story(record, &text);
        buffer_append_u8(&text, 0);
        assert_string_equal((const char *)text.data, cases[i].story);
        json_decref(record);
    }
}

/* Nothing of a record reaches the terminal as a control character. */
static void stories_are_printable(void **state)
{
    (void)state;
    _cleanup_(buffer_clear) struct buffer text = {0};
    json_t *record = json_loads("{" AT "\"event.action\":\"den\\u001bied\",\"message\":\"a\\nb\","
                                "\"event.reason\":\"\\u001b[2Jx\\u0007\"," ID "}",
                                0, NULL);
    assert_non_null(record);
    audit_story(record, &text);
    size_t lines = 0;
    for (size_t i = 0; i < text.size; i++) {
        lines += text.data[i] == '\n' ? 1 : 0;
        assert_true(text.data[i] >= 0x20 || text.data[i] == '\n');
    }
    assert_int_equal(lines, 2);
    json_decref(record);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_told_in_words),
        cmocka_unit_test(stories_are_printable),
    };
    (void)setenv("TZ", "TEST-1", 1);
    tzset();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
