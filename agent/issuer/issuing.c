#include "agent/issuer/issuing.h"

#include <openssl/sha.h>
#include <stdatomic.h>
#include <string.h>

#include "agent/issuer/issued_table.h"
#include "agent/issuer/jwt.h"
#include "agent/issuer/x509.h"
#include "lib/base/memory.h"

/* A verifier whose clock is behind still takes what was just issued. */
enum { BACKDATING_S = 10 };

struct issuing {
    struct issuing_config config;
    struct issuer_gate gate; /* may_issue NULL: none */
    size_t in_hand;
    atomic_bool is_stopping; /* read by workers */
};

/* One request. What a worker or the writer needs is set before they get it. */
struct issue {
    struct keystore_job work;
    struct store_job record;
    struct issuing *issuing;
    enum authority_kind kind;
    struct authority *authority; /* NULL: refused before it came to signing */
    struct entry *entry;
    union {
        struct x509_request *x509;
        struct jwt_request *jwt;
    } request;
    int64_t issued_at_s, not_before_s, expires_at_s;
    bool is_failed;
    struct error failure;
    /* The result: */
    char *serial;
    char *key_id;
    char *token;
    struct buffer chain;
};

static int make_x509(struct issue *issue, struct error *err)
{
    const struct x509_request *request = issue->request.x509;
    const struct x509_svid_template template = {.spiffe_id = issue->entry->spiffe_id,
                                                .dns_names = &issue->entry->dns_names,
                                                .public_key = request->public_key,
                                                .not_before_s = issue->not_before_s,
                                                .expires_at_s = issue->expires_at_s,
                                                .ca = issue->authority->parsed,
                                                .ca_key = issue->authority->signer,
                                                .ca_key_type = issue->authority->key_type};
    uint8_t serial[X509_SERIAL_BYTES], digest[SHA256_DIGEST_LENGTH];
    TRY(x509_make_svid(&template, &issue->chain, serial, err));
    (void)SHA256(request->public_key.data, request->public_key.size, digest);
    issue->serial = text_hex((struct bytes){serial, sizeof(serial)});
    issue->key_id = text_hex((struct bytes){digest, KEY_ID_BYTES});
    return 0;
}

static int make_jwt(struct issue *issue, struct error *err)
{
    const struct jwt_template template = {.spiffe_id = issue->entry->spiffe_id,
                                          .audience = &issue->request.jwt->audience,
                                          .issued_at_s = issue->issued_at_s,
                                          .expires_at_s = issue->expires_at_s,
                                          .key = issue->authority->signer,
                                          .key_type = issue->authority->key_type,
                                          .kid = issue->authority->kid};
    return jwt_make_svid(&template, &issue->token, &issue->serial, err);
}

static void answer_x509(struct issue *issue)
{
    struct x509_request *request = issue->request.x509;
    if (!issue->is_failed) {
        request->chain = issue->chain;
        issue->chain = (struct buffer){0};
        request->serial = take_ptr(issue->serial);
        request->not_before_s = issue->not_before_s;
        request->expires_at_s = issue->expires_at_s;
    }
    request->done(request, issue->is_failed ? &issue->failure : NULL);
}

static void answer_jwt(struct issue *issue)
{
    struct jwt_request *request = issue->request.jwt;
    if (!issue->is_failed) {
        request->token = take_ptr(issue->token);
        request->kid = memory_copy_text(issue->authority->kid);
        request->issued_at_s = issue->issued_at_s;
        request->expires_at_s = issue->expires_at_s;
    }
    request->done(request, issue->is_failed ? &issue->failure : NULL);
}

static const struct {
    int (*make)(struct issue *issue, struct error *err);
    void (*answer)(struct issue *issue);
} kinds[AUTHORITY_KIND_COUNT] = {
    [AUTHORITY_KIND_X509] = {make_x509, answer_x509},
    [AUTHORITY_KIND_JWT] = {make_jwt, answer_jwt},
};

static void issue_free(struct issue *issue)
{
    entry_unref(issue->entry);
    authority_unref(issue->authority);
    free(issue->serial);
    free(issue->key_id);
    free(issue->token);
    buffer_clear(&issue->chain);
    free(issue);
}

