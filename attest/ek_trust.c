#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <string.h>
#include <uthash.h>

#include "attest/ek.h"
#include "attest/ek_anchors.h"
#include "attest/ek_chain.h"
#include "lib/base/memory.h"

DEFINE_CLEANUP(X509, x509, X509_free);
DEFINE_CLEANUP(EVP_PKEY, evp_pkey, EVP_PKEY_free);

enum { DIGEST_BYTES = 32 };
#define HASH_PREFIX "sha256:"

/* A key that is listed by itself. */
struct listed {
    uint8_t digest[DIGEST_BYTES];
    UT_hash_handle hh;
};

struct ek_trust {
    X509_STORE *anchors;
    size_t anchor_count;
    struct listed *listed;
    struct ek_cache *cache;
};

struct ek_trust *ek_trust_new(void)
{
    struct ek_trust *trust = NEW(struct ek_trust);
    trust->anchors = X509_STORE_new();
    if (!trust->anchors) {
        abort();
    }
    trust->cache = ek_cache_new();
    return trust;
}

/* NOLINTBEGIN(clang-analyzer-*): it cannot know that uthash takes each item out whole */
void ek_trust_free(struct ek_trust *trust)
{
    while (trust->listed) {
        struct listed *item = trust->listed;
        HASH_DEL(trust->listed, item);
        free(item);
    }
    ek_cache_free(trust->cache);
    X509_STORE_free(trust->anchors);
    free(trust);
}

static bool is_digest_listed(const struct ek_trust *trust, const uint8_t digest[DIGEST_BYTES])
{
    struct listed *item = NULL;
    HASH_FIND(hh, trust->listed, digest, DIGEST_BYTES, item);
    return item != NULL;
}

static void list_digest(struct ek_trust *trust, const uint8_t digest[DIGEST_BYTES])
{
    struct listed *item = NEW(struct listed);
    memcpy(item->digest, digest, DIGEST_BYTES);
    HASH_ADD(hh, trust->listed, digest, DIGEST_BYTES, item);
}
/* NOLINTEND(clang-analyzer-*) */

int ek_trust_add_folder(struct ek_trust *trust, const char *path, struct error *err)
{
    return ek_anchors_load(trust->anchors, path, &trust->anchor_count, err);
}

int ek_trust_add_hash(struct ek_trust *trust, const char *text, struct error *err)
{
    uint8_t digest[DIGEST_BYTES];
    size_t size = 0;
    const bool has_prefix = strncmp(text, HASH_PREFIX, strlen(HASH_PREFIX)) == 0;
    if (!has_prefix ||
        OPENSSL_hexstr2buf_ex(digest, sizeof(digest), &size, text + strlen(HASH_PREFIX), '\0') !=
            1 ||
        size != sizeof(digest)) {
        ERR_clear_error();
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "\"%.100s\" is not the hash of an EK; expected is sha256: and 64 "
                         "hexadecimal digits, as signet attest show prints it",
                         text);
    }
    if (!is_digest_listed(trust, digest)) {
        list_digest(trust, digest);
    }
    return 0;
}

size_t ek_trust_count(const struct ek_trust *trust)
{
    return trust->anchor_count + HASH_COUNT(trust->listed);
}

/* Over all that the verdict hangs on but the time; each part with its size before it. */
static int cache_key(const TPMT_PUBLIC *ek, struct bytes certificate, const struct bytes *chain,
                     size_t chain_count, uint8_t ret_key[HASH_MAX_BYTES], struct error *err)
{
    _cleanup_(buffer_clear) struct buffer all = {0};
    public_encode(ek, &all);
    buffer_append_u64(&all, certificate.size);
    buffer_append(&all, certificate.data, certificate.size);
    for (size_t i = 0; i < chain_count; i++) {
        buffer_append_u64(&all, chain[i].size);
        buffer_append(&all, chain[i].data, chain[i].size);
    }
    const struct bytes part = buffer_bytes(&all);
    return hash_compute(hash_by_id(TPM2_ALG_SHA256), &part, 1, ret_key, err);
}

static int check_key(const TPMT_PUBLIC *ek, X509 *certificate, struct error *err)
{
    _cleanup_(evp_pkey_cleanup) EVP_PKEY *certified = ek_certificate_pkey(certificate, err);
    _cleanup_(evp_pkey_cleanup) EVP_PKEY *own = NULL;
    if (!certified) {
        return -1;
    }
    TRY(public_pkey(ek, &own, err));
    if (EVP_PKEY_eq(own, certified) != 1) {
        ERR_clear_error();
        return error_set(err, ERROR_PERMISSION_DENIED,
                         "the EK certificate is for another key than the EK of the evidence");
    }
    return 0;
}

static int judge_certificate(struct ek_trust *trust, const TPMT_PUBLIC *ek,
                             struct bytes certificate, const struct bytes *chain,
                             size_t chain_count, int64_t now_s, struct error *err)
{
    uint8_t key[HASH_MAX_BYTES];
    size_t size = 0;
    struct ek_validity validity;
    _cleanup_(x509_cleanup) X509 *parsed = NULL;
    if (chain_count > EK_CHAIN_MAX) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "%zu certificates come with the EK certificate; %d at most are expected",
                         chain_count, EK_CHAIN_MAX);
    }
    TRY(cache_key(ek, certificate, chain, chain_count, key, err));
    if (ek_cache_has(trust->cache, key, now_s)) {
        return 0;
    }
    TRY(ek_certificate_parse(certificate, &parsed, &size, err));
    TRY(check_key(ek, parsed, err));
    TRY(ek_chain_verify(trust->anchors, parsed, chain, chain_count, now_s, &validity, err));
    ek_cache_put(trust->cache, key, &validity);
    return 0;
}

static bool is_listed(const struct ek_trust *trust, const TPMT_PUBLIC *ek)
{
    uint8_t digest[HASH_MAX_BYTES];
    _cleanup_(buffer_clear) struct buffer spki = {0};
    if (!trust->listed || public_spki(ek, &spki, NULL) < 0) {
        return false;
    }
    const struct bytes part = buffer_bytes(&spki);
    return hash_compute(hash_by_id(TPM2_ALG_SHA256), &part, 1, digest, NULL) == 0 &&
           is_digest_listed(trust, digest);
}

int ek_trust_judge(struct ek_trust *trust, const TPMT_PUBLIC *ek, struct bytes certificate,
                   const struct bytes *chain, size_t chain_count, int64_t now_s,
                   const char **ret_how, struct error *err)
{
    struct error why;
    if (!ek_template_of(ek)) {
        return error_set(err, ERROR_PERMISSION_DENIED,
                         "the EK is not made from a template of the TCG EK Credential Profile: "
                         "its attributes, policy or algorithms are others");
    }
    if (certificate.size == 0) {
        (void)error_set(&why, ERROR_PERMISSION_DENIED,
                        "the EK has no certificate, and its hash is not listed");
    } else if (trust->anchor_count == 0) {
        (void)error_set(&why, ERROR_PERMISSION_DENIED,
                        "the EK's hash is not listed, and no manufacturer's CA is believed");
    } else if (judge_certificate(trust, ek, certificate, chain, chain_count, now_s, &why) == 0) {
        *ret_how = "certificate";
        return 0;
    }
    if (is_listed(trust, ek)) {
        *ret_how = "hash";
        return 0;
    }
    return error_set(err, why.code, "%s", why.text);
}
