/* An audit log in a folder of its own, a key in software that signs its heads, and what a
 * verification says of it. */
#pragma once

#include "tests/unit/cmocka_all.h"

#include <ftw.h>
#include <inttypes.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit/log.h"
#include "audit/verify.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

enum { FIXTURE_FINDINGS = 16 };

struct fixture {
    char root[64];
    char *folder;
    EVP_PKEY *key;
    uint8_t public_key[128];
    size_t public_key_size;
    struct audit_log_config config;
    struct audit_log *log;
    struct audit_found found;
    bool is_new_file; /* the next record is to be its head */

    /* What the last verification told. */
    struct audit_verdict verdict;
    struct audit_finding findings[FIXTURE_FINDINGS]; /* file: not to be used */
    char finding_files[FIXTURE_FINDINGS][64];
    size_t finding_count, remark_count;
    enum audit_finding_kind remarks[FIXTURE_FINDINGS];
};

static inline EVP_PKEY *fixture_key_new(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    assert_non_null(key);
    return key;
}

static inline struct fixture *fixture_new(void)
{
    struct fixture *fixture = NEW(struct fixture);
    uint8_t *at = fixture->public_key;
    (void)snprintf(fixture->root, sizeof(fixture->root), "/tmp/signet-audit-test.XXXXXX");
    assert_non_null(mkdtemp(fixture->root));
    fixture->folder = file_join(fixture->root, "audit");
    fixture->key = fixture_key_new();
    fixture->public_key_size = (size_t)i2d_PUBKEY(fixture->key, &at);
    fixture->config = (struct audit_log_config){.folder = fixture->folder};
    return fixture;
}

static inline int fixture_remove_one(const char *path, const struct stat *status, int type,
                                     struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    return remove(path);
}

static inline void fixture_free(struct fixture *fixture)
{
    audit_log_close(fixture->log);
    (void)nftw(fixture->root, fixture_remove_one, 16, FTW_DEPTH | FTW_PHYS);
    EVP_PKEY_free(fixture->key);
    free(fixture->folder);
    free(fixture);
}
DEFINE_CLEANUP(struct fixture, fixture, fixture_free);

static inline void fixture_sign(EVP_PKEY *key, struct audit_head *head)
{
    _cleanup_(buffer_clear) struct buffer message = {0};
    uint8_t der[80];
    uint8_t spki[128];
    uint8_t *spki_at = spki;
    size_t size = sizeof(der);
    const uint8_t *at = der;
    audit_head_message(&head->link, &message);
    audit_key_id((struct bytes){spki, (size_t)i2d_PUBKEY(key, &spki_at)}, head->key_id);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key), 1);
    assert_int_equal(EVP_DigestSign(context, der, &size, message.data, message.size), 1);
    EVP_MD_CTX_free(context);
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &at, (long)size);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(pair), head->signature, 32), 32);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(pair), head->signature + 32, 32), 32);
    ECDSA_SIG_free(pair);
}

static inline void fixture_open(struct fixture *fixture)
{
    struct error err = {0};
    if (audit_log_open(&fixture->config, &fixture->log, &fixture->found, &err) < 0) {
        fail_msg("%s", err.text);
    }
    struct bytes key = {fixture->public_key, fixture->public_key_size};
    assert_int_equal(audit_log_add_key(fixture->log, key, NULL), 0);
}

static inline void fixture_close(struct fixture *fixture)
{
    audit_log_close(take_ptr(fixture->log));
}

static inline void fixture_sync(struct fixture *fixture)
{
    struct error err = {0};
    if (audit_log_sync(fixture->log, &err) < 0) {
        fail_msg("%s", err.text);
    }
}

static inline void fixture_append(struct fixture *fixture, const char *body)
{
    struct error err = {0};
    if (audit_log_append(fixture->log, bytes_of_text(body), &fixture->is_new_file, &err) < 0) {
        fail_msg("%s", err.text);
    }
}

/* A signed head of the record that link names, synced, in the log and in head.json. */
static inline void fixture_head_of(struct fixture *fixture, const struct audit_link *link,
                                   enum audit_head_reason reason)
{
    _cleanup_(buffer_clear) struct buffer body = {0};
    struct audit_head head = {.link = *link, .reason = reason};
    fixture_sign(fixture->key, &head);
    audit_head_body(&head, INT64_C(1700000000123), &body);
    buffer_append_u8(&body, 0);
    fixture_append(fixture, (const char *)body.data);
    fixture_sync(fixture);
    assert_int_equal(audit_log_set_head(fixture->log, &head, NULL), 0);
}

