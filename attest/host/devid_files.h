/* The files of a DevID in its folder. */
#pragma once

#include <openssl/x509.h>

#include "attest/host/devid_key.h"

#define DEVID_PUBLIC_FILE "devid.pub.blob"
#define DEVID_PRIVATE_FILE "devid.priv.blob"
#define DEVID_CERTIFICATE_FILE "devid.crt.pem"

/* The key of the folder, loaded. NotFound: there is none. */
int devid_files_open(struct tpm_device *device, const char *folder, struct devid_key **ret_key,
                     struct error *err);

/* A name as RFC 4514 writes it, last part first: "CN=node1,serialNumber=1". The caller frees it. */
int devid_subject_parse(const char *text, X509_NAME **ret_name, struct error *err);
