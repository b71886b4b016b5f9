/* signet attest challenge */
#include <jansson.h>
#include <stdio.h>

#include "attest/judge.h"
#include "attest/public.h"
#include "client/attest_input.h"
#include "client/output.h"
#include "client/subcommands.h"
#include "lib/base/clock.h"
#include "lib/base/file.h"

enum { CHALLENGE_MODE = 0644 };

/* A challenge to an EK that nobody vouches for would prove nothing. */
static int judge_ek(const struct evidence *evidence, struct ek_trust *trust, const char **ret_how,
                    char ret_fingerprint[80], struct error *err)
{
    const struct evidence_chain *chain = &evidence->ek_certificates;
    struct bytes rest[EVIDENCE_CHAIN_MAX];
    TPMT_PUBLIC ek;
    size_t rest_count = 0;
    for (size_t i = 1; i < chain->count; i++) {
        rest[rest_count++] = buffer_bytes(&chain->items[i]);
    }
    struct bytes certificate =
        chain->count > 0 ? buffer_bytes(&chain->items[0]) : (struct bytes){0};
    if (public_parse(buffer_bytes(&evidence->ek_public), &ek, err) < 0 ||
        ek_trust_judge(trust, &ek, certificate, rest, rest_count, clock_now_s(), ret_how, err) <
            0) {
        /* Refused for what it is, which is neither wrong usage nor a lack of rights here. */
        if (err) {
            err->code = ERROR_FAILED_PRECONDITION;
        }
        return error_prepend(err, "the endorsement key is not genuine");
    }
    return judge_ek_fingerprint(&ek, ret_fingerprint, err);
}

static int write_both(const struct arguments *arguments, const struct challenge *challenge,
                      const struct secret *secret, struct error *err)
{
    _cleanup_(buffer_clear) struct buffer json = {0};
    challenge_format(challenge, &json);
    TRY(attest_input_write_secret(arguments->secret, secret, err));
    return file_write_atomic(arguments->out, buffer_bytes(&json), CHALLENGE_MODE, err);
}

static int make(const struct arguments *arguments, const struct evidence *evidence,
                struct error *err)
{
    _cleanup_(ek_trust_free_cleanup) struct ek_trust *trust = NULL;
    _cleanup_(challenge_clear) struct challenge challenge = {0};
    _cleanup_(secret_clear) struct secret secret = {0};
    const char *how = NULL;
    char fingerprint[80] = "";
    TRY(attest_input_ek_trust(arguments, &trust, err));
    TRY(judge_ek(evidence, trust, &how, fingerprint, err));
    TRY(judge_challenge(evidence, &challenge, &secret, err));
    TRY(write_both(arguments, &challenge, &secret, err));
    if (arguments->output == OUTPUT_JSON) {
        output_json(json_pack("{s:s, s:s, s:o, s:o}", "ek_fingerprint", fingerprint, "ek_by", how,
                              "challenge", output_json_text(arguments->out), "secret",
                              output_json_text(arguments->secret)),
                    false);
        return 0;
    }
    output_title("challenge for the TPM with the endorsement key %s", fingerprint);
    output_field("ek", "genuine, by its %s", how);
    output_field("challenge", "%s, for signet attest evidence --challenge there", arguments->out);
    output_field("secret", "%s, for signet attest verify --challenge-secret here",
                 arguments->secret);
    return 0;
}

static int challenge(const struct arguments *arguments, struct error *err)
{
    struct evidence evidence = {0};
    TRY(secret_init(err));
    TRY(attest_input_evidence(arguments->operand, &evidence, err));
    int result = make(arguments, &evidence, err);
    evidence_clear(&evidence);
    return result;
}

static const struct command_option challenge_options[] = {
    {"ek-cas", "DIR", "certificates of the TPM manufacturers' CAs to believe", option_set_text,
     offsetof(struct arguments, ek_cas), false},
    {"ek-hash", "HASH", "an endorsement key to believe: sha256:HEX; may be repeated",
     option_set_list, offsetof(struct arguments, ek_hashes), false},
    {"out", "FILE", "where the challenge goes, which is no secret", option_set_text,
     offsetof(struct arguments, out), true},
    {"secret", "FILE", "where its secret goes, which stays here", option_set_text,
     offsetof(struct arguments, secret), true},
};

const struct command command_attest_challenge = {
    .name = "attest challenge",
    .operand = "EVIDENCE",
    .summary = "a challenge that only the TPM of that evidence can answer",
    .about =
        "For a verifier that believes no certificate of the attestation key: proves that this\n"
        "key is in the TPM of that endorsement key. Send the challenge to the host, ask for\n"
        "evidence with it and a new nonce, and verify that with the secret.",
    .example = "signet attest challenge first.json --ek-cas /etc/signet/ek-ca --out challenge.json "
               "--secret challenge.secret",
    .options = challenge_options,
    .option_count = ARRAY_SIZE(challenge_options),
    .run = challenge,
};
