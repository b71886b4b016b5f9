#include "tests/unit/audit/fixture.h"

static struct audit_head example(EVP_PKEY *key)
{
    struct audit_head head = {.link = {.sequence = 4711}, .reason = AUDIT_HEAD_INTERVAL};
    memset(head.link.hash, 0xab, sizeof(head.link.hash));
    fixture_sign(key, &head);
    return head;
}

static void what_is_signed_is_as_described(void **state)
{
    (void)state;
    static const char start[] = "signet audit head 1\0\0\0\0\0\0\0\x12\x67\xab";
    struct audit_link link = {.sequence = 4711};
    _cleanup_(buffer_clear) struct buffer message = {0};
    memset(link.hash, 0xab, sizeof(link.hash));
    audit_head_message(&link, &message);
    assert_int_equal(message.size, 20 + 8 + 32);
    assert_memory_equal(message.data, start, sizeof(start) - 1);
}

static void heads_read_back(void **state)
{
    struct fixture *fixture = *state;
    static const enum audit_head_reason reasons[] = {AUDIT_HEAD_START, AUDIT_HEAD_INTERVAL,
                                                     AUDIT_HEAD_STOP, AUDIT_HEAD_FILE};
    static const int64_t times_ms[] = {0, 1700000000123, -5, INT64_MAX};
    struct audit_head head = example(fixture->key);
    for (size_t i = 0; i < ARRAY_SIZE(reasons); i++) {
        _cleanup_(buffer_clear) struct buffer body = {0};
        struct audit_head read;
        bool is_head = false;
        head.reason = reasons[i];
        audit_head_body(&head, times_ms[i], &body);
        assert_int_equal(audit_head_parse(buffer_bytes(&body), &is_head, &read, NULL), 0);
        assert_true(is_head);
        assert_int_equal(read.reason, head.reason);
        assert_int_equal(read.link.sequence, head.link.sequence);
        assert_memory_equal(read.link.hash, head.link.hash, AUDIT_HASH_BYTES);
        assert_string_equal(read.key_id, head.key_id);
        assert_memory_equal(read.signature, head.signature, AUDIT_SIGNATURE_BYTES);
    }
}

/* Every byte that is cut off or turned makes another head, or none. */
static void a_damaged_head_is_none(void **state)
{
    struct fixture *fixture = *state;
    struct audit_head head = example(fixture->key);
    struct bytes key = {fixture->public_key, fixture->public_key_size};
    _cleanup_(buffer_clear) struct buffer body = {0};
    audit_head_body(&head, 0, &body);
    for (size_t size = 0; size < body.size; size++) {
        struct audit_head read;
        bool is_head = false;
        int result = audit_head_parse((struct bytes){body.data, size}, &is_head, &read, NULL);
        assert_true(result < 0 || !is_head);
    }
    for (size_t i = body.size / 2; i < body.size; i++) {
        struct audit_head read;
        bool is_head = false;
        body.data[i] ^= 1;
        if (audit_head_parse(buffer_bytes(&body), &is_head, &read, NULL) == 0 && is_head) {
            assert_int_equal(audit_head_verify(&read, key, NULL), -1);
        }
        body.data[i] ^= 1;
    }
}

static void signatures_are_checked(void **state)
{
    struct fixture *fixture = *state;
    struct bytes key = {fixture->public_key, fixture->public_key_size};
    struct audit_head head = example(fixture->key);
    struct error err;
    assert_int_equal(audit_head_verify(&head, key, NULL), 0);

    struct audit_head other = head;
    other.link.sequence++;
    assert_int_equal(audit_head_verify(&other, key, &err), -1);
    assert_int_equal(err.code, ERROR_DATA_LOSS);

    other = head;
    memset(other.signature, 0, sizeof(other.signature));
    assert_int_equal(audit_head_verify(&other, key, &err), -1);
    memset(other.signature, 0xff, sizeof(other.signature));
    assert_int_equal(audit_head_verify(&other, key, &err), -1);
}

static void a_key_is_its_identifier(void **state)
{
    struct fixture *fixture = *state;
    EVP_PKEY *others[] = {fixture_key_new(), EVP_EC_gen("P-384"), EVP_RSA_gen(2048)};
    struct audit_head head = example(fixture->key);
    struct error err;
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        uint8_t *der = NULL;
        int size = i2d_PUBKEY(others[i], &der);
        assert_int_equal(audit_head_verify(&head, (struct bytes){der, (size_t)size}, &err), -1);
        assert_int_equal(err.code, ERROR_DATA_LOSS);
        OPENSSL_free(der);
        EVP_PKEY_free(others[i]);
    }
    assert_int_equal(audit_head_verify(&head, (struct bytes){0}, &err), -1);
    fixture->public_key[fixture->public_key_size] = 0;
    struct bytes longer = {fixture->public_key, fixture->public_key_size + 1};
    assert_int_equal(audit_head_verify(&head, longer, &err), -1);
}

static void events_are_no_heads(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "",
        "\"a\":1",
        "\"@timestamp\":\"2026-11-21T10:00:00.123Z\",\"event.action\":\"used\",\"event.outcome\":"
        "\"success\"",
        "\"@timestamp\":\"2026-11-21T10:00:00.123Z\",\"message\":\"x\",\"event.action\":"
        "\"audit-head\"",
    };
    for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
        struct audit_head head;
        bool is_head = true;
        assert_int_equal(audit_head_parse(bytes_of_text(bodies[i]), &is_head, &head, NULL), 0);
        assert_false(is_head);
    }
}

static int make(void **state)
{
    *state = fixture_new();
    return 0;
}

static int unmake(void **state)
{
    fixture_free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_signed_is_as_described), cmocka_unit_test(heads_read_back),
        cmocka_unit_test(a_damaged_head_is_none),         cmocka_unit_test(signatures_are_checked),
        cmocka_unit_test(a_key_is_its_identifier),        cmocka_unit_test(events_are_no_heads),
    };
    return cmocka_run_group_tests(tests, make, unmake);
}
