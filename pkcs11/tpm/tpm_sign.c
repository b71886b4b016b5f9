#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "lib/base/log.h"
#include "pkcs11/tpm/tpm_child.h"
#include "pkcs11/tpm/tpm_key.h"

DEFINE_CLEANUP(EVP_PKEY, evp_pkey, EVP_PKEY_free);
DEFINE_CLEANUP(EVP_PKEY_CTX, evp_pkey_context, EVP_PKEY_CTX_free);

static const char *const digests[] = {
    /* OpenSSL's names */
    [SIGN_DIGEST_SHA256] = "SHA256",
    [SIGN_DIGEST_SHA384] = "SHA384",
    [SIGN_DIGEST_SHA512] = "SHA512",
};

/* Older TPMs salt RSA-PSS with as much as fits, which TLS 1.3 peers refuse. The first signature
 * tells. */
static bool has_fitting_salt(const struct tpm_key *key, const struct sign_request *request,
                             struct bytes signature)
{
    const struct buffer *spki = &key->base.spki;
    const unsigned char *der = spki->data;
    const char *digest = digests[request->digest];
    _cleanup_(evp_pkey_cleanup) EVP_PKEY *pkey = d2i_PUBKEY(NULL, &der, (long)spki->size);
    _cleanup_(evp_pkey_context_cleanup) EVP_PKEY_CTX *context =
        pkey ? EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL) : NULL;
    return context && EVP_PKEY_verify_init(context) == 1 &&
           EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) == 1 &&
           EVP_PKEY_CTX_set_signature_md(context, EVP_get_digestbyname(digest)) == 1 &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST) == 1 &&
           EVP_PKEY_verify(context, signature.data, signature.size, request->value.data,
                           request->value.size) == 1;
}

static bool is_salt_wrong(const struct tpm_device *device, const struct sign_request *request)
{
    return request->scheme == SIGN_SCHEME_RSA_PSS && device->pss == TPM_PSS_DIFFERS;
}

static void note_salt(struct tpm_device *device, const struct tpm_key *key,
                      const struct sign_request *request, struct bytes signature)
{
    if (request->scheme == SIGN_SCHEME_RSA_PSS && device->pss == TPM_PSS_UNKNOWN) {
        device->pss = has_fitting_salt(key, request, signature) ? TPM_PSS_FITS : TPM_PSS_DIFFERS;
    }
}

/* The primary is the one that made the key, so a blob that does not load is gone for good. */
static int lose(struct tpm_device *device, struct tpm_key *key, struct error *err)
{
    key->base.is_lost = true;
    keystore_driver_keys_lost();
    log_error("keystore %s: an %s key is lost: the TPM no longer takes its blob", device->name,
              key_type_name(key->base.type));
    if (err) {
        err->code = ERROR_DATA_LOSS;
    }
    return -1;
}

int tpm_key_sign(struct tpm_device *device, struct tpm_key *key, const struct sign_request *request,
                 uint8_t ret_signature[SIGNATURE_MAX_BYTES], size_t *ret_size, struct error *err)
{
    struct error reason;
    if (is_salt_wrong(device, request)) {
        return tpm_rc_error(err, TPM_RC_PSS_SALT, "signing in the TPM");
    }
    if (tpm_child_sign(device, &key->object, key->base.type, request, ret_signature, ret_size,
                       &reason) < 0) {
        if (err) {
            *err = reason;
        }
        (void)error_prepend(err, "signing with an %s key in the TPM",
                            key_type_name(key->base.type));
        return reason.code == ERROR_NOT_FOUND ? lose(device, key, err) : -1;
    }
    note_salt(device, key, request, (struct bytes){ret_signature, *ret_size});
    return is_salt_wrong(device, request) ? tpm_rc_error(err, TPM_RC_PSS_SALT, "TPM2_Sign") : 0;
}
