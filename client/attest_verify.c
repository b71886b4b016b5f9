/* signet attest verify */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "attest/judge.h"
#include "client/attest_input.h"
#include "client/attest_issuers.h"
#include "client/attest_report.h"
#include "client/attest_subject.h"
#include "client/audit_time.h"
#include "client/nonce.h"
#include "client/output.h"
#include "client/subcommands.h"
#include "lib/base/clock.h"
#include "lib/base/memory.h"

enum { POLICY_MAX_BYTES = 1 << 20 };

struct verification {
    struct evidence evidence;
    struct attest_policy policy;
    struct attest_issuers issuers;
    struct secret challenge_secret;
    struct verdict verdict;
    struct attest_subject subject;
    char ek_fingerprint[80]; /* empty: there is no EK in it */
    int64_t judged_at_s;
};

static void verification_clear(struct verification *verification)
{
    evidence_clear(&verification->evidence);
    attest_policy_clear(&verification->policy);
    attest_issuers_clear(&verification->issuers);
    secret_clear(&verification->challenge_secret);
    verdict_clear(&verification->verdict);
    attest_subject_clear(&verification->subject);
}

/* What is brought along */

static int read_policy(const struct arguments *arguments, struct attest_policy *policy,
                       struct error *err)
{
    _cleanup_(buffer_clear) struct buffer text = {0};
    if (arguments->policy) {
        TRY(buffer_read_file(arguments->policy, POLICY_MAX_BYTES, &text, err));
        if (attest_policy_parse(buffer_bytes(&text), policy, err) < 0) {
            return error_prepend(err, "reading the policy %s", arguments->policy);
        }
    }
    return attest_input_ek_trust(arguments, &policy->ek_trust, err);
}

static int read_issuers(const struct arguments *arguments, struct attest_issuers *issuers,
                        struct error *err)
{
    if (arguments->bundle) {
        return attest_issuers_read(arguments->bundle, issuers, err);
    }
    if (arguments->secret) {
        issuers->source = memory_copy_text("none: --bundle is not given");
    } else {
        attest_issuers_ask(arguments, issuers);
    }
    return 0;
}

static int read_time(const struct arguments *arguments, int64_t *ret_s, struct error *err)
{
    int64_t ms = 0;
    *ret_s = clock_now_s();
    if (arguments->at) {
        if (audit_time_parse(arguments->at, *ret_s * 1000, &ms, err) < 0) {
            return error_prepend(err, "--at");
        }
        *ret_s = ms / 1000;
    }
    return 0;
}

/* The agent is asked last: what is wrong with the files is said without it. */
static int prepare(const struct arguments *arguments, struct verification *verification,
                   struct error *err)
{
    if (arguments->secret) {
        TRY(secret_init(err));
        TRY(attest_input_read_secret(arguments->secret, &verification->challenge_secret, err));
    }
    TRY(read_time(arguments, &verification->judged_at_s, err));
    TRY(read_policy(arguments, &verification->policy, err));
    TRY(attest_input_evidence(arguments->operand, &verification->evidence, err));
    return read_issuers(arguments, &verification->issuers, err);
}

/* Judging */

static void read_subject(struct verification *verification)
{
    const struct evidence *evidence = &verification->evidence;
    TPMT_PUBLIC ek;
    if (evidence->key_certificates.count > 0) {
        attest_subject_read(buffer_bytes(&evidence->key_certificates.items[0]),
                            &verification->subject);
    }
    if (public_parse(buffer_bytes(&evidence->ek_public), &ek, NULL) < 0 ||
        judge_ek_fingerprint(&ek, verification->ek_fingerprint, NULL) < 0) {
        verification->ek_fingerprint[0] = '\0';
    }
}

static void refute_subject(struct verdict *verdict, const char *id, const char *why)
{
    verdict_set(verdict, CLAIM_KEY_CERTIFICATE, CLAIM_REFUTED, VERDICT_KEY_CERTIFICATE,
                "the key's certificate is for %.160s%.160s", id, why);
}

/* A bundle speaks for the identities of its own trust domain only (X509-SVID 5), and the evidence
 * has to be about the identity that was asked for. */
