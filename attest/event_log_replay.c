#include <inttypes.h>
#include <string.h>

#include "attest/event_log.h"

enum { DYNAMIC_FIRST = 17, DYNAMIC_LAST = 22 };

/* TCG PTP 4.6: the registers of a dynamic launch begin with ones. */
static void reset(const struct event_log *log, const struct hash_algorithm *hash,
                  struct pcr_bank *ret_pcrs)
{
    *ret_pcrs = (struct pcr_bank){.bank = hash->id, .mask = (UINT32_C(1) << PCR_COUNT) - 1};
    for (unsigned i = DYNAMIC_FIRST; i <= DYNAMIC_LAST; i++) {
        memset(ret_pcrs->values[i], 0xff, hash->size);
    }
    ret_pcrs->values[0][hash->size - 1] = log->startup_locality;
}

bool event_digest(const struct event *event, TPM2_ALG_ID bank, struct bytes *ret_digest)
{
    for (size_t i = 0; i < event->digest_count; i++) {
        if (event->digests[i].bank == bank) {
            *ret_digest = event->digests[i].digest;
            return true;
        }
    }
    return false;
}

static int extend(const struct event_log *log, size_t index, const struct hash_algorithm *hash,
                  struct pcr_bank *pcrs, struct error *err)
{
    const struct event *event = &log->events[index];
    struct bytes parts[2];
    if (!event_digest(event, hash->id, &parts[1])) {
        const char *name = event_type_name(event->type);
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "replaying the event log: event %zu (%s, PCR %" PRIu32 ") has no %s "
                         "digest; take another bank for the quote",
                         index, name ? name : "of unknown type", event->pcr, hash->name);
    }
    uint8_t *value = pcrs->values[event->pcr];
    parts[0] = (struct bytes){value, hash->size};
    return hash_compute(hash, parts, ARRAY_SIZE(parts), value, err);
}

int event_log_replay(const struct event_log *log, TPM2_ALG_ID bank, struct pcr_bank *ret_pcrs,
                     struct error *err)
{
    const struct hash_algorithm *hash = hash_by_id(bank);
    if (!hash) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "replaying the event log: PCR bank 0x%04x is none of sha1, sha256, sha384 "
                         "and sha512",
                         bank);
    }
    struct pcr_bank pcrs;
    reset(log, hash, &pcrs);
    for (size_t i = 0; i < log->count; i++) {
        /* It tells something and was never extended (TCG PFP 10.4.1). */
        if (log->events[i].type != EVENT_TYPE_NO_ACTION) {
            TRY(extend(log, i, hash, &pcrs, err));
        }
    }
    *ret_pcrs = pcrs;
    return 0;
}
