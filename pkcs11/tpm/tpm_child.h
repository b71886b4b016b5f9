/* Objects below a parent: the steps that each kind of them takes to be made, loaded and used. Each
 * sees to a session first. */
#pragma once

#include "pkcs11/tpm/tpm_device.h"

/* Makes one; TPM_RC_BAD_ANSWER where it is not of the template. */
TSS2_RC tpm_child_create(struct tpm_device *device, struct tpm_object *parent,
                         const TPM2B_PUBLIC *template, TPM2B_PUBLIC *ret_public,
                         TPM2B_PRIVATE *ret_private);
/* For load functions of tpm_object. */
TSS2_RC tpm_child_load(struct tpm_device *device, struct tpm_object *parent,
                       const TPM2B_PUBLIC *public, const TPM2B_PRIVATE *private,
                       TPM2_HANDLE *ret_handle);
/* Signs with a key of that type, which is loaded where it is not; request: of its kind and with a
 * value of the digest's size, else TPM_RC_BAD_REQUEST. The result is as keystore.h has it. */
int tpm_child_sign(struct tpm_device *device, struct tpm_object *object, enum key_type type,
                   const struct sign_request *request, uint8_t ret_signature[SIGNATURE_MAX_BYTES],
                   size_t *ret_size, struct error *err);
