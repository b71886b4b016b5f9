/* Boot logs: what can be read is replayed, and the facts drawn of it are of the form that a policy
 * asks for. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

#include "attest/facts.h"
#include "lib/base/memory.h"

static void check_facts(const struct event_log *log, TPM2_ALG_ID bank, uint32_t quoted)
{
    struct facts facts;
    facts_draw(log, bank, quoted, &facts);
    for (size_t i = 0; i < facts.count; i++) {
        const struct fact *fact = &facts.items[i];
        _cleanup_(free_cleanup) char *wanted = text_format("%s=%s", fact->name, fact->value);
        for (const char *letter = fact->value; *letter; letter++) {
            if (*letter < ' ' || *letter > '~') {
                abort();
            }
        }
        if (facts_check_form(wanted, NULL) < 0 || !facts_hold(&facts, wanted) ||
            !(quoted >> fact->pcr & 1)) {
            abort();
        }
    }
    facts_clear(&facts);
}

/* As if the TPM had measured just this data, so that all of it comes to be read. Of texts in PCR 8
 * the label is not measured. */
static void check_vouched(struct event_log *log)
{
    const struct hash_algorithm *sha256 = hash_by_id(TPM2_ALG_SHA256);
    _cleanup_(free_cleanup) uint8_t *digests = memory_new_array(log->count, HASH_MAX_BYTES);
    for (size_t i = 0; i < log->count; i++) {
        struct event *event = &log->events[i];
        uint8_t *digest = &digests[i * HASH_MAX_BYTES];
        struct reader reader = reader_of(event->data);
        if (event->pcr == 8) {
            (void)reader_until(&reader, ':');
            (void)reader_u8(&reader);
        }
        if (hash_compute(sha256, &reader.rest, 1, digest, NULL) < 0) {
            abort();
        }
        event->digest_count = 1;
        event->digests[0].bank = TPM2_ALG_SHA256;
        event->digests[0].digest = (struct bytes){digest, sha256->size};
    }
    check_facts(log, TPM2_ALG_SHA256, 0xffffff);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct event_log log;
    struct error err;
    if (event_log_parse((struct bytes){data, size}, &log, &err) < 0) {
        return 0;
    }
    for (size_t i = 0; i < log.bank_count; i++) {
        struct pcr_bank pcrs;
        if (event_log_replay(&log, log.banks[i], &pcrs, &err) == 0) {
            check_facts(&log, log.banks[i], 0xffffff);
        }
        check_facts(&log, log.banks[i], 0x101f91);
    }
    check_vouched(&log);
    event_log_clear(&log);
    return 0;
}
