/* An audit log as an agent writes it, then judged:
 *
 *     bench_auditload FOLDER RECORDS
 *
 * writes RECORDS into FOLDER, synced in batches as group commit does, and prints records a second
 * of writing and of verifying. A key in software signs the heads. */
#include <inttypes.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "audit/log.h"
#include "audit/verify.h"
#include "lib/base/memory.h"

enum { BATCH = 500, HEAD_INTERVAL = 10000, FILE_MAX_BYTES = 64 << 20 };

struct load {
    struct audit_log *log;
    EVP_PKEY *key;
    struct bytes public_key;
    bool is_new_file;
};

_Noreturn static void die(const struct error *err)
{
    (void)fprintf(stderr, "bench_auditload: %s\n", err->text);
    exit(1);
}

static void check(int result, const struct error *err)
{
    if (result < 0) {
        die(err);
    }
}

static double now_s(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void sign(const struct load *load, struct audit_head *head)
{
    _cleanup_(buffer_clear) struct buffer message = {0};
    uint8_t der[80];
    size_t size = sizeof(der);
    const uint8_t *at = der;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    audit_head_message(&head->link, &message);
    audit_key_id(load->public_key, head->key_id);
    (void)EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, load->key);
    (void)EVP_DigestSign(context, der, &size, message.data, message.size);
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &at, (long)size);
    (void)BN_bn2binpad(ECDSA_SIG_get0_r(pair), head->signature, 32);
    (void)BN_bn2binpad(ECDSA_SIG_get0_s(pair), head->signature + 32, 32);
    ECDSA_SIG_free(pair);
    EVP_MD_CTX_free(context);
}

static void append_head(struct load *load, enum audit_head_reason reason)
{
    _cleanup_(buffer_clear) struct buffer body = {0};
    struct audit_head head = {.link = *audit_log_link(load->log), .reason = reason};
    struct error err;
    sign(load, &head);
    audit_head_body(&head, (int64_t)time(NULL) * 1000, &body);
    check(audit_log_append(load->log, buffer_bytes(&body), &load->is_new_file, &err), &err);
    check(audit_log_sync(load->log, &err), &err);
    check(audit_log_set_head(load->log, &head, &err), &err);
}

/* What a use of a key says, of the usual length. */
static void append_use(struct load *load, uint64_t number)
{
    struct error err;
    _cleanup_(free_cleanup) char *body = text_format(
        "\"@timestamp\":\"2026-11-21T10:%02u:%02u.%03uZ\",\"ecs.version\":\"8.11\","
        "\"event.kind\":\"event\",\"event.dataset\":\"signet.audit\",\"event.action\":\"used\","
        "\"event.outcome\":\"success\",\"message\":\"process %" PRIu64
        " (/usr/bin/payments) signed as spiffe://example.org/payments/api\","
        "\"host.name\":\"host\",\"process.pid\":%" PRIu64 ",\"process.executable\":"
        "\"/usr/bin/payments\",\"process.hash.sha256\":"
        "\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\",\"user.id\":\"1000\","
        "\"group.id\":\"1000\",\"systemd.unit\":\"payments.service\","
        "\"signet.process.start_time\":123456,\"signet.process.selectors\":[\"unix:uid:1000\","
        "\"unix:path:/usr/bin/payments\"],\"signet.spiffe_id\":"
        "\"spiffe://example.org/payments/api\",\"signet.asked\":\"sign\",\"signet.decision.by\":"
        "\"entry\",\"signet.decision.id\":\"6f1c0a1b2c3d4e5f\",\"signet.key.id\":"
        "\"0123456789abcdef0123456789abcdef01234567\",\"signet.key.protection\":\"hardware\"",
        (unsigned)(number / 60000 % 60), (unsigned)(number / 1000 % 60), (unsigned)(number % 1000),
        number % 100, number % 100);
    check(audit_log_append(load->log, bytes_of_text(body), &load->is_new_file, &err), &err);
}

static void write_log(struct load *load, const char *folder, uint64_t records)
{
    const struct audit_log_config config = {.folder = folder, .file_max_bytes = FILE_MAX_BYTES};
    struct audit_found found;
    struct error err;
    check(audit_log_open(&config, &load->log, &found, &err), &err);
    check(audit_log_add_key(load->log, load->public_key, &err), &err);
    double start_s = now_s();
    for (uint64_t i = 0; i < records; i++) {
        if (load->is_new_file) {
            append_head(load, AUDIT_HEAD_FILE);
        }
        append_use(load, i);
        if (i % HEAD_INTERVAL == HEAD_INTERVAL - 1) {
            append_head(load, AUDIT_HEAD_INTERVAL);
        }
        if (i % BATCH == BATCH - 1) {
            check(audit_log_sync(load->log, &err), &err);
        }
    }
    append_head(load, AUDIT_HEAD_STOP);
    (void)printf("written_per_second %.0f\n", (double)records / (now_s() - start_s));
    audit_log_close(load->log);
}

static void verify_log(const char *folder)
{
    _cleanup_(audit_reader_cleanup) struct audit_reader *reader = NULL;
    struct audit_verdict verdict;
    struct error err;
    double start_s = now_s();
    check(audit_reader_open(folder, &reader, &err), &err);
    check(audit_verify(reader, NULL, NULL, NULL, &verdict, &err), &err);
    double taken_s = now_s() - start_s;
    if (!verdict.is_whole) {
        (void)error_set(&err, ERROR_DATA_LOSS, "the log is not whole");
        die(&err);
    }
    (void)printf("records_per_second %.0f\n", (double)verdict.records / taken_s);
}

int main(int argc, char **argv)
{
    uint64_t records = 0;
    uint8_t public_key[128];
    uint8_t *at = public_key;
    struct error err;
    struct load load = {.key = EVP_EC_gen("P-256")};
    if (argc != 3 || text_parse_u64(argv[2], 1, UINT64_C(1) << 32, &records, &err) < 0) {
        (void)fprintf(stderr, "usage: bench_auditload FOLDER RECORDS\n");
        return 2;
    }
    load.public_key = (struct bytes){public_key, (size_t)i2d_PUBKEY(load.key, &at)};
    write_log(&load, argv[1], records);
    verify_log(argv[1]);
    EVP_PKEY_free(load.key);
    return 0;
}