static void answer(struct issue *issue)
{
    struct issuing *issuing = issue->issuing;
    issuing->in_hand--;
    if (issue->is_failed && issue->failure.code == ERROR_UNAVAILABLE) {
        /* Perhaps for want of a usable authority: see to it now rather than at the next look, and
         * for both kinds, as a clock that jumped makes both expire. */
        for (size_t i = 0; i < AUTHORITY_KIND_COUNT; i++) {
            (void)succession_advance(issuing->config.successions[i]);
        }
    }
    if (issue->is_failed) {
        (void)error_prepend(&issue->failure, "issuing %s-SVID for %s",
                            issue->kind == AUTHORITY_KIND_X509 ? "an X.509" : "a JWT",
                            issue->entry->spiffe_id);
    }
    kinds[issue->kind].answer(issue);
    issue_free(issue);
}

static int record_run(struct store *store, struct store_job *job, struct error *err)
{
    const struct issue *issue = container_of(job, struct issue, record);
    bool is_x509 = issue->kind == AUTHORITY_KIND_X509;
    const struct issued issued = {.serial = issue->serial,
                                  .kind = issue->kind,
                                  .spiffe_id = issue->entry->spiffe_id,
                                  .entry_id = issue->entry->id,
                                  .authority = issue->authority->kid,
                                  .key_id = is_x509 ? issue->key_id : "",
                                  .protection = is_x509 ? issue->request.x509->protection : "",
                                  .not_before_s = issue->not_before_s,
                                  .expires_at_s = issue->expires_at_s,
                                  .issued_at_s = issue->issued_at_s};
    return issued_table_insert(store, &issued, err);
}

static void record_delivered(struct mailbox_message *message)
{
    struct store_job *job = container_of(message, struct store_job, message);
    struct issue *issue = container_of(job, struct issue, record);
    issue->is_failed = job->is_failed;
    issue->failure = job->failure;
    if (issue->is_failed) {
        /* For whoever waits this is trouble that passes, whatever it is for the disk. */
        issue->failure.code = ERROR_UNAVAILABLE;
    }
    answer(issue);
}

/* The library between knows that signing failed; the keystore knows why. */
static void explain_failure(struct issue *issue)
{
    struct keystore *keystore = issue->issuing->config.keystore;
    struct keystore_status status;
    keystore_status(keystore, &status);
    if (issue->failure.code != ERROR_UNAVAILABLE) {
        return;
    }
    if (!key_is_alive(issue->authority->key)) {
        (void)error_set(&issue->failure, ERROR_UNAVAILABLE,
                        "the keystore \"%s\" has lost the issuer's key; another is being made",
                        keystore_name(keystore));
    } else if (status.state == KEYSTORE_STATE_LOST) {
        (void)error_set(&issue->failure, ERROR_UNAVAILABLE,
                        "the keystore \"%s\" does not answer: %s", keystore_name(keystore),
                        status.reason);
    }
}

static void work_run(struct keystore_job *job)
{
    struct issue *issue = container_of(job, struct issue, work);
    if (atomic_load(&issue->issuing->is_stopping)) {
        return;
    }
    issue->is_failed = kinds[issue->kind].make(issue, &issue->failure) < 0;
    if (issue->is_failed) {
        explain_failure(issue);
    }
}

static int ask_gate(const struct issuing *issuing, struct error *err)
{
    const struct issuer_gate *gate = &issuing->gate;
    return gate->may_issue ? gate->may_issue(gate->user, err) : 0;
}

static void work_delivered(struct mailbox_message *message)
{
    struct keystore_job *job = container_of(message, struct keystore_job, message);
    struct issue *issue = container_of(job, struct issue, work);
    if (!issue->is_failed && ask_gate(issue->issuing, &issue->failure) < 0) {
        issue->is_failed = true; /* it was shut while the keystore was at it */
    }
    if (issue->is_failed) {
        answer(issue);
        return;
    }
    const struct issuing_config *config = &issue->issuing->config;
    issue->record.run = record_run;
    issue->record.mailbox = config->mailbox;
    issue->record.message.deliver = record_delivered;
    store_submit(config->store, &issue->record);
}

