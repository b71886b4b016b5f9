/* The firmware's event log: what was measured into the PCRs at boot (TCG PC Client Platform
 * Firmware Profile 10; Canonical: EFI_TCG2 crypto-agile and the SHA-1 format of TPM 1.2). Nothing
 * in it is true before the replay equals what the TPM quoted; types and data never are covered by
 * it, only digests. Every thread. */
#pragma once

#include "attest/pcr.h"

enum { EVENT_LOG_MAX_BYTES = 4 << 20, EVENT_LOG_MAX_EVENTS = 16384 };

/* The one type that changes what is replayed: nothing was extended. */
enum { EVENT_TYPE_NO_ACTION = 3 };

struct event {
    uint32_t pcr, type;
    struct {
        TPM2_ALG_ID bank;
        struct bytes digest;
    } digests[PCR_BANKS_MAX];
    size_t digest_count;
    struct bytes data;
};

struct event_log {
    struct event *events;
    size_t count;
    bool is_crypto_agile;
    TPM2_ALG_ID banks[PCR_BANKS_MAX]; /* as the header lists them; SHA-1 alone in the old format */
    size_t bank_count;
    uint8_t startup_locality; /* what PCR 0 begins with: 0, 3 or 4 */
};

/* Borrows the bytes for as long as the log lives. DataLoss says at which event and offset it cannot
 * be read. Padding of ff or 00 at the end is allowed. Digests of algorithms that are not in
 * attest/hash.h are skipped by the size that the header gives. */
int event_log_parse(struct bytes bytes, struct event_log *ret_log, struct error *err);
void event_log_clear(struct event_log *log);

/* The PCRs that the log leads to, for one bank; registers that no event touched have their value of
 * the start. FailedPrecondition: an event lacks a digest of that bank. */
int event_log_replay(const struct event_log *log, TPM2_ALG_ID bank, struct pcr_bank *ret_pcrs,
                     struct error *err);

/* The event's digest of that bank; false: it has none. */
bool event_digest(const struct event *event, TPM2_ALG_ID bank, struct bytes *ret_digest);

/* "EV_SEPARATOR" and so on; NULL: unknown. */
const char *event_type_name(uint32_t type);
