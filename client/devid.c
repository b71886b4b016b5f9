/* signet attest devid init, csr, install */
#include "attest/host/devid.h"

#include <stdio.h>

#include "client/subcommands.h"
#include "client/tpm_access.h"
#include "lib/base/file.h"

enum { CHAIN_MAX_BYTES = 64 << 10 };

static int set_key_type(void *field, const char *text, struct error *err)
{
    return key_type_parse(text, field, err);
}

static int run_init(const struct arguments *arguments, struct error *err)
{
    _cleanup_(tpm_access_close_cleanup) struct tpm_device *device = NULL;
    TRY(tpm_access_open(arguments, &device, err));
    return devid_init(device, arguments->folder, arguments->key_type, err);
}

static int run_csr(const struct arguments *arguments, struct error *err)
{
    _cleanup_(tpm_access_close_cleanup) struct tpm_device *device = NULL;
    _cleanup_(buffer_clear) struct buffer pem = {0};
    TRY(tpm_access_open(arguments, &device, err));
    TRY(devid_csr(device, arguments->folder, arguments->subject, &pem, err));
    if (arguments->out) {
        return file_write_atomic(arguments->out, buffer_bytes(&pem), 0644, err);
    }
    (void)fwrite(pem.data, 1, pem.size, stdout);
    return 0;
}

static int run_install(const struct arguments *arguments, struct error *err)
{
    _cleanup_(tpm_access_close_cleanup) struct tpm_device *device = NULL;
    _cleanup_(buffer_clear) struct buffer chain = {0};
    if (!arguments->operand) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "a file with the certificate is needed, and with those above it");
    }
    TRY(buffer_read_file(arguments->operand, CHAIN_MAX_BYTES, &chain, err));
    TRY(tpm_access_open(arguments, &device, err));
    return devid_install(device, arguments->folder, buffer_bytes(&chain), err);
}

#define FOLDER_OPTION                                                                              \
    {                                                                                              \
        "dir", "DIR", "where the DevID's files are", option_set_text,                              \
            offsetof(struct arguments, folder), true                                               \
    }

static const struct command_option init_options[] = {
    FOLDER_OPTION,
    TPM_ACCESS_TCTI_OPTION,
    {"key-type", "TYPE", "ec-p256 (the default) or rsa-2048", set_key_type,
     offsetof(struct arguments, key_type), false},
};

const struct command command_devid_init = {
    .name = "attest devid init",
    .summary = "make a key in the TPM that names this host (LDevID)",
    .about = "Writes devid.pub.blob and devid.priv.blob, which SPIRE's tpm_devid plugin reads.",
    .example = "signet attest devid init --dir /etc/spire/devid",
    .options = init_options,
    .option_count = ARRAY_SIZE(init_options),
    .run = run_init,
};

static const struct command_option csr_options[] = {
    FOLDER_OPTION,
    TPM_ACCESS_TCTI_OPTION,
    {"subject", "NAME", "such as \"CN=node1,serialNumber=1\" (RFC 4514)", option_set_text,
     offsetof(struct arguments, subject), true},
    {"out", "FILE", "write it there instead of to standard output", option_set_text,
     offsetof(struct arguments, out), false},
};

const struct command command_devid_csr = {
    .name = "attest devid csr",
    .summary = "a certificate request for that key, signed by it",
    .about = "PKCS #10, PEM.",
    .example = "signet attest devid csr --dir /etc/spire/devid --subject CN=node1",
    .options = csr_options,
    .option_count = ARRAY_SIZE(csr_options),
    .run = run_csr,
};

static const struct command_option install_options[] = {FOLDER_OPTION, TPM_ACCESS_TCTI_OPTION};

const struct command command_devid_install = {
    .name = "attest devid install",
    .operand = "CHAIN",
    .summary = "check the certificate that was issued, and put it in place",
    .about = "CHAIN is PEM: the DevID's certificate, then those of the CAs above it, in order.\n"
             "Writes devid.crt.pem.",
    .example = "signet attest devid install --dir /etc/spire/devid node1.pem",
    .options = install_options,
    .option_count = ARRAY_SIZE(install_options),
    .run = run_install,
};