/* Who signs, and from when to when it is valid: never outside the authority's own time. */
static int choose_authority(struct issue *issue, uint32_t ttl_s, uint32_t ttl_limit_s,
                            struct error *err)
{
    const struct issuing_config *config = &issue->issuing->config;
    struct authority *authority = succession_signer(config->successions[issue->kind], err);
    if (!authority) {
        return -1;
    }
    ttl_s = ttl_s ? ttl_s : config->ttl_s[issue->kind];
    ttl_s = ttl_limit_s ? MIN(ttl_s, ttl_limit_s) : ttl_s;
    issue->authority = authority_ref(authority);
    issue->issued_at_s = issuer_clock_now_s(config->clock);
    issue->not_before_s = MAX(issue->issued_at_s - BACKDATING_S, authority->not_before_s);
    issue->expires_at_s = MIN(issue->issued_at_s + (int64_t)ttl_s, authority->expires_at_s);
    return 0;
}

/* Entries take turns at the keystore. */
static uint64_t flow_of(const struct entry *entry)
{
    uint64_t hash = 0xcbf29ce484222325; /* FNV-1a */
    for (const char *byte = entry->id; *byte; byte++) {
        hash = (hash ^ (uint8_t)*byte) * 0x100000001b3;
    }
    return hash | 1;
}

static int start(struct issue *issue, uint32_t ttl_s, uint32_t ttl_limit_s, struct error *err)
{
    struct issuing *issuing = issue->issuing;
    if (atomic_load(&issuing->is_stopping)) {
        return error_set(err, ERROR_CANCELLED, "the agent is stopping");
    }
    if (issuing->in_hand > ISSUING_MAX) {
        return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                         "%d requests wait for the issuer already; try again later", ISSUING_MAX);
    }
    TRY(choose_authority(issue, ttl_s, ttl_limit_s, err));
    /* Until it has run: a keystore that ends, or an issuer that stops, signs nothing more. */
    (void)error_set(err, ERROR_CANCELLED, "the agent is stopping");
    return keystore_submit(issuing->config.keystore, &issue->work, err);
}

static struct issue *issue_new(struct issuing *issuing, enum authority_kind kind,
                               struct entry *entry, enum keystore_priority priority)
{
    struct issue *issue = NEW(struct issue);
    issuing->in_hand++;
    issue->issuing = issuing;
    issue->kind = kind;
    issue->entry = entry_ref(entry);
    issue->is_failed = true;
    issue->work.run = work_run;
    issue->work.mailbox = issuing->config.mailbox;
    issue->work.message.deliver = work_delivered;
    issue->work.priority = priority;
    issue->work.flow = flow_of(entry);
    return issue;
}

void issuing_x509(struct issuing *issuing, struct x509_request *request)
{
    struct issue *issue =
        issue_new(issuing, AUTHORITY_KIND_X509, request->entry,
                  request->is_urgent ? KEYSTORE_PRIORITY_ISSUE : KEYSTORE_PRIORITY_BACKGROUND);
    issue->request.x509 = request;
    if (ask_gate(issuing, &issue->failure) < 0 ||
        start(issue, request->entry->x509_svid_ttl_s, request->ttl_limit_s, &issue->failure) < 0) {
        mailbox_post(issuing->config.mailbox, &issue->work.message);
    }
}

void issuing_jwt(struct issuing *issuing, struct jwt_request *request)
{
    struct issue *issue =
        issue_new(issuing, AUTHORITY_KIND_JWT, request->entry, KEYSTORE_PRIORITY_ISSUE);
    issue->request.jwt = request;
    if (ask_gate(issuing, &issue->failure) < 0 ||
        jwt_audience_check(&request->audience, &issue->failure) < 0 ||
        start(issue, request->entry->jwt_svid_ttl_s, request->ttl_limit_s, &issue->failure) < 0) {
        mailbox_post(issuing->config.mailbox, &issue->work.message);
    }
}

struct issuing *issuing_new(const struct issuing_config *config)
{
    struct issuing *issuing = NEW(struct issuing);
    issuing->config = *config;
    atomic_init(&issuing->is_stopping, false);
    return issuing;
}

void issuing_set_gate(struct issuing *issuing, const struct issuer_gate *gate)
{
    issuing->gate = *gate;
}

void issuing_free(struct issuing *issuing)
{
    free(issuing);
}

void issuing_stop(struct issuing *issuing)
{
    atomic_store(&issuing->is_stopping, true);
}

size_t issuing_in_hand(const struct issuing *issuing)
{
    return issuing->in_hand;
}
