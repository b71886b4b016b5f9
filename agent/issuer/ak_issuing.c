#include "agent/issuer/ak_issuing.h"

#include "agent/issuer/x509.h"
#include "lib/base/memory.h"

enum { BACKDATING_S = 10, IN_HAND_MAX = 16 };

struct certifying {
    struct keystore_job work;
    struct ak_issuing *issuing;
    struct ak_request *request;
    struct authority *authority; /* NULL: refused before it came to signing */
    int64_t not_before_s, expires_at_s;
    struct buffer chain;
    bool is_failed;
    struct error failure;
};

static void work_run(struct keystore_job *job)
{
    struct certifying *certifying = container_of(job, struct certifying, work);
    const struct authority *authority = certifying->authority;
    const struct x509_ak_template template = {
        .public_key = certifying->request->public_key,
        .ek_fingerprint = certifying->request->ek_fingerprint,
        .not_before_s = certifying->not_before_s,
        .expires_at_s = certifying->expires_at_s,
        .ca = authority->parsed,
        .ca_key = authority->signer,
        .ca_key_type = authority->key_type,
    };
    if (!atomic_load(&certifying->issuing->is_stopping)) {
        certifying->is_failed =
            x509_make_ak(&template, &certifying->chain, &certifying->failure) < 0;
    }
}

static void work_delivered(struct mailbox_message *message)
{
    struct keystore_job *job = container_of(message, struct keystore_job, message);
    struct certifying *certifying = container_of(job, struct certifying, work);
    struct ak_request *request = certifying->request;
    certifying->issuing->in_hand--;
    if (certifying->is_failed) {
        (void)error_prepend(&certifying->failure, "certifying the TPM's attestation key");
    } else {
        request->chain = certifying->chain;
        certifying->chain = (struct buffer){0};
        request->expires_at_s = certifying->expires_at_s;
    }
    request->done(request, certifying->is_failed ? &certifying->failure : NULL);
    if (certifying->authority) {
        authority_unref(certifying->authority);
    }
    buffer_clear(&certifying->chain);
    free(certifying);
}

static int start(struct certifying *certifying, uint32_t ttl_s, struct error *err)
{
    struct ak_issuing *issuing = certifying->issuing;
    const struct issuing_config *config = &issuing->config;
    if (atomic_load(&issuing->is_stopping)) {
        return error_set(err, ERROR_CANCELLED, "the agent is stopping");
    }
    if (issuing->in_hand > IN_HAND_MAX) {
        return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                         "%d requests wait for the issuer already; try again later", IN_HAND_MAX);
    }
    struct authority *authority = succession_signer(config->successions[AUTHORITY_KIND_X509], err);
    if (!authority) {
        return -1;
    }
    int64_t now_s = issuer_clock_now_s(config->clock);
    certifying->authority = authority_ref(authority);
    certifying->not_before_s = MAX(now_s - BACKDATING_S, authority->not_before_s);
    certifying->expires_at_s = MIN(now_s + (int64_t)ttl_s, authority->expires_at_s);
    /* Until it has run: a keystore that ends, or an issuer that stops, signs nothing more. */
    (void)error_set(err, ERROR_CANCELLED, "the agent is stopping");
    return keystore_submit(config->keystore, &certifying->work, err);
}

void ak_issuing_certify(struct ak_issuing *issuing, struct ak_request *request)
{
    struct certifying *certifying = NEW(struct certifying);
    certifying->issuing = issuing;
    certifying->request = request;
    certifying->is_failed = true;
    certifying->work.run = work_run;
    certifying->work.mailbox = issuing->config.mailbox;
    certifying->work.message.deliver = work_delivered;
    certifying->work.priority = KEYSTORE_PRIORITY_BACKGROUND;
    issuing->in_hand++;
    if (start(certifying, request->ttl_s, &certifying->failure) < 0) {
        mailbox_post(issuing->config.mailbox, &certifying->work.message);
    }
}

void ak_issuing_open(struct ak_issuing *issuing, const struct issuing_config *config)
{
    issuing->config = *config;
    issuing->in_hand = 0;
    atomic_init(&issuing->is_stopping, false);
}

void ak_issuing_stop(struct ak_issuing *issuing)
{
    atomic_store(&issuing->is_stopping, true);
}
