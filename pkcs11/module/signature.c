#include "pkcs11/module/signature.h"

#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <string.h>

#include "lib/base/ecdsa.h"
#include "pkcs11/key_type.h"

DEFINE_CLEANUP(EVP_PKEY, pkey, EVP_PKEY_free);
DEFINE_CLEANUP(EVP_PKEY_CTX, pkey_context, EVP_PKEY_CTX_free);

/* DigestInfo up to the digest itself, RFC 8017 9.2 note 1; hash and mask for PSS. */
static const struct {
    uint8_t prefix[19];
    CK_MECHANISM_TYPE hash;
    CK_RSA_PKCS_MGF_TYPE mask;
    const EVP_MD *(*openssl)(void);
} digests[] = {
    [SIGN_DIGEST_SHA256] = {{0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03,
                             0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20},
                            CKM_SHA256,
                            CKG_MGF1_SHA256,
                            EVP_sha256},
    [SIGN_DIGEST_SHA384] = {{0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03,
                             0x04, 0x02, 0x02, 0x05, 0x00, 0x04, 0x30},
                            CKM_SHA384,
                            CKG_MGF1_SHA384,
                            EVP_sha384},
    [SIGN_DIGEST_SHA512] = {{0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03,
                             0x04, 0x02, 0x03, 0x05, 0x00, 0x04, 0x40},
                            CKM_SHA512,
                            CKG_MGF1_SHA512,
                            EVP_sha512},
};

static void append(struct module_signature *signature, const void *data, size_t size)
{
    memcpy(signature->input + signature->input_size, data, size);
    signature->input_size += size;
}

void module_signature_prepare(struct module_signature *signature, enum key_type type,
                              const struct sign_request *request)
{
    size_t number_bytes = key_type_info(type)->number_bytes;
    memset(signature, 0, sizeof(*signature));
    switch (request->scheme) {
    case SIGN_SCHEME_ECDSA:
        signature->mechanism.mechanism = CKM_ECDSA;
        signature->size = 2 * number_bytes;
        /* FIPS 186-4 6.4: the leftmost bits count. Some modules refuse more than that. */
        append(signature, request->value.data, MIN(request->value.size, number_bytes));
        break;
    case SIGN_SCHEME_RSA_PKCS1:
        signature->mechanism.mechanism = CKM_RSA_PKCS;
        signature->size = number_bytes;
        append(signature, digests[request->digest].prefix, sizeof(digests[0].prefix));
        append(signature, request->value.data, request->value.size);
        break;
    case SIGN_SCHEME_RSA_PSS:
        signature->parameters = (CK_RSA_PKCS_PSS_PARAMS){
            digests[request->digest].hash, digests[request->digest].mask, request->value.size};
        signature->mechanism =
            (CK_MECHANISM){CKM_RSA_PKCS_PSS, &signature->parameters, sizeof(signature->parameters)};
        signature->size = number_bytes;
        append(signature, request->value.data, request->value.size);
        break;
    }
}

CK_RV module_signature_make(const struct module_session *session, const struct module_where *where,
                            struct module_signature *signature, CK_OBJECT_HANDLE key,
                            uint8_t ret_signature[SIGNATURE_MAX_BYTES], size_t *ret_size,
                            struct error *err)
{
    CK_ULONG size = SIGNATURE_MAX_BYTES;
    CK_RV rv = session->functions->C_SignInit(session->handle, &signature->mechanism, key);
    if (rv != CKR_OK) {
        (void)module_status_set(err, rv, "C_SignInit", where);
        return rv;
    }
    rv = session->functions->C_Sign(session->handle, signature->input, signature->input_size,
                                    ret_signature, &size);
    if (rv != CKR_OK) {
        (void)module_status_set(err, rv, "C_Sign", where);
        return rv;
    }
    if (size != signature->size) {
        (void)error_set(err, ERROR_INTERNAL,
                        "C_Sign of module %s on token \"%s\" gave %lu bytes where %zu are right",
                        where->module, where->token, size, signature->size);
        return CKR_SIGNATURE_LEN_RANGE;
    }
    *ret_size = size;
    return CKR_OK;
}

static bool set_scheme(EVP_PKEY_CTX *context, const struct sign_request *request)
{
    if (EVP_PKEY_CTX_set_signature_md(context, digests[request->digest].openssl()) <= 0) {
        return false;
    }
    if (request->scheme == SIGN_SCHEME_ECDSA) {
        return true;
    }
    bool is_pss = request->scheme == SIGN_SCHEME_RSA_PSS;
    return EVP_PKEY_CTX_set_rsa_padding(context,
                                        is_pss ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING) > 0 &&
           (!is_pss || EVP_PKEY_CTX_set_rsa_pss_saltlen(context, (int)request->value.size) > 0);
}

int module_signature_verify(struct bytes spki, enum key_type type,
                            const struct sign_request *request, struct bytes signature,
                            struct error *err)
{
    _cleanup_(buffer_clear) struct buffer der = {0};
    const unsigned char *cursor = spki.data;
    _cleanup_(pkey_cleanup) EVP_PKEY *key = d2i_PUBKEY(NULL, &cursor, (long)spki.size);
    _cleanup_(pkey_context_cleanup) EVP_PKEY_CTX *context =
        key ? EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL) : NULL;
    bool is_ready = context && EVP_PKEY_verify_init(context) > 0 && set_scheme(context, request);
    if (is_ready && request->scheme == SIGN_SCHEME_ECDSA) {
        is_ready = ecdsa_encode_pair(signature, &der);
        signature = buffer_bytes(&der);
    }
    if (!is_ready || EVP_PKEY_verify(context, signature.data, signature.size, request->value.data,
                                     request->value.size) != 1) {
        return error_set_openssl(err, ERROR_DATA_LOSS, "verifying a signature of an %s key",
                                 key_type_name(type));
    }
    return 0;
}
