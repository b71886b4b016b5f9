#include <time.h>

#include "attest/ek_cache.h"
#include "attest/judge_internal.h"
#include "lib/base/memory.h"

/* The same as for EKs: digests of what was found good, each with the time that it is good for. */
struct judge_cache {
    struct ek_cache *chains;
};

struct judge_cache *judge_cache_new(void)
{
    struct judge_cache *cache = NEW(struct judge_cache);
    cache->chains = ek_cache_new();
    return cache;
}

void judge_cache_free(struct judge_cache *cache)
{
    ek_cache_free(cache->chains);
    free(cache);
}

/* Each part with its size, so that none runs into the next. */
static void append_issuers(struct buffer *all, const STACK_OF(X509) * issuers)
{
    for (int i = 0; i < sk_X509_num(issuers); i++) {
        unsigned char *der = NULL;
        int size = i2d_X509(sk_X509_value(issuers, i), &der);
        buffer_append_sized(all, (struct bytes){der, size > 0 ? (size_t)size : 0});
        OPENSSL_free(der);
    }
}

int judge_cache_key(const struct judge_request *request, const struct chain_question *question,
                    uint8_t ret_key[HASH_MAX_BYTES], struct error *err)
{
    _cleanup_(buffer_clear) struct buffer all = {0};
    _cleanup_(buffer_clear) struct buffer key = {0};
    if (!request->cache || !request->issuers) {
        return 0;
    }
    const char *fingerprint = question->ek_fingerprint ? question->ek_fingerprint : "";
    buffer_append_sized(&all, bytes_of_text(fingerprint));
    public_encode(question->key, &key);
    buffer_append_sized(&all, buffer_bytes(&key));
    buffer_append_u32(&all, (uint32_t)question->chain->count);
    for (size_t i = 0; i < question->chain->count; i++) {
        buffer_append_sized(&all, buffer_bytes(&question->chain->items[i]));
    }
    append_issuers(&all, request->issuers);
    const struct bytes part = buffer_bytes(&all);
    return hash_compute(hash_by_id(TPM2_ALG_SHA256), &part, 1, ret_key, err);
}

bool judge_cache_has(const struct judge_request *request, const uint8_t *key)
{
    return request->cache && request->issuers &&
           ek_cache_has(request->cache->chains, key, request->now_s);
}

static bool read_time(const ASN1_TIME *time, int64_t *ret_s)
{
    struct tm parts;
    if (ASN1_TIME_to_tm(time, &parts) != 1) {
        return false;
    }
    *ret_s = timegm(&parts);
    return true;
}

void judge_cache_put(const struct judge_request *request, const uint8_t *key,
                     const STACK_OF(X509) * verified)
{
    struct ek_validity validity = {INT64_MIN, INT64_MAX};
    if (!request->cache) {
        return;
    }
    for (int i = 0; i < sk_X509_num(verified); i++) {
        const X509 *certificate = sk_X509_value(verified, i);
        int64_t from_s = 0;
        int64_t to_s = 0;
        if (!read_time(X509_get0_notBefore(certificate), &from_s) ||
            !read_time(X509_get0_notAfter(certificate), &to_s)) {
            return;
        }
        validity.from_s = MAX(validity.from_s, from_s);
        validity.to_s = MIN(validity.to_s, to_s);
    }
    ek_cache_put(request->cache->chains, key, &validity);
}
