#include "agent/node/attestation.h"

#include <openssl/rand.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum { NONCE_BYTES = 32 };

void node_tpm_clear(struct node_tpm *tpm)
{
    if (tpm->host) {
        attest_host_close(take_ptr(tpm->host));
    }
    free((char *)tpm->config.ak_path);
    free((char *)tpm->config.event_log_path);
    free((char *)tpm->config.ima_path);
    free((char *)tpm->tcti);
    free((char *)tpm->freshness.path);
}

int node_tpm_open(struct node_tpm *tpm, struct error *err)
{
    return tpm->host ? 0 : attest_host_open(&tpm->config, &tpm->host, err);
}

/* Judging: what the verifier adds to what the TPM says. */
struct trial {
    struct attestation *attestation;
    struct evidence evidence;
    struct secret secret; /* of the challenge */
    struct judge_memory memory;
    uint8_t nonce[NONCE_BYTES];
    struct buffer primary;
};

static void trial_clear(struct trial *trial)
{
    evidence_clear(&trial->evidence);
    secret_clear(&trial->secret);
    buffer_clear(&trial->primary);
}

/* TPM2_ActivateCredential of what only this EK can read, and only for this AK. */
static int prove_ak(struct trial *trial, struct attest_host *host, struct error *err)
{
    _cleanup_(challenge_clear) struct challenge challenge = {0};
    _cleanup_(secret_clear) struct secret hidden = {0};
    TRY(judge_challenge(&trial->evidence, &challenge, &trial->secret, err));
    TRY(attest_host_activate(host, &challenge, &hidden, err));
    return challenge_answer(secret_bytes(&hidden),
                            (struct bytes){trial->nonce, sizeof(trial->nonce)},
                            &trial->evidence.activated, err);
}

static int gather(struct trial *trial, struct error *err)
{
    const struct attestation *attestation = trial->attestation;
    struct node_tpm *tpm = attestation->tpm;
    TRY(node_tpm_open(tpm, err));
    TRY(node_primary_name(tpm->config.keystore, &trial->primary, err));
    TRY(attest_host_identify(tpm->host, &trial->evidence, err));
    if (RAND_bytes(trial->nonce, sizeof(trial->nonce)) != 1) {
        return error_set_openssl(err, ERROR_INTERNAL, "drawing a nonce");
    }
    TRY(prove_ak(trial, tpm->host, err));
    return attest_host_quote(tpm->host, (struct bytes){trial->nonce, sizeof(trial->nonce)},
                             &attestation->policy.selection, &trial->evidence, err);
}

/* What the memory says to the judge; borrowed from it. */
static const struct judge_memory *memory_for_judge(struct trial *trial)
{
    const struct node_memory *memory = &trial->attestation->memory;
    char boot_id[NODE_BOOT_ID_BYTES];
    node_boot_id(boot_id);
    trial->memory = (struct judge_memory){
        .is_known = memory->is_known,
        .ek_public = memory->ek_public,
        .ak_name = memory->ak_name,
        .clock = memory->clock,
        .is_same_boot = boot_id[0] && strcmp(boot_id, memory->boot_id) == 0,
    };
    return &trial->memory;
}

/* A selection without any accepted set would be compared with nothing. */
static void judge_baselines(struct attestation *attestation)
{
    const struct attest_policy *policy = &attestation->policy;
    struct verdict *verdict = &attestation->verdict;
    if (policy->selection.count == 0 || policy->baselines.count > 0) {
        return;
    }
    verdict->required |= 1U << CLAIM_PCR_ACCEPTED;
    verdict_set(verdict, CLAIM_PCR_ACCEPTED, CLAIM_NOT_PROVEN, VERDICT_NO_BASELINE,
                "there is no baseline of these registers yet to compare them with; where this host "
                "is as it should be, run signet attest baseline record --name NAME");
}

static void tell_kind(struct attestation *attestation, const struct trial *trial)
{
    TPMT_PUBLIC ek, ak;
    struct buffer *spki = &attestation->ak_spki;
    const struct verdict *verdict = &attestation->verdict;
    const struct ek_template *template;
    bool is_listed = strstr(verdict->claims[CLAIM_EK_GENUINE].text, "hash") != NULL;
    if (public_parse(buffer_bytes(&trial->evidence.ek_public), &ek, NULL) < 0 ||
        public_parse(buffer_bytes(&trial->evidence.ak_public), &ak, NULL) < 0) {
        return;
    }
    template = ek_template_of(&ek);
    (void)judge_ek_fingerprint(&ek, attestation->ek_fingerprint, NULL);
    (void)judge_ek_fingerprint(&ak, attestation->ak_fingerprint, NULL);
    (void)public_spki(&ak, spki, NULL);
    (void)snprintf(attestation->ek_kind, sizeof(attestation->ek_kind), "%s, %s",
                   template ? template->name : "no template",
                   !attestation->policy.ek_trust ? "first sight"
                   : is_listed                   ? "hash"
                                                 : "certificate");
}

/* What is believed becomes what the next one is compared with. */
static void remember(struct attestation *attestation, struct trial *trial)
{
    struct node_memory *memory = &attestation->memory;
    struct error err;
    TPMT_PUBLIC ak;
    if (public_parse(buffer_bytes(&trial->evidence.ak_public), &ak, &err) < 0 ||
        public_name(&ak, &memory->ak_name, &err) < 0) {
        return;
    }
    buffer_reset(&memory->ek_public);
    buffer_append(&memory->ek_public, trial->evidence.ek_public.data,
                  trial->evidence.ek_public.size);
    buffer_reset(&memory->primary);
    buffer_append(&memory->primary, trial->primary.data, trial->primary.size);
    memory->clock = attestation->verdict.clock;
    memory->attested_at_s = clock_now_s();
    memory->is_known = true;
    node_boot_id(memory->boot_id);
    if (node_memory_write(attestation->tpm->freshness.path, memory, &err) < 0) {
        log_error("node: what was attested cannot be written down: %s", err.text);
    }
}

static void judge(struct attestation *attestation, struct trial *trial)
{
    const struct judge_request request = {
        .evidence = &trial->evidence,
        .policy = &attestation->policy,
        .nonce = {trial->nonce, sizeof(trial->nonce)},
        .challenge_secret = secret_bytes(&trial->secret),
        .memory = memory_for_judge(trial),
        .now_s = clock_now_s(),
    };
    judge_evidence(&request, &attestation->verdict);
    judge_baselines(attestation);
    tell_kind(attestation, trial);
}

void attestation_run(struct attestation *attestation)
{
    _cleanup_(trial_clear) struct trial trial = {.attestation = attestation};
    struct node_tpm *tpm = attestation->tpm;
    struct error failure = {0};
    if (gather(&trial, &failure) < 0) {
        attestation_diagnose(attestation, &failure);
        if (tpm->host) { /* opened anew the next time, by what the TPM is then */
            attest_host_close(take_ptr(tpm->host));
        }
        return;
    }
    judge(attestation, &trial);
    freshness_judge(&tpm->freshness, &attestation->memory, &attestation->verdict);
    if (verdict_allows(&attestation->verdict)) {
        remember(attestation, &trial);
    }
}

void attestation_clear(struct attestation *attestation)
{
    attestation->policy.ek_trust = NULL; /* borrowed */
    attest_policy_clear(&attestation->policy);
    node_memory_clear(&attestation->memory);
    verdict_clear(&attestation->verdict);
    buffer_clear(&attestation->ak_spki);
}
