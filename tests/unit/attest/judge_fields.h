/* Every field of evidence changed, cut, left out, repeated and swapped, and what it has to be
 * refused for; the same for TPMs of software and for real ones. */
#pragma once

#include "tests/unit/attest/judge_scene.h"

#define REASON(reason) (UINT64_C(1) << VERDICT_##reason)

/* A field, the claim that stands and falls with it, and the reasons that there may be, depending on
 * where it is changed. */
static const struct field {
    const char *name;
    size_t offset;
    enum claim claim;
    uint64_t reasons;
    enum verdict_reason empty; /* the reason where it is left out */
    enum verdict_reason other; /* where it is the other TPM's */
} fields[] = {
#define FIELD(field) #field, offsetof(struct evidence, field)
    {FIELD(nonce), CLAIM_QUOTE, REASON(NONCE), VERDICT_NONCE, VERDICT_NONE},
    {FIELD(ek_public), CLAIM_EK_GENUINE,
     REASON(MALFORMED) | REASON(EK_TEMPLATE) | REASON(EK_MISMATCH), VERDICT_MISSING,
     VERDICT_EK_MISMATCH},
    {FIELD(ek_certificates.items[0]), CLAIM_EK_GENUINE,
     REASON(MALFORMED) | REASON(EK_UNTRUSTED) | REASON(EK_MISMATCH), VERDICT_MALFORMED,
     VERDICT_EK_MISMATCH},
    {FIELD(ak_public), CLAIM_AK_IN_TPM,
     REASON(MISSING) | REASON(ACTIVATION) | REASON(AK_CERTIFICATE), VERDICT_MISSING,
     VERDICT_ACTIVATION},
    {FIELD(ak_certificates.items[0]), CLAIM_AK_IN_TPM, REASON(AK_CERTIFICATE),
     VERDICT_AK_CERTIFICATE, VERDICT_AK_CERTIFICATE},
    {FIELD(ak_certificates.items[1]), CLAIM_AK_IN_TPM, REASON(AK_CERTIFICATE),
     VERDICT_AK_CERTIFICATE, VERDICT_NONE},
    {FIELD(activated), CLAIM_AK_IN_TPM, REASON(ACTIVATION), VERDICT_ACTIVATION, VERDICT_ACTIVATION},
    {FIELD(quote.attested), CLAIM_QUOTE, REASON(SIGNATURE), VERDICT_MISSING, VERDICT_SIGNATURE},
    {FIELD(quote.signature), CLAIM_QUOTE, REASON(SIGNATURE) | REASON(MALFORMED), VERDICT_MISSING,
     VERDICT_SIGNATURE},
    {FIELD(key_public), CLAIM_KEY_IN_TPM, REASON(KEY_MISMATCH) | REASON(MALFORMED), VERDICT_MISSING,
     VERDICT_KEY_MISMATCH},
    {FIELD(key.attested), CLAIM_KEY_IN_TPM, REASON(SIGNATURE), VERDICT_SIGNATURE,
     VERDICT_SIGNATURE},
    {FIELD(key.signature), CLAIM_KEY_IN_TPM, REASON(SIGNATURE) | REASON(MALFORMED),
     VERDICT_MALFORMED, VERDICT_SIGNATURE},
    {FIELD(key_certificates.items[0]), CLAIM_KEY_CERTIFICATE,
     REASON(KEY_CERTIFICATE) | REASON(MALFORMED), VERDICT_MALFORMED, VERDICT_KEY_CERTIFICATE},
    {FIELD(key_certificates.items[1]), CLAIM_KEY_CERTIFICATE,
     REASON(KEY_CERTIFICATE) | REASON(MALFORMED), VERDICT_MALFORMED, VERDICT_NONE},
#undef FIELD
};

static inline struct buffer *field_of(struct evidence *evidence, const struct field *field)
{
    return (struct buffer *)((char *)evidence + field->offset);
}

