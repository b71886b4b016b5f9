#include <string.h>
#include <tss2/tss2_mu.h>

#include "attest/event_log.h"
#include "attest/host/host_state.h"
#include "attest/ima.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"

/* How often a quote is asked for anew because registers change before they are read. */
enum { QUOTES_MAX = 5 };

struct quoting {
    struct tpm_key *ak;
    TPM2B_DATA nonce;
    TPML_PCR_SELECTION selection;
    struct tpm_attested quote;
};

static TSS2_RC quote_operation(struct tpm_device *device, void *argument)
{
    struct quoting *quoting = argument;
    struct tpm_object *ak = &quoting->ak->object;
    TSS2_RC rc = tpm_device_session(device);
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_cache_acquire(&device->cache, ak);
    }
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_command_quote(&device->session, host_loaded(ak), &quoting->nonce,
                               &quoting->selection, &quoting->quote);
    }
    host_doubt(rc, ak);
    return rc;
}

static int run_quote(void *state, void *argument, struct error *err)
{
    return host_attempt_with_ak(state, quote_operation, argument, err);
}

static int read_attest(const struct tpm_attested *quote, TPMS_ATTEST *ret_attest, struct error *err)
{
    size_t offset = 0;
    *ret_attest = (TPMS_ATTEST){0};
    TSS2_RC rc = Tss2_MU_TPMS_ATTEST_Unmarshal(quote->attested.attestationData,
                                               quote->attested.size, &offset, ret_attest);
    if (rc != TSS2_RC_SUCCESS || ret_attest->type != TPM2_ST_ATTEST_QUOTE) {
        return error_set(err, ERROR_INTERNAL, "reading the TPM's quote: it is none");
    }
    return 0;
}

/* The values that were read are those that were quoted. Of a bank that is not active the TPM quotes
 * nothing, and nothing was read of it. */
static bool is_quoted(const struct tpm_attested *quote, const TPMS_ATTEST *attest,
                      const struct pcr_set *pcrs)
{
    const TPMS_QUOTE_INFO *info = &attest->attested.quote;
    const struct hash_algorithm *hash = hash_by_id(quote->signature.signature.any.hashAlg);
    struct pcr_selection selection = {0};
    uint8_t digest[HASH_MAX_BYTES];
    for (size_t i = 0; i < pcrs->count; i++) {
        selection.banks[i].bank = pcrs->banks[i].bank;
        selection.banks[i].mask = pcrs->banks[i].mask;
        selection.count++;
    }
    return hash && pcr_set_digest(pcrs, &selection, hash, digest, NULL) == 0 &&
           bytes_is_equal((struct bytes){digest, hash->size},
                          (struct bytes){info->pcrDigest.buffer, info->pcrDigest.size});
}

static int quote_steadily(struct attest_host *host, struct quoting *quoting,
                          const struct pcr_selection *selection, struct pcr_set *ret_pcrs,
                          struct error *err)
{
    for (unsigned i = 0; i < QUOTES_MAX; i++) {
        TPMS_ATTEST attest;
        TRY(host_run(host->keystore, run_quote, quoting, err));
        TRY(read_attest(&quoting->quote, &attest, err));
        TRY(host_read_registers(host->keystore, selection, ret_pcrs, err));
        if (is_quoted(&quoting->quote, &attest, ret_pcrs)) {
            return 0;
        }
    }
    return error_set(err, ERROR_ABORTED,
                     "registers changed between each of %d quotes and their reading; select those "
                     "that are steady",
                     QUOTES_MAX);
}

static void read_log(const char *path, size_t limit_bytes, const char *what, bool *has_warned,
                     struct buffer *ret_log)
{
    struct error reason;
    buffer_reset(ret_log);
    if (!path) {
        return;
    }
    if (buffer_read_file(path, limit_bytes, ret_log, &reason) == 0) {
        *has_warned = false;
        return;
    }
    buffer_reset(ret_log);
    if (!*has_warned) {
        *has_warned = true;
        log_warning("evidence is without the %s: %s", what, reason.text);
    }
}

int attest_host_quote(struct attest_host *host, struct bytes nonce,
                      const struct pcr_selection *selection, struct evidence *ret_evidence,
                      struct error *err)
{
    struct quoting quoting = {.ak = host_tpm_key(host->ak)};
    pcr_selection_tpm(selection, &quoting.selection);
    if (host_nonce(nonce, &quoting.nonce, err) < 0 ||
        quote_steadily(host, &quoting, selection, &ret_evidence->pcrs, err) < 0 ||
        host_keep_attested(&quoting.quote, &ret_evidence->quote, err) < 0) {
        return error_prepend(err, "quoting the TPM's registers");
    }
    buffer_reset(&ret_evidence->nonce);
    buffer_append(&ret_evidence->nonce, nonce.data, nonce.size);
    ret_evidence->made_at_s = clock_now_s();
    read_log(host->event_log_path, EVENT_LOG_MAX_BYTES, "boot's event log",
             &host->has_warned_of_event_log, &ret_evidence->event_log);
    read_log(host->ima_path, IMA_MAX_BYTES, "list of measured files", &host->has_warned_of_ima,
             &ret_evidence->ima_list);
    return 0;
}

/* What TPM2_PCR_Read answers can be changed on its way, what a quote says cannot. The session
 * proves that the answer is fresh, so any nonce will do. */
int attest_host_read_pcrs(struct attest_host *host, const struct pcr_selection *selection,
                          struct pcr_set *ret_pcrs, struct error *err)
{
    struct quoting quoting = {.ak = host_tpm_key(host->ak), .nonce.size = EVIDENCE_NONCE_MAX_BYTES};
    pcr_selection_tpm(selection, &quoting.selection);
    return quote_steadily(host, &quoting, selection, ret_pcrs, err) < 0
               ? error_prepend(err, "reading the TPM's registers")
               : 0;
}
