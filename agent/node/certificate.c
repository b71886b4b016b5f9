/* The AK's certificate of the issuer, for verifiers that cannot talk to this TPM. */
#include "agent/node/state.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum { TTL_MIN_S = 600, TTL_INTERVALS = 2 };

static void certified(struct ak_request *request, const struct error *failure)
{
    struct node *node = request->user;
    bool is_current = bytes_is_equal(request->public_key, buffer_bytes(&node->ak_spki));
    node->is_certifying = false;
    free((void *)request->public_key.data);
    free((char *)request->ek_fingerprint);
    if (!failure && !is_current) {
        buffer_clear(&request->chain); /* there is another AK since */
    } else if (failure) {
        log_warning("node: no certificate for the attestation key, evidence is without one: %s",
                    failure->text);
    } else {
        buffer_clear(&node->ak_chain);
        node->ak_chain = request->chain;
        node->ak_expires_at_s = request->expires_at_s;
        request->chain = (struct buffer){0};
    }
    node_end_if_done(node);
}

void node_certify(struct node *node)
{
    struct issuer *issuer = node->config.issuer;
    struct buffer spki = {0};
    if (!issuer || !issuer->operations->ak_certify || node->is_certifying || node->is_stopping ||
        node->ak_spki.size == 0) {
        return;
    }
    buffer_append(&spki, node->ak_spki.data, node->ak_spki.size);
    node->is_certifying = true;
    node->request = (struct ak_request){
        .public_key = buffer_bytes(&spki), /* freed when it is done */
        .ek_fingerprint = memory_copy_text(node->ek_fingerprint),
        .ttl_s = MAX(TTL_INTERVALS * node->settings.reattest_interval_s, (uint32_t)TTL_MIN_S),
        .done = certified,
        .user = node,
    };
    issuer->operations->ak_certify(issuer, &node->request);
}