static void judge_subject(const struct arguments *arguments, struct verification *verification)
{
    const struct attest_subject *subject = &verification->subject;
    const char *trust_domain = verification->issuers.trust_domain;
    const char *id = subject->spiffe_id ? subject->spiffe_id : "no SPIFFE ID";
    struct verdict *verdict = &verification->verdict;
    bool has_certificate = verification->evidence.key_certificates.count > 0;
    if (has_certificate && trust_domain && !attest_subject_is_of(subject, trust_domain)) {
        _cleanup_(free_cleanup) char *why =
            text_format(", and the trust bundle is that of %s", trust_domain);
        refute_subject(verdict, id, why);
    }
    if (!arguments->spiffe_id) {
        return;
    }
    verdict->required |= UINT32_C(1) << CLAIM_KEY_CERTIFICATE;
    if (has_certificate && strcmp(id, arguments->spiffe_id) != 0) {
        _cleanup_(free_cleanup) char *why = text_format(", not for %s", arguments->spiffe_id);
        refute_subject(verdict, id, why);
    } else if (verdict->claims[CLAIM_KEY_CERTIFICATE].result == CLAIM_NOT_JUDGED) {
        verdict_set(verdict, CLAIM_KEY_CERTIFICATE, CLAIM_NOT_PROVEN, VERDICT_MISSING,
                    "whose key it is cannot be told: there is no certificate of it");
    }
}

static void judge(const struct arguments *arguments, struct verification *verification)
{
    const struct evidence *evidence = &verification->evidence;
    const struct judge_request request = {
        .evidence = evidence,
        .policy = &verification->policy,
        .nonce = buffer_bytes(&arguments->nonce),
        .challenge_secret = secret_bytes(&verification->challenge_secret),
        .issuers = verification->issuers.certificates,
        .wants_key = arguments->spiffe_id || evidence->key_public.size > 0 ||
                     evidence->key.attested.size > 0 || evidence->key_certificates.count > 0,
        .now_s = verification->judged_at_s,
    };
    judge_evidence(&request, &verification->verdict);
    read_subject(verification);
    judge_subject(arguments, verification);
}

/* Telling */

static void print_text(const struct arguments *arguments, const struct verification *verification,
                       const struct attest_report *report, const struct finding *flaw)
{
    const struct attest_subject *subject = &verification->subject;
    const struct verdict *verdict = &verification->verdict;
    _cleanup_(free_cleanup) char *made = output_time(verification->evidence.made_at_s);
    _cleanup_(free_cleanup) char *judged = output_time(verification->judged_at_s);
    bool is_certified = verdict->claims[CLAIM_KEY_CERTIFICATE].result == CLAIM_PROVEN;
    output_title("%s is %s",
                 strcmp(arguments->operand, "-") == 0 ? "the evidence" : arguments->operand,
                 flaw ? "NOT BELIEVED" : "believed");
    output_field("reason", "%s", flaw ? verdict_reason_name(flaw->reason) : "");
    output_field("", "%s", flaw ? flaw->text : "");
    output_field("key of", "%s%s", subject->spiffe_id ? subject->spiffe_id : "",
                 subject->spiffe_id && !is_certified ? " (says a certificate that is not believed)"
                                                     : "");
    output_field("serial", "%s", subject->serial ? subject->serial : "");
    output_field("ek", "%s", verification->ek_fingerprint);
    output_field("bundle", "%s", verification->issuers.source);
    output_field("baseline", "%s", verdict->baseline);
    if (verification->evidence.made_at_s > 0) {
        output_field("made", "%s, by the host's clock", made);
    }
    output_field("judged", "%s%s", arguments->at ? "as of " : "", judged);
    attest_report_print(report, arguments->has_pcrs);
}

