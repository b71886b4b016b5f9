#include "audit/head.h"

#include <inttypes.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lib/base/ecdsa.h"
#include "lib/base/memory.h"

DEFINE_CLEANUP(EVP_PKEY, pkey, EVP_PKEY_free);
DEFINE_CLEANUP(EVP_MD_CTX, digest_context, EVP_MD_CTX_free);

#define CONTEXT "signet audit head 1"
#define TIME "\"@timestamp\":\""
#define ACTION                                                                                     \
    "\",\"event.action\":\"audit-head\",\"ecs.version\":\"8.11\",\"event.kind\":\"event\","        \
    "\"event.dataset\":\"signet.audit\""
#define MARK "\",\"event.action\":\"audit-head\""
#define REASON ",\"signet.head.reason\":\""
#define SEQUENCE ",\"signet.head.sequence\":"
#define HASH "\"signet.head.hash\":\""
#define KEY_ID "\",\"signet.head.key_id\":\""
#define SIGNATURE "\",\"signet.head.signature\":\""

enum {
    TIME_BYTES = 24, /* "2026-11-21T10:00:00.000Z" */
    KEY_ID_DIGITS = 40,
    SIGNATURE_TEXT_BYTES = 88, /* base64 of 64 bytes */
};

static const char *const reason_names[] = {
    [AUDIT_HEAD_START] = "start",
    [AUDIT_HEAD_INTERVAL] = "interval",
    [AUDIT_HEAD_STOP] = "stop",
    [AUDIT_HEAD_FILE] = "file",
};

void audit_head_message(const struct audit_link *link, struct buffer *ret_message)
{
    buffer_append(ret_message, CONTEXT, sizeof(CONTEXT)); /* its NUL is the zero byte */
    buffer_append_u64(ret_message, link->sequence);
    buffer_append(ret_message, link->hash, AUDIT_HASH_BYTES);
}

void audit_key_id(struct bytes public_key, char ret_key_id[41])
{
    uint8_t digest[EVP_MAX_MD_SIZE] = {0};
    (void)EVP_Digest(public_key.data, public_key.size, digest, NULL, EVP_sha256(), NULL);
    (void)sodium_bin2hex(ret_key_id, KEY_ID_DIGITS + 1, digest, KEY_ID_DIGITS / 2);
}

/* Always TIME_BYTES long, which reading relies on. */
static void append_time(struct buffer *buffer, int64_t time_ms)
{
    static const int64_t last_ms = INT64_C(253402300799999); /* of the year 9999 */
    char text[64];
    int64_t bounded_ms = MIN(MAX(time_ms, 0), last_ms);
    time_t seconds = (time_t)(bounded_ms / 1000);
    struct tm utc = {0};
    (void)gmtime_r(&seconds, &utc);
    size_t size = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
    (void)snprintf(text + size, sizeof(text) - size, ".%03dZ", (int)(bounded_ms % 1000));
    buffer_append_text(buffer, text);
}

void audit_head_body(const struct audit_head *head, int64_t time_ms, struct buffer *ret_body)
{
    _cleanup_(free_cleanup) char *hash =
        text_hex((struct bytes){head->link.hash, AUDIT_HASH_BYTES});
    _cleanup_(free_cleanup) char *signature =
        text_base64((struct bytes){head->signature, AUDIT_SIGNATURE_BYTES});
    _cleanup_(free_cleanup) char *rest = text_format(
        ACTION REASON "%s\"" SEQUENCE "%" PRIu64 "," HASH "%s" KEY_ID "%s" SIGNATURE "%s\"",
        reason_names[head->reason], head->link.sequence, hash, head->key_id, signature);
    buffer_append_text(ret_body, TIME);
    append_time(ret_body, time_ms);
    buffer_append_text(ret_body, rest);
}

/* Reads the text that has to come next. */
static void expect(struct reader *reader, const char *text)
{
    struct bytes found = reader_bytes(reader, strlen(text));
    reader->is_bad = reader->is_bad || !bytes_is_equal(found, bytes_of_text(text));
}

static void read_reason(struct reader *reader, enum audit_head_reason *ret_reason)
{
    struct bytes name = reader_until(reader, '"');
    for (size_t i = 0; i < ARRAY_SIZE(reason_names); i++) {
        if (bytes_is_equal(name, bytes_of_text(reason_names[i]))) {
            *ret_reason = (enum audit_head_reason)i;
            return;
        }
    }
    reader->is_bad = true;
}

static void read_number(struct reader *reader, uint64_t *ret_number)
{
    char text[24] = "";
    struct bytes digits = reader_until(reader, ',');
    if (digits.size == 0 || digits.size >= sizeof(text)) {
        reader->is_bad = true;
        return;
    }
    memcpy(text, digits.data, digits.size);
    if (text_parse_u64(text, 0, UINT64_MAX, ret_number, NULL) < 0) {
        reader->is_bad = true;
    }
}