static inline void expect_refused(const struct judge_request *request, const struct field *field,
                                  uint64_t reasons, const char *what, size_t at)
{
    struct verdict verdict;
    judge_evidence(request, &verdict);
    const struct finding *finding = &verdict.claims[field->claim];
    if (verdict_allows(&verdict) || finding->result == CLAIM_PROVEN ||
        !(reasons >> finding->reason & 1)) {
        scene_say(&verdict, field->name);
        fail_msg("%s, %s (%zu): %s has the reason \"%s\"", field->name, what, at,
                 claim_name(field->claim), verdict_reason_name(finding->reason));
    }
    verdict_clear(&verdict);
}

static inline void expect_believed(const struct judge_request *request, const char *what)
{
    struct verdict verdict;
    judge_evidence(request, &verdict);
    if (!verdict_allows(&verdict)) {
        scene_say(&verdict, what);
        fail_msg("%s is not believed any more", what);
    }
    verdict_clear(&verdict);
}

enum { FIELD_BITS = 8, FIELD_STEPS = 24 };

static inline void field_flip(const struct judge_request *request, const struct field *field,
                              struct buffer *bytes)
{
    size_t step = MAX(bytes->size / FIELD_STEPS, 1U);
    for (size_t at = 0; at < bytes->size; at += step) {
        uint8_t bit = (uint8_t)(1 << (at % FIELD_BITS));
        bytes->data[at] ^= bit;
        expect_refused(request, field, field->reasons, "a bit changed", at);
        bytes->data[at] ^= bit;
    }
}

static inline void field_cut(const struct judge_request *request, const struct field *field,
                             struct buffer *bytes)
{
    size_t whole = bytes->size;
    for (size_t size = whole - 1; size > 0; size -= MIN(size, MAX(whole / FIELD_STEPS, 1U))) {
        bytes->size = size;
        expect_refused(request, field, field->reasons | REASON(MALFORMED), "cut", size);
    }
    bytes->size = 0;
    expect_refused(request, field, UINT64_C(1) << field->empty, "left out", 0);
    bytes->size = whole;
}

/* Certificates of an EK may have padding behind them, as NV has. */
static inline void field_extend(const struct judge_request *request, const struct field *field,
                                struct buffer *bytes)
{
    struct buffer longer = {0};
    struct buffer own = *bytes;
    if (field->claim == CLAIM_EK_GENUINE && field->offset != offsetof(struct evidence, ek_public)) {
        return;
    }
    buffer_append(&longer, own.data, own.size);
    buffer_append_u8(&longer, 0);
    *bytes = longer;
    expect_refused(request, field, field->reasons | REASON(MALFORMED), "a byte more", 0);
    longer.size--;
    buffer_append(&longer, own.data, own.size);
    *bytes = longer;
    expect_refused(request, field, field->reasons | REASON(MALFORMED), "repeated", 0);
    buffer_clear(&longer);
    *bytes = own;
}

static inline void field_swap_with_other_tpm(const struct judge_request *request,
                                             const struct field *field, struct buffer *bytes,
                                             struct evidence *other)
{
    struct buffer own = *bytes;
    if (field->other == VERDICT_NONE) {
        return;
    }
    *bytes = *field_of(other, field);
    expect_refused(request, field, UINT64_C(1) << field->other, "of the other TPM", 0);
    *bytes = own;
}

/* In place of each field each other field. */
static inline void field_swap_with_own(const struct judge_request *request,
                                       const struct field *field, struct buffer *bytes,
                                       struct evidence *evidence)
{
    struct buffer own = *bytes;
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        const struct buffer *other = field_of(evidence, &fields[i]);
        if (other == bytes || bytes_is_equal(buffer_bytes(other), buffer_bytes(&own))) {
            continue;
        }
        *bytes = *other;
        expect_refused(request, field, ~UINT64_C(1), "in its place", i);
        *bytes = own;
    }
}

/* evidence: the request's own, changed and put back. */
static inline void fields_check(const struct judge_request *request, struct evidence *evidence,
                                struct evidence *other)
{
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        struct buffer *bytes = field_of(evidence, &fields[i]);
        field_flip(request, &fields[i], bytes);
        field_cut(request, &fields[i], bytes);
        field_extend(request, &fields[i], bytes);
        field_swap_with_other_tpm(request, &fields[i], bytes, other);
        field_swap_with_own(request, &fields[i], bytes, evidence);
        expect_believed(request, fields[i].name);
    }
}
