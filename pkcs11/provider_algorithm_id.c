#include <openssl/objects.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "pkcs11/provider.h"

static const int digest_nids[] = {
    [SIGN_DIGEST_SHA256] = NID_sha256,
    [SIGN_DIGEST_SHA384] = NID_sha384,
    [SIGN_DIGEST_SHA512] = NID_sha512,
};

/* RFC 4055 3.1: the mask generation names its hash as a parameter. */
static X509_ALGOR *mask_generation(X509_ALGOR *hash)
{
    ASN1_STRING *hash_der = ASN1_item_pack(hash, ASN1_ITEM_rptr(X509_ALGOR), NULL);
    X509_ALGOR *mask = X509_ALGOR_new();
    if (!hash_der || !mask ||
        !X509_ALGOR_set0(mask, OBJ_nid2obj(NID_mgf1), V_ASN1_SEQUENCE, hash_der)) {
        ASN1_STRING_free(hash_der);
        X509_ALGOR_free(mask);
        return NULL;
    }
    return mask;
}

static int fill_pss(RSA_PSS_PARAMS *pss, enum sign_digest digest)
{
    pss->hashAlgorithm = X509_ALGOR_new();
    pss->saltLength = ASN1_INTEGER_new();
    if (!pss->hashAlgorithm || !pss->saltLength ||
        !X509_ALGOR_set0(pss->hashAlgorithm, OBJ_nid2obj(digest_nids[digest]), V_ASN1_NULL, NULL) ||
        !ASN1_INTEGER_set(pss->saltLength, (long)sign_digest_size(digest))) {
        return 0;
    }
    pss->maskGenAlgorithm = mask_generation(pss->hashAlgorithm);
    return pss->maskGenAlgorithm != NULL;
}

static int set_pss(X509_ALGOR *algorithm, enum sign_digest digest)
{
    RSA_PSS_PARAMS *pss = RSA_PSS_PARAMS_new();
    ASN1_STRING *der = NULL;
    if (pss && fill_pss(pss, digest)) {
        der = ASN1_item_pack(pss, ASN1_ITEM_rptr(RSA_PSS_PARAMS), NULL);
    }
    RSA_PSS_PARAMS_free(pss);
    if (!der || !X509_ALGOR_set0(algorithm, OBJ_nid2obj(NID_rsassaPss), V_ASN1_SEQUENCE, der)) {
        ASN1_STRING_free(der);
        return 0;
    }
    return 1;
}

static int set_algorithm(X509_ALGOR *algorithm, enum sign_scheme scheme, enum sign_digest digest)
{
    int nid = NID_undef;
    bool is_ecdsa = scheme == SIGN_SCHEME_ECDSA;
    if (scheme == SIGN_SCHEME_RSA_PSS) {
        return set_pss(algorithm, digest);
    }
    /* ECDSA has no parameters (RFC 5758 3.2), PKCS#1 v1.5 has NULL (RFC 4055 5). */
    return OBJ_find_sigid_by_algs(&nid, digest_nids[digest],
                                  is_ecdsa ? NID_X9_62_id_ecPublicKey : NID_rsaEncryption) &&
           X509_ALGOR_set0(algorithm, OBJ_nid2obj(nid), is_ecdsa ? V_ASN1_UNDEF : V_ASN1_NULL,
                           NULL);
}

int provider_algorithm_id(enum sign_scheme scheme, enum sign_digest digest, struct buffer *ret_der,
                          struct error *err)
{
    X509_ALGOR *algorithm = X509_ALGOR_new();
    unsigned char *der = NULL;
    int size = -1;
    if (algorithm && set_algorithm(algorithm, scheme, digest)) {
        size = i2d_X509_ALGOR(algorithm, &der);
    }
    X509_ALGOR_free(algorithm);
    if (size <= 0) {
        return error_set_openssl(err, ERROR_INTERNAL, "naming the algorithm of a signature");
    }
    buffer_append(ret_der, der, (size_t)size);
    OPENSSL_free(der);
    return 0;
}
