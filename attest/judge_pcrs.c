#include <string.h>

#include "attest/judge_internal.h"
#include "lib/base/memory.h"

const struct hash_algorithm *judge_scheme_hash(const TPMT_PUBLIC *public)
{
    if (public->type == TPM2_ALG_ECC) {
        return hash_by_id(public->parameters.eccDetail.scheme.details.anySig.hashAlg);
    }
    if (public->type == TPM2_ALG_RSA) {
        return hash_by_id(public->parameters.rsaDetail.scheme.details.anySig.hashAlg);
    }
    return NULL;
}

static bool read_bank(const TPMS_PCR_SELECTION *quoted, struct pcr_selection *selection)
{
    uint32_t mask = 0;
    for (size_t i = 0; i < selection->count; i++) {
        if (selection->banks[i].bank == quoted->hash) {
            return false;
        }
    }
    if (!hash_by_id(quoted->hash) || selection->count == PCR_BANKS_MAX ||
        quoted->sizeofSelect > sizeof(quoted->pcrSelect)) {
        return false;
    }
    for (size_t i = 0; i < quoted->sizeofSelect; i++) {
        mask |= (uint32_t)quoted->pcrSelect[i] << (8 * i);
    }
    selection->banks[selection->count].bank = quoted->hash;
    selection->banks[selection->count++].mask = mask;
    return mask >> PCR_COUNT == 0;
}

bool judge_selection_of(const TPML_PCR_SELECTION *quoted, struct pcr_selection *ret_selection,
                        TPM2_ALG_ID *ret_inactive)
{
    *ret_selection = (struct pcr_selection){0};
    *ret_inactive = TPM2_ALG_ERROR;
    if (quoted->count > ARRAY_SIZE(quoted->pcrSelections)) {
        return false;
    }
    for (size_t i = 0; i < quoted->count; i++) {
        if (!read_bank(&quoted->pcrSelections[i], ret_selection)) {
            return false;
        }
        if (ret_selection->banks[ret_selection->count - 1].mask == 0) {
            *ret_inactive = quoted->pcrSelections[i].hash;
        }
    }
    return true;
}

static void refuse(struct judging *judging, enum verdict_reason reason, const char *text)
{
    verdict_set(judging->verdict, CLAIM_PCR_VALUES, CLAIM_REFUTED, reason, "%s", text);
}

/* Bit for bit what the policy asks for; where it asks for nothing, what the host chose to quote. */
static bool judge_selection(struct judging *judging)
{
    const TPML_PCR_SELECTION *quoted = &judging->quote.attested.quote.pcrSelect;
    const struct pcr_selection *wanted = &judging->policy->selection;
    TPM2_ALG_ID inactive = TPM2_ALG_ERROR;
    if (!judge_selection_of(quoted, &judging->quoted, &inactive)) {
        refuse(judging, VERDICT_PCR_SELECTION,
               "the quote is over banks or registers that are not known here, or over one bank "
               "twice");
        return false;
    }
    if (inactive != TPM2_ALG_ERROR) {
        /* The TPM quotes a bank that it does not keep without a word. */
        verdict_set(judging->verdict, CLAIM_PCR_VALUES, CLAIM_REFUTED, VERDICT_PCR_BANK,
                    "the bank %s is not active in this TPM, so nothing of it was quoted; activate "
                    "it in the firmware's settings or ask for another bank",
                    hash_by_id(inactive)->name);
        return false;
    }
    if (wanted->count > 0 && !pcr_selection_is_quoted(wanted, quoted)) {
        _cleanup_(free_cleanup) char *is = pcr_selection_text(&judging->quoted);
        _cleanup_(free_cleanup) char *should = pcr_selection_text(wanted);
        verdict_set(judging->verdict, CLAIM_PCR_VALUES, CLAIM_REFUTED, VERDICT_PCR_SELECTION,
                    "the quote is over %s, and %s is asked for; have evidence made with the "
                    "policy's selection",
                    quoted->count ? is : "no registers", should);
        return false;
    }
    return true;
}

/* Values of registers that were not quoted are nobody's word. */
static bool has_others(const struct pcr_set *pcrs, const struct pcr_selection *quoted)
{
    for (size_t i = 0; i < pcrs->count; i++) {
        uint32_t mask = 0;
        for (size_t j = 0; j < quoted->count; j++) {
            mask |= quoted->banks[j].bank == pcrs->banks[i].bank ? quoted->banks[j].mask : 0;
        }
        if (pcrs->banks[i].mask & ~mask) {
            return true;
        }
    }
    return false;
}

void judge_step_pcr_values(struct judging *judging)
{
    uint8_t digest[HASH_MAX_BYTES];
    const struct pcr_set *pcrs = &judging->evidence->pcrs;
    const TPM2B_DIGEST *signed_digest = &judging->quote.attested.quote.pcrDigest;
    struct error failure = {0};
    if (!judging->has_quote) {
        judge_missing(judging, CLAIM_PCR_VALUES, "PCR values count with a quote, and none is good");
        return;
    }
    if (!judge_selection(judging)) {
        return;
    }
    if (has_others(pcrs, &judging->quoted)) {
        refuse(judging, VERDICT_PCR_SELECTION,
               "the evidence has values of registers that were not quoted");
        return;
    }
    const struct hash_algorithm *hash = judge_scheme_hash(&judging->ak);
    if (!hash || pcr_set_digest(pcrs, &judging->quoted, hash, digest, &failure) < 0) {
        refuse(judging,
               failure.code == ERROR_FAILED_PRECONDITION ? VERDICT_MISSING : VERDICT_MALFORMED,
               hash ? failure.text : "the AK's scheme has no hash that is known here");
        return;
    }
    if (!bytes_is_equal((struct bytes){digest, hash->size},
                        (struct bytes){signed_digest->buffer, signed_digest->size})) {
        refuse(judging, VERDICT_PCR_DIGEST,
               "the PCR values of the evidence are not those that the TPM quoted");
        return;
    }
    if (judging->quoted.count == 0) {
        judge_missing(judging, CLAIM_PCR_VALUES, "no registers were quoted");
        return;
    }
    judging->has_pcrs = true;
    judging->verdict->pcrs = *pcrs;
    _cleanup_(free_cleanup) char *text = pcr_selection_text(&judging->quoted);
    verdict_set(judging->verdict, CLAIM_PCR_VALUES, CLAIM_PROVEN, VERDICT_NONE,
                "the values of %s are those that were quoted", text);
}