static void read_hex(struct reader *reader, uint8_t *ret_bytes, size_t size)
{
    size_t read = 0;
    struct bytes hex = reader_bytes(reader, 2 * size);
    if (sodium_hex2bin(ret_bytes, size, (const char *)hex.data, hex.size, NULL, &read, NULL) != 0 ||
        read != size) {
        reader->is_bad = true;
    }
}

static void read_key_id(struct reader *reader, char ret_key_id[41])
{
    uint8_t id[KEY_ID_DIGITS / 2] = {0};
    read_hex(reader, id, sizeof(id));
    (void)sodium_bin2hex(ret_key_id, KEY_ID_DIGITS + 1, id, sizeof(id));
}

static void read_signature(struct reader *reader, uint8_t ret_signature[AUDIT_SIGNATURE_BYTES])
{
    size_t read = 0;
    struct bytes text = reader_bytes(reader, SIGNATURE_TEXT_BYTES);
    if (sodium_base642bin(ret_signature, AUDIT_SIGNATURE_BYTES, (const char *)text.data, text.size,
                          NULL, &read, NULL, sodium_base64_VARIANT_ORIGINAL) != 0 ||
        read != AUDIT_SIGNATURE_BYTES) {
        reader->is_bad = true;
    }
}

static bool is_head(struct bytes body)
{
    enum { TIME_KEY_BYTES = sizeof(TIME) - 1, MARK_BYTES = sizeof(MARK) - 1 };
    return body.size >= TIME_KEY_BYTES + TIME_BYTES + MARK_BYTES &&
           memcmp(body.data + TIME_KEY_BYTES + TIME_BYTES, MARK, MARK_BYTES) == 0;
}

int audit_head_parse(struct bytes body, bool *ret_is_head, struct audit_head *ret_head,
                     struct error *err)
{
    struct audit_head head = {0};
    struct reader reader = reader_of(body);
    *ret_is_head = is_head(body);
    if (!*ret_is_head) {
        return 0;
    }
    expect(&reader, TIME);
    (void)reader_bytes(&reader, TIME_BYTES);
    expect(&reader, ACTION REASON);
    read_reason(&reader, &head.reason);
    expect(&reader, SEQUENCE);
    read_number(&reader, &head.link.sequence);
    expect(&reader, HASH);
    read_hex(&reader, head.link.hash, AUDIT_HASH_BYTES);
    expect(&reader, KEY_ID);
    read_key_id(&reader, head.key_id);
    expect(&reader, SIGNATURE);
    read_signature(&reader, head.signature);
    expect(&reader, "\"");
    if (!reader_is_done(&reader)) {
        return error_set(err, ERROR_DATA_LOSS, "reading a signed head: it is not well formed");
    }
    *ret_head = head;
    return 0;
}

static EVP_PKEY *read_key(struct bytes public_key)
{
    char group[16] = "";
    const uint8_t *at = public_key.data;
    _cleanup_(pkey_cleanup) EVP_PKEY *key = public_key.size > 0 && public_key.size <= 4096
                                                ? d2i_PUBKEY(NULL, &at, (long)public_key.size)
                                                : NULL;
    if (!key || at != public_key.data + public_key.size ||
        EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) != 1 ||
        strcmp(group, SN_X9_62_prime256v1) != 0) {
        return NULL;
    }
    return take_ptr(key);
}

int audit_head_verify(const struct audit_head *head, struct bytes public_key, struct error *err)
{
    _cleanup_(buffer_clear) struct buffer message = {0};
    _cleanup_(pkey_cleanup) EVP_PKEY *key = read_key(public_key);
    _cleanup_(digest_context_cleanup) EVP_MD_CTX *context = EVP_MD_CTX_new();
    char key_id[KEY_ID_DIGITS + 1];
    _cleanup_(buffer_clear) struct buffer der = {0};
    audit_key_id(public_key, key_id);
    if (!key || strcmp(key_id, head->key_id) != 0) {
        return error_set_openssl(err, ERROR_DATA_LOSS,
                                 "checking a signed head: the key given for %s is another one or "
                                 "not an EC P-256 key",
                                 head->key_id);
    }
    audit_head_message(&head->link, &message);
    if (!context || EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, key) != 1 ||
        !ecdsa_encode_pair((struct bytes){head->signature, AUDIT_SIGNATURE_BYTES}, &der) ||
        EVP_DigestVerify(context, der.data, der.size, message.data, message.size) != 1) {
        return error_set_openssl(err, ERROR_DATA_LOSS,
                                 "checking a signed head: the signature over record %" PRIu64
                                 " is not by the key %s",
                                 head->link.sequence, head->key_id);
    }
    return 0;
}