static void print_json(const struct arguments *arguments, const struct verification *verification,
                       const struct attest_report *report, const struct finding *flaw,
                       enum claim claim)
{
    /* A script takes what stands there for true, so only what was shown does. */
    static const struct attest_subject nobody = {0};
    bool is_certified = verification->verdict.claims[CLAIM_KEY_CERTIFICATE].result == CLAIM_PROVEN;
    const struct attest_subject *subject = is_certified ? &verification->subject : &nobody;
    _cleanup_(free_cleanup) char *made = output_time_json(verification->evidence.made_at_s);
    _cleanup_(free_cleanup) char *judged = output_time_json(verification->judged_at_s);
    _cleanup_(free_cleanup) char *nonce = text_hex(buffer_bytes(&arguments->nonce));
    json_t *object = json_pack(
        "{s:o, s:b, s:s, s:s, s:o, s:s, s:s?, s:s?, s:s, s:o, s:s, s:s?, s:s}", "file",
        output_json_text(arguments->operand), "believed", (int)(flaw == NULL), "claim",
        flaw ? claim_name(claim) : "", "reason", flaw ? verdict_reason_name(flaw->reason) : "",
        "text", output_json_text(flaw ? flaw->text : ""), "nonce", nonce, "spiffe_id",
        subject->spiffe_id, "serial", subject->serial, "ek_fingerprint",
        verification->ek_fingerprint, "bundle", output_json_text(verification->issuers.source),
        "baseline", verification->verdict.baseline, "made_at",
        verification->evidence.made_at_s > 0 ? made : NULL, "judged_at", judged);
    attest_report_json(report, object);
    output_json(object, false);
}

static int tell(const struct arguments *arguments, const struct verification *verification,
                struct error *err)
{
    _cleanup_(attest_report_clear) struct attest_report report = {0};
    enum claim claim = CLAIM_EK_GENUINE;
    const struct finding *flaw = verdict_first_flaw(&verification->verdict, &claim);
    attest_report_of_verdict(&verification->verdict, &report);
    if (arguments->output == OUTPUT_JSON) {
        print_json(arguments, verification, &report, flaw, claim);
    } else {
        print_text(arguments, verification, &report, flaw);
    }
    if (verdict_allows(&verification->verdict)) {
        return 0;
    }
    return error_set(err, ERROR_FAILED_PRECONDITION, "not believed: %s: %s: %s", claim_name(claim),
                     flaw ? verdict_reason_name(flaw->reason) : "", flaw ? flaw->text : "");
}

static int verify(const struct arguments *arguments, struct error *err)
{
    _cleanup_(verification_clear) struct verification verification = {0};
    TRY(prepare(arguments, &verification, err));
    judge(arguments, &verification);
    return tell(arguments, &verification, err);
}

static const struct command_option verify_options[] = {
    {"nonce", "N", "the nonce that the evidence was asked for with", nonce_set,
     offsetof(struct arguments, nonce), true},
    {"ek-cas", "DIR", "certificates of the TPM manufacturers' CAs to believe", option_set_text,
     offsetof(struct arguments, ek_cas), false},
    {"ek-hash", "HASH", "an endorsement key to believe: sha256:HEX; may be repeated",
     option_set_list, offsetof(struct arguments, ek_hashes), false},
    {"bundle", "FILE", "trust bundle of the host's trust domain: PEM, or SPIFFE bundle",
     option_set_text, offsetof(struct arguments, bundle), false},
    {"challenge-secret", "FILE", "of signet attest challenge, whose answer is in the evidence",
     option_set_text, offsetof(struct arguments, secret), false},
    {"policy", "FILE", "what is asked of the host besides; JSON", option_set_text,
     offsetof(struct arguments, policy), false},
    {"spiffe-id", "ID", "the identity that it has to be about", option_set_text,
     offsetof(struct arguments, spiffe_id), false},
    {"at", "TIME", "judge as of then: 2026-11-21T10:00:00Z", option_set_text,
     offsetof(struct arguments, at), false},
    {"pcrs", NULL, "also show the registers as they were quoted", option_set_flag,
     offsetof(struct arguments, has_pcrs), false},
};

const struct command command_attest_verify = {
    .name = "attest verify",
    .operand = "FILE",
    .summary = "judge evidence of any host, claim by claim",
    .about =
        "Needs no TPM and no agent; FILE - is standard input. That the attestation key is in the\n"
        "TPM is proven by its certificate, where --bundle has its issuer, or by the answer to a\n"
        "challenge (--challenge-secret). With neither, this host's own agent is asked for its\n"
        "trust bundle. Without --spiffe-id, look at whose key it is. Exit status 1: not believed.",
    .example = "signet attest verify evidence.json --nonce 0011223344556677 "
               "--ek-cas /etc/signet/ek-ca --bundle example.org.pem",
    .options = verify_options,
    .option_count = ARRAY_SIZE(verify_options),
    .run = verify,
};
