/* signet seal approve */
#include <stdio.h>
#include <string.h>

#include "attest/host/seal.h"
#include "attest/host/seal_file.h"
#include "client/subcommands.h"
#include "client/tpm_access.h"
#include "lib/base/file.h"

/* Those of now where the TPM is to be asked, then those given, which go before them. */
static int collect(const struct arguments *arguments, struct bytes file, struct pcr_set *ret_pcrs,
                   struct error *err)
{
    struct pcr_selection selection = {0};
    *ret_pcrs = (struct pcr_set){0};
    if (!arguments->is_now && arguments->pcr_values.count == 0) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "which values? Give --now, --pcr sha256:7=HEX, or both");
    }
    TRY(seal_selection(file, &selection, err));
    if (arguments->is_now) {
        _cleanup_(tpm_access_close_cleanup) struct tpm_device *device = NULL;
        TRY(tpm_access_open(arguments, &device, err));
        TRY(seal_read_pcrs(device, &selection, ret_pcrs, err));
    }
    for (size_t i = 0; i < arguments->pcr_values.count; i++) {
        if (pcr_set_put_text(ret_pcrs, arguments->pcr_values.items[i], err) < 0) {
            return error_prepend(err, "--pcr");
        }
    }
    return 0;
}

static int write_request(const char *path, struct bytes file, const struct pcr_set *pcrs,
                         struct error *err)
{
    _cleanup_(buffer_clear) struct buffer to_sign = {0};
    TRY(seal_approval_request(file, pcrs, &to_sign, err));
    if (strcmp(path, "-") == 0) {
        /* A disk that is full is told of at the end of the program. */
        (void)fwrite(to_sign.data, 1, to_sign.size, stdout);
        return 0;
    }
    return file_write_atomic(path, buffer_bytes(&to_sign), 0644, err);
}

static int add_approval(const struct arguments *arguments, struct bytes file,
                        const struct pcr_set *pcrs, struct error *err)
{
    _cleanup_(buffer_clear) struct buffer signature = {0};
    _cleanup_(buffer_clear) struct buffer approved = {0};
    TRY(buffer_read_file(arguments->signature, SEAL_SIGNATURE_MAX_BYTES, &signature, err));
    TRY(seal_approve(file, pcrs, buffer_bytes(&signature), &approved, err));
    return file_write_atomic(arguments->operand, buffer_bytes(&approved), 0600, err);
}

static int run_approve(const struct arguments *arguments, struct error *err)
{
    _cleanup_(buffer_clear) struct buffer file = {0};
    struct pcr_set pcrs;
    if (!arguments->operand || !arguments->to_sign == !arguments->signature) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "a sealed file is needed, and either --to-sign or --signature");
    }
    TRY(buffer_read_file(arguments->operand, SEAL_FILE_MAX_BYTES, &file, err));
    TRY(collect(arguments, buffer_bytes(&file), &pcrs, err));
    return arguments->to_sign ? write_request(arguments->to_sign, buffer_bytes(&file), &pcrs, err)
                              : add_approval(arguments, buffer_bytes(&file), &pcrs, err);
}

static const struct command_option options[] = {
    {"to-sign", "FILE", "write what the authority signs (\"-\": standard output)", option_set_text,
     offsetof(struct arguments, to_sign), false},
    {"signature", "FILE", "add the approval: its signature, ECDSA with SHA-256, DER",
     option_set_text, offsetof(struct arguments, signature), false},
    {"now", NULL, "the values that the registers have now", option_set_flag,
     offsetof(struct arguments, is_now), false},
    {"pcr", "BANK:N=HEX", "a value, in place of the one of now; may be repeated", option_set_list,
     offsetof(struct arguments, pcr_values), false},
    TPM_ACCESS_TCTI_OPTION,
};

const struct command command_seal_approve = {
    .name = "seal approve",
    .operand = "FILE",
    .summary = "let a sealed file open in another state of the host too",
    .about =
        "Twice: first with --to-sign, then, when the authority that the file was sealed with has\n"
        "signed that, with --signature and the same values. The file is replaced; values that\n"
        "were approved before stay so. The TPM is asked only with --now.",
    .example = "signet seal approve --now --to-sign new.policy /etc/signet/hsm.sealed",
    .options = options,
    .option_count = ARRAY_SIZE(options),
    .run = run_approve,
};
