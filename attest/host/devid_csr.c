#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "attest/host/devid.h"
#include "attest/host/devid_files.h"

DEFINE_CLEANUP(ASN1_BIT_STRING, bit_string, ASN1_BIT_STRING_free);
DEFINE_CLEANUP(BIO, bio, BIO_free_all);
DEFINE_CLEANUP(EVP_PKEY, evp_pkey, EVP_PKEY_free);
DEFINE_CLEANUP(X509_ALGOR, x509_algor, X509_ALGOR_free);
DEFINE_CLEANUP(X509_EXTENSION, x509_extension, X509_EXTENSION_free);
DEFINE_CLEANUP(X509_NAME, x509_name, X509_NAME_free);
DEFINE_CLEANUP(X509_REQ, x509_req, X509_REQ_free);

/* What the certificate is for; the CA decides. */
static bool add_key_usage(X509_REQ *request)
{
    _cleanup_(x509_extension_cleanup) X509_EXTENSION *usage =
        X509V3_EXT_conf_nid(NULL, NULL, NID_key_usage, "critical,digitalSignature");
    STACK_OF(X509_EXTENSION) *list = sk_X509_EXTENSION_new_null();
    bool is_added = usage && list && sk_X509_EXTENSION_push(list, usage) > 0 &&
                    X509_REQ_add_extensions(request, list) == 1;
    sk_X509_EXTENSION_free(list);
    return is_added;
}

static bool hash_request(X509_REQ *request, uint8_t ret_digest[TPM_HASH_BYTES])
{
    unsigned char *der = NULL;
    int size = i2d_re_X509_REQ_tbs(request, &der);
    bool is_hashed =
        size > 0 && EVP_Digest(der, (size_t)size, ret_digest, NULL, EVP_sha256(), NULL) == 1;
    OPENSSL_free(der);
    return is_hashed;
}

static bool set_signature(X509_REQ *request, enum key_type type, const struct buffer *signature)
{
    bool is_rsa = type == KEY_TYPE_RSA_2048;
    _cleanup_(x509_algor_cleanup) X509_ALGOR *algorithm = X509_ALGOR_new();
    _cleanup_(bit_string_cleanup) ASN1_BIT_STRING *bits = ASN1_BIT_STRING_new();
    if (!algorithm || !bits ||
        X509_ALGOR_set0(algorithm,
                        OBJ_nid2obj(is_rsa ? NID_sha256WithRSAEncryption : NID_ecdsa_with_SHA256),
                        is_rsa ? V_ASN1_NULL : V_ASN1_UNDEF, NULL) != 1 ||
        X509_REQ_set1_signature_algo(request, algorithm) != 1 ||
        ASN1_BIT_STRING_set(bits, signature->data, (int)signature->size) != 1) {
        return false;
    }
    /* Zeros at the end are part of it. */
    bits->flags = (bits->flags & ~(ASN1_STRING_FLAG_BITS_LEFT | 7)) | ASN1_STRING_FLAG_BITS_LEFT;
    X509_REQ_set0_signature(request, take_ptr(bits));
    return true;
}

static bool append_pem(X509_REQ *request, struct buffer *ret_pem)
{
    char *data = NULL;
    _cleanup_(bio_cleanup) BIO *bio = BIO_new(BIO_s_mem());
    if (!bio || PEM_write_bio_X509_REQ(bio, request) != 1) {
        return false;
    }
    long size = BIO_get_mem_data(bio, &data);
    buffer_append(ret_pem, data, (size_t)size);
    return true;
}

static int make_request(struct devid_key *key, X509_NAME *subject, EVP_PKEY *public,
                        X509_REQ *request, struct error *err)
{
    uint8_t digest[TPM_HASH_BYTES];
    _cleanup_(buffer_clear) struct buffer signature = {0};
    if (X509_REQ_set_version(request, X509_REQ_VERSION_1) != 1 ||
        X509_REQ_set_subject_name(request, subject) != 1 ||
        X509_REQ_set_pubkey(request, public) != 1 || !add_key_usage(request) ||
        !hash_request(request, digest)) {
        return error_set_openssl(err, ERROR_INTERNAL, "putting a certificate request together");
    }
    TRY(devid_key_sign(key, digest, &signature, err));
    if (!set_signature(request, key->type, &signature) || X509_REQ_verify(request, public) != 1) {
        return error_set_openssl(err, ERROR_INTERNAL, "signing a certificate request");
    }
    return 0;
}

static int write_request(struct tpm_device *device, const char *folder, const char *subject,
                         struct buffer *ret_pem, struct error *err)
{
    _cleanup_(x509_name_cleanup) X509_NAME *name = NULL;
    _cleanup_(devid_key_close_cleanup) struct devid_key *key = NULL;
    _cleanup_(x509_req_cleanup) X509_REQ *request = X509_REQ_new();
    TRY(devid_subject_parse(subject, &name, err));
    TRY(devid_files_open(device, folder, &key, err));
    _cleanup_(evp_pkey_cleanup) EVP_PKEY *public = tpm_public_pkey(&key->public, err);
    if (!public) {
        return -1;
    }
    if (!request) {
        return error_set_openssl(err, ERROR_INTERNAL, "putting a certificate request together");
    }
    TRY(make_request(key, name, public, request, err));
    return append_pem(request, ret_pem)
               ? 0
               : error_set_openssl(err, ERROR_INTERNAL, "encoding a certificate request");
}

int devid_csr(struct tpm_device *device, const char *folder, const char *subject,
              struct buffer *ret_pem, struct error *err)
{
    return write_request(device, folder, subject, ret_pem, err) < 0
               ? error_prepend(err, "requesting a certificate for a DevID")
               : 0;
}
