#include <string.h>

#include "attest/event_log.h"
#include "attest/evidence.h"
#include "attest/evidence_scan.h"
#include "attest/ima.h"
#include "attest/public.h"

enum {
    CERTIFICATE_MAX_BYTES = 16 << 10,
    ATTESTED_MAX_BYTES = 4 << 10,
    SIGNATURE_MAX_BYTES = 2 << 10,
    ACTIVATED_MAX_BYTES = 64,
    PCR_TEXT_MAX_BYTES = 160,
};

/* Further certificates of a chain; the field: struct evidence_chain. */
static int read_chain(struct scan *scan, const struct scan_member *member, void *field)
{
    struct evidence_chain *chain = field;
    bool is_first = true;
    int more = 0;
    while ((more = scan_next(scan, '[', &is_first)) > 0) {
        if (chain->count == EVIDENCE_CHAIN_MAX) {
            return scan_refuse(scan, "it has more certificates than are allowed");
        }
        TRY(scan_base64(scan, member, &chain->items[chain->count++]));
    }
    return more;
}

static unsigned count_registers(const struct pcr_set *pcrs)
{
    unsigned count = 0;
    for (size_t i = 0; i < pcrs->count; i++) {
        count += (unsigned)__builtin_popcount(pcrs->banks[i].mask);
    }
    return count;
}

/* "sha256:7=HEX"; the field: struct pcr_set. */
static int read_pcrs(struct scan *scan, const struct scan_member *member, void *field)
{
    (void)member;
    struct pcr_set *pcrs = field;
    bool is_first = true;
    int more = 0;
    while ((more = scan_next(scan, '[', &is_first)) > 0) {
        struct bytes text = {0};
        TRY(scan_text(scan, &text));
        if (text.size > PCR_TEXT_MAX_BYTES || !text_is_utf8(text)) {
            return scan_refuse(scan, "expected items such as \"sha256:7=HEX\"");
        }
        char item[PCR_TEXT_MAX_BYTES + 1] = {0};
        memcpy(item, text.data, text.size);
        unsigned before = count_registers(pcrs);
        TRY(pcr_set_put_text(pcrs, item, scan->err));
        if (count_registers(pcrs) == before) {
            return scan_refuse(scan, "a register is there twice");
        }
    }
    return more;
}

#define FIELD(field) offsetof(struct evidence, field)
static const struct scan_member ek_members[] = {
    {"public", scan_base64, FIELD(ek_public), true, 1, PUBLIC_LIMIT_BYTES, NULL},
    {"certificates", read_chain, FIELD(ek_certificates), false, 1, CERTIFICATE_MAX_BYTES, NULL},
    {0},
};
static const struct scan_member ak_members[] = {
    {"public", scan_base64, FIELD(ak_public), true, 1, PUBLIC_LIMIT_BYTES, NULL},
    {"certificates", read_chain, FIELD(ak_certificates), false, 1, CERTIFICATE_MAX_BYTES, NULL},
    {"activated", scan_base64, FIELD(activated), false, 1, ACTIVATED_MAX_BYTES, NULL},
    {0},
};
static const struct scan_member quote_members[] = {
    {"attested", scan_base64, FIELD(quote.attested), true, 1, ATTESTED_MAX_BYTES, NULL},
    {"signature", scan_base64, FIELD(quote.signature), true, 1, SIGNATURE_MAX_BYTES, NULL},
    {0},
};
static const struct scan_member key_members[] = {
    {"public", scan_base64, FIELD(key_public), true, 1, PUBLIC_LIMIT_BYTES, NULL},
    {"attested", scan_base64, FIELD(key.attested), true, 1, ATTESTED_MAX_BYTES, NULL},
    {"signature", scan_base64, FIELD(key.signature), true, 1, SIGNATURE_MAX_BYTES, NULL},
    {"certificates", read_chain, FIELD(key_certificates), false, 1, CERTIFICATE_MAX_BYTES, NULL},
    {0},
};
/* All fields are those of struct evidence itself, whatever object they stand in. */
static const struct scan_member members[] = {
    {"version", scan_version, 0, true, 0, EVIDENCE_VERSION, NULL},
    {"nonce", scan_base64, FIELD(nonce), true, EVIDENCE_NONCE_MIN_BYTES, EVIDENCE_NONCE_MAX_BYTES,
     NULL},
    {"made_at", scan_seconds, FIELD(made_at_s), false, 0, 0, NULL},
    {"ek", scan_object, 0, false, 0, 0, ek_members},
    {"ak", scan_object, 0, false, 0, 0, ak_members},
    {"quote", scan_object, 0, false, 0, 0, quote_members},
    {"pcrs", read_pcrs, FIELD(pcrs), false, 0, 0, NULL},
    {"event_log", scan_base64, FIELD(event_log), false, 1, EVENT_LOG_MAX_BYTES, NULL},
    {"ima", scan_base64, FIELD(ima_list), false, 1, IMA_MAX_BYTES, NULL},
    {"key", scan_object, 0, false, 0, 0, key_members},
    {0},
};
#undef FIELD

int evidence_parse(struct bytes json, struct evidence *ret_evidence, struct error *err)
{
    if (json.size > EVIDENCE_MAX_BYTES) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "reading evidence: it has %zu bytes, more than the %d that are allowed",
                         json.size, EVIDENCE_MAX_BYTES);
    }
    _cleanup_(evidence_clear) struct evidence evidence = {0};
    if (scan_document(json, members, &evidence, err) < 0) {
        return error_prepend(err, "reading evidence");
    }
    *ret_evidence = evidence;
    evidence = (struct evidence){0};
    return 0;
}