static inline void fixture_head(struct fixture *fixture, enum audit_head_reason reason)
{
    fixture_head_of(fixture, audit_log_link(fixture->log), reason);
}

/* Records as an agent writes them: a head where a file begins. */
static inline void fixture_records(struct fixture *fixture, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        _cleanup_(free_cleanup) char *body =
            text_format("\"@timestamp\":\"2026-11-21T10:%02u:%02u.000Z\",\"event.action\":\"used\","
                        "\"signet.count\":%u",
                        i / 60 % 60, i % 60, i);
        if (fixture->is_new_file) {
            fixture_head(fixture, AUDIT_HEAD_FILE);
        }
        fixture_append(fixture, body);
    }
}

static inline char *fixture_file(const struct fixture *fixture, unsigned number)
{
    return text_format("%s/audit-%06u.jsonl", fixture->folder, number);
}

static inline bool fixture_has_file(const struct fixture *fixture, unsigned number)
{
    _cleanup_(free_cleanup) char *path = fixture_file(fixture, number);
    return access(path, F_OK) == 0;
}

static inline void fixture_found(void *user, const struct audit_finding *finding)
{
    struct fixture *fixture = user;
    if (finding->is_remark) {
        assert_true(fixture->remark_count < FIXTURE_FINDINGS);
        fixture->remarks[fixture->remark_count++] = finding->kind;
        return;
    }
    if (fixture->finding_count == FIXTURE_FINDINGS) {
        return;
    }
    size_t at = fixture->finding_count++;
    fixture->findings[at] = *finding;
    (void)snprintf(fixture->finding_files[at], sizeof(fixture->finding_files[at]), "%s",
                   finding->file);
}

static inline void fixture_verify_path(struct fixture *fixture, const char *path,
                                       const struct audit_link *known)
{
    _cleanup_(audit_reader_cleanup) struct audit_reader *reader = NULL;
    struct error err = {0};
    fixture->finding_count = fixture->remark_count = 0;
    if (audit_reader_open(path, &reader, &err) < 0 ||
        audit_verify(reader, known, fixture_found, fixture, &fixture->verdict, &err) < 0) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(fixture->verdict.is_whole, fixture->finding_count == 0);
}

static inline void fixture_verify(struct fixture *fixture, const struct audit_link *known)
{
    fixture_verify_path(fixture, fixture->folder, known);
}

static inline void fixture_expect_whole(struct fixture *fixture)
{
    fixture_verify(fixture, NULL);
    if (!fixture->verdict.is_whole) {
        fail_msg("%s line %" PRIu64 ": %s", fixture->finding_files[0], fixture->findings[0].line,
                 fixture->findings[0].text);
    }
}

static inline bool fixture_has_remark(const struct fixture *fixture, enum audit_finding_kind kind)
{
    for (size_t i = 0; i < fixture->remark_count; i++) {
        if (fixture->remarks[i] == kind) {
            return true;
        }
    }
    return false;
}

/* A file as its lines, to be changed and written back. */
struct fixture_lines {
    struct text_list list;
    char *path;
};

static inline struct fixture_lines fixture_read_lines(const char *path)
{
    struct fixture_lines lines = {.path = memory_copy_text(path)};
    _cleanup_(buffer_clear) struct buffer contents = {0};
    assert_int_equal(buffer_read_file(path, 64 << 20, &contents, NULL), 0);
    struct reader reader = reader_of(buffer_bytes(&contents));
    while (reader.rest.size > 0) {
        struct bytes line = reader_until(&reader, '\n');
        _cleanup_(free_cleanup) char *copy = text_format("%.*s", (int)line.size, line.data);
        text_list_add(&lines.list, copy);
    }
    return lines;
}

/* For an analyzer that does not know that assertions end the test. */
static inline char *fixture_line(const struct fixture_lines *lines, size_t at)
{
    if (!lines->list.items || at >= lines->list.count) {
        abort();
    }
    return lines->list.items[at];
}

static inline void fixture_write_file(const char *path, struct bytes contents)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(contents.size == 0 ||
                fwrite(contents.data, 1, contents.size, file) == contents.size);
    assert_int_equal(fclose(file), 0);
}

/* Frees them. */
static inline void fixture_write_lines(struct fixture_lines *lines)
{
    _cleanup_(buffer_clear) struct buffer contents = {0};
    for (size_t i = 0; i < lines->list.count; i++) {
        buffer_append_text(&contents, lines->list.items[i]);
        buffer_append_u8(&contents, '\n');
    }
    fixture_write_file(lines->path, buffer_bytes(&contents));
    text_list_clear(&lines->list);
    free(lines->path);
}
