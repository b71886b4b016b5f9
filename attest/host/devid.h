/* LDevID: a key of the TPM that names this device to a CA of its owner (IEEE 802.1AR, TCG
 * DevID 1.0). Files as SPIRE's tpm_devid plugin reads them: devid.pub.blob (TPMT_PUBLIC),
 * devid.priv.blob (contents of TPM2B_PRIVATE), devid.crt.pem (leaf first). One thread; blocks. */
#pragma once

#include "attest/host/host.h"
#include "pkcs11/tpm/tpm_device.h"

/* Makes the key below the storage primary of its own type, empty authorization, and writes both
 * blobs (mode 0600) into the folder. AlreadyExists: there is one. */
int devid_init(struct tpm_device *device, const char *folder, enum key_type type,
               struct error *err);
/* A PKCS#10 request for it, signed by it, PEM, appended; subject: "CN=node1,serialNumber=1"
 * (RFC 4514). */
int devid_csr(struct tpm_device *device, const char *folder, const char *subject,
              struct buffer *ret_pem, struct error *err);
/* key_public and key of evidence: the AK's word that the key is in this TPM, for a CA that wants
 * more than a signature. The device of host's keystore is used, so not on a worker of it. */
int devid_certify(struct attest_host *host, const char *folder, struct bytes nonce,
                  struct evidence *ret_evidence, struct error *err);
/* Checks that the chain's leaf is of the key, that it is a certificate for signing and not past,
 * and writes devid.crt.pem. */
int devid_install(struct tpm_device *device, const char *folder, struct bytes chain_pem,
                  struct error *err);
