/* Evidence: everything that a host tells about its TPM, its state and one key, in one document that
 * anybody can judge. The JSON form is described in docs/attestation.md; version 1. Nothing in it is
 * trusted for being there. Every thread. */
#pragma once

#include "attest/pcr.h"

enum { EVIDENCE_VERSION = 1, EVIDENCE_MAX_BYTES = 32 << 20, EVIDENCE_CHAIN_MAX = 8 };
enum { EVIDENCE_NONCE_MIN_BYTES = 8, EVIDENCE_NONCE_MAX_BYTES = 32 };

struct evidence_chain { /* DER, leaf first */
    struct buffer items[EVIDENCE_CHAIN_MAX];
    size_t count;
};

struct evidence_signed {
    struct buffer attested;  /* TPMS_ATTEST */
    struct buffer signature; /* TPMT_SIGNATURE */
};

struct evidence {
    struct buffer nonce;
    int64_t made_at_s;       /* the host's clock, told for people */
    struct buffer ek_public; /* TPMT_PUBLIC; empty: not there, as everywhere here */
    struct evidence_chain ek_certificates;
    struct buffer ak_public;
    /* By an issuer that has seen the TPM activate a credential for this AK. */
    struct evidence_chain ak_certificates;
    struct buffer activated; /* challenge_answer */
    struct evidence_signed quote;
    struct pcr_set pcrs;
    struct buffer event_log, ima_list;
    struct buffer key_public; /* the key that the evidence is about */
    struct evidence_signed key;
    struct evidence_chain key_certificates;
};

void evidence_clear(struct evidence *evidence);

/* JSON text with a newline at its end. */
void evidence_format(const struct evidence *evidence, struct buffer *ret_json);
/* InvalidArgument names the field. Unknown fields are refused, so that nothing is carried along
 * unjudged; duplicate keys too. */
int evidence_parse(struct bytes json, struct evidence *ret_evidence, struct error *err);

enum { CHALLENGE_MAX_BYTES = 16 << 10 };

/* What a verifier asks a TPM to prove that the AK is in it: made by challenge_make from the EK and
 * AK of an evidence, answered in evidence.activated. JSON, version 1. */
struct challenge {
    struct buffer ak_name, id_object, encrypted_secret;
};
void challenge_clear(struct challenge *challenge);
void challenge_format(const struct challenge *challenge, struct buffer *ret_json);
int challenge_parse(struct bytes json, struct challenge *ret_challenge, struct error *err);
/* Appends what goes into evidence.activated: shows that the TPM read what the challenge hid, for
 * this nonce. What was hidden is not told: credentials that others hide for this TPM, in whatever
 * protocol, are not to be had by asking for evidence. */
int challenge_answer(struct bytes hidden, struct bytes nonce, struct buffer *ret_activated,
                     struct error *err);
