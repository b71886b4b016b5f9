/* How PKCS#11 is asked for a signature. */
#pragma once

#include "pkcs11/module/session.h"

/* Mechanism, parameters and input, ready for C_SignInit and C_Sign. Not to be moved: mechanism
 * points to parameters. */
struct module_signature {
    CK_MECHANISM mechanism;
    CK_RSA_PKCS_PSS_PARAMS parameters;
    uint8_t input[128];
    size_t input_size;
    size_t size; /* of the signature */
};

/* The request is one that sign_request_check accepted for the type. */
void module_signature_prepare(struct module_signature *signature, enum key_type type,
                              const struct sign_request *request);
/* C_SignInit and C_Sign. err is set unless CKR_OK is returned. */
CK_RV module_signature_make(const struct module_session *session, const struct module_where *where,
                            struct module_signature *signature, CK_OBJECT_HANDLE key,
                            uint8_t ret_signature[SIGNATURE_MAX_BYTES], size_t *ret_size,
                            struct error *err);
/* Whether the public key (SubjectPublicKeyInfo) verifies the signature. */
int module_signature_verify(struct bytes spki, enum key_type type,
                            const struct sign_request *request, struct bytes signature,
                            struct error *err);
