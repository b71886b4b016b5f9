/* Evidence from anybody: what is read is written back as the same, and judging it always ends in a
 * verdict, which never allows where the challenge was not answered. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "attest/judge.h"
#include "lib/base/memory.h"

enum { NOW_S = 1700003600 };

static const char policy_json[] =
    "{\"version\":1,\"pcrs\":\"sha256:0,4,7,10+sha1:0,7\",\"facts\":[\"secure_boot=on\"],"
    "\"event_log\":\"required\",\"ima\":\"required\",\"ek_hashes\":[\"sha256:"
    "0000000000000000000000000000000000000000000000000000000000000000\"]}";

static void check_text(const struct evidence *evidence)
{
    _cleanup_(buffer_clear) struct buffer first = {0};
    _cleanup_(buffer_clear) struct buffer second = {0};
    _cleanup_(evidence_clear) struct evidence again = {0};
    evidence_format(evidence, &first);
    if (evidence_parse(buffer_bytes(&first), &again, NULL) < 0) {
        abort();
    }
    evidence_format(&again, &second);
    if (!bytes_is_equal(buffer_bytes(&first), buffer_bytes(&second))) {
        abort();
    }
}

/* Whoever issued the key's certificate is trusted, so that chains are built. */
static STACK_OF(X509) * make_issuers(const struct evidence *evidence)
{
    STACK_OF(X509) *issuers = sk_X509_new_null();
    const struct evidence_chain *chain = &evidence->key_certificates;
    if (chain->count > 0) {
        const struct buffer *der = &chain->items[chain->count - 1];
        const unsigned char *at = der->data;
        X509 *issuer = d2i_X509(NULL, &at, (long)der->size);
        if (issuer && sk_X509_push(issuers, issuer) <= 0) {
            X509_free(issuer);
        }
    }
    return issuers;
}

static void judge(const struct evidence *evidence, const struct attest_policy *policy,
                  struct bytes secret)
{
    struct verdict verdict;
    STACK_OF(X509) *issuers = make_issuers(evidence);
    const struct judge_memory memory = {.is_known = true, .is_same_boot = true};
    const struct judge_request request = {
        .evidence = evidence,
        .policy = policy,
        .nonce = buffer_bytes(&evidence->nonce),
        .challenge_secret = secret,
        .issuers = issuers,
        .memory = secret.size ? &memory : NULL,
        .wants_key = true,
        .now_s = NOW_S,
    };
    judge_evidence(&request, &verdict);
    for (size_t i = 0; i < CLAIM_COUNT; i++) {
        if (!memchr(verdict.claims[i].text, '\0', sizeof(verdict.claims[i].text))) {
            abort();
        }
    }
    if (secret.size && verdict_allows(&verdict)) {
        abort();
    }
    verdict_clear(&verdict);
    sk_X509_pop_free(issuers, X509_free);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t secret[32] = {1};
    _cleanup_(evidence_clear) struct evidence evidence = {0};
    _cleanup_(attest_policy_clear) struct attest_policy policy = {0};
    struct error error = {0};
    if (evidence_parse((struct bytes){data, size}, &evidence, &error) < 0) {
        if (error.code != ERROR_INVALID_ARGUMENT || !error.text[0]) {
            abort();
        }
        return 0;
    }
    if (attest_policy_parse(bytes_of_text(policy_json), &policy, NULL) < 0) {
        abort();
    }
    check_text(&evidence);
    judge(&evidence, &policy, (struct bytes){0});
    judge(&evidence, &policy, (struct bytes){secret, sizeof(secret)});
    return 0;
}
