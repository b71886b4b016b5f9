/* signet attest devid certify */
#include <stdio.h>

#include "attest/host/devid.h"
#include "client/nonce.h"
#include "client/subcommands.h"
#include "client/tpm_access.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "pkcs11/tpm/tpm.h"

DEFINE_CLEANUP(struct keystore, keystore, keystore_free);

static int answer_challenge(const struct arguments *arguments, struct attest_host *host,
                            struct evidence *evidence, struct error *err)
{
    _cleanup_(buffer_clear) struct buffer json = {0};
    _cleanup_(challenge_clear) struct challenge challenge = {0};
    _cleanup_(secret_clear) struct secret hidden = {0};
    TRY(buffer_read_file(arguments->challenge, CHALLENGE_MAX_BYTES, &json, err));
    if (challenge_parse(buffer_bytes(&json), &challenge, err) < 0) {
        return error_prepend(err, "reading the challenge in %s", arguments->challenge);
    }
    TRY(attest_host_activate(host, &challenge, &hidden, err));
    return challenge_answer(secret_bytes(&hidden), buffer_bytes(&arguments->nonce),
                            &evidence->activated, err);
}

static int collect(const struct arguments *arguments, struct keystore *keystore,
                   struct evidence *evidence, struct error *err)
{
    struct pcr_selection selection;
    _cleanup_(attest_host_close_cleanup) struct attest_host *host = NULL;
    _cleanup_(free_cleanup) char *ak_path = file_join(arguments->folder, "devid.ak");
    const struct attest_host_config config = {
        .keystore = keystore, .ak_type = KEY_TYPE_EC_P256, .ak_path = ak_path};
    TRY(attest_host_open(&config, &host, err));
    TRY(attest_host_identify(host, evidence, err));
    if (arguments->challenge) {
        TRY(answer_challenge(arguments, host, evidence, err));
    }
    /* A CA may look at them. */
    TRY(pcr_selection_parse(PCR_DEFAULT_SELECTION, &selection, err));
    TRY(attest_host_quote(host, buffer_bytes(&arguments->nonce), &selection, evidence, err));
    return devid_certify(host, arguments->folder, buffer_bytes(&arguments->nonce), evidence, err);
}

static int write_evidence(const struct arguments *arguments, const struct evidence *evidence,
                          struct error *err)
{
    _cleanup_(buffer_clear) struct buffer json = {0};
    evidence_format(evidence, &json);
    if (arguments->out) {
        return file_write_atomic(arguments->out, buffer_bytes(&json), 0644, err);
    }
    (void)fwrite(json.data, 1, json.size, stdout);
    return 0;
}

static int run_certify(const struct arguments *arguments, struct error *err)
{
    const struct tpm_config tpm = {.tcti =
                                       arguments->tcti ? arguments->tcti : TPM_ACCESS_DEFAULT_TCTI};
    const struct keystore_config config = {
        .name = "tpm", .driver = &keystore_driver_tpm, .driver_config = &tpm};
    _cleanup_(keystore_cleanup) struct keystore *keystore = NULL;
    _cleanup_(evidence_clear) struct evidence evidence = {0};
    TRY(tpm_access_prepare(err));
    TRY(keystore_new(&config, &keystore, err));
    TRY(collect(arguments, keystore, &evidence, err));
    return write_evidence(arguments, &evidence, err);
}

static const struct command_option options[] = {
    {"dir", "DIR", "where the DevID's files are", option_set_text,
     offsetof(struct arguments, folder), true},
    {"nonce", "N", "what the CA chose: hexadecimal, or base64:TEXT; 8 to 32 bytes", nonce_set,
     offsetof(struct arguments, nonce), true},
    {"challenge", "FILE", "have the TPM answer a challenge of signet attest challenge",
     option_set_text, offsetof(struct arguments, challenge), false},
    TPM_ACCESS_TCTI_OPTION,
    {"out", "FILE", "write it there instead of to standard output", option_set_text,
     offsetof(struct arguments, out), false},
};

const struct command command_devid_certify = {
    .name = "attest devid certify",
    .summary = "evidence for a CA that the DevID's key is in this TPM",
    .about = "For signet attest verify: an attestation key, kept in DIR/devid.ak, says that the\n"
             "key was made in the TPM and cannot leave it. A request alone does not prove that.",
    .example = "signet attest devid certify --dir /etc/spire/devid --nonce 0011223344556677",
    .options = options,
    .option_count = ARRAY_SIZE(options),
    .run = run_certify,
};
