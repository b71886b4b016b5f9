/* One attestation of this node by the full protocol, both parts played here: EK, AK, challenge,
 * quote, verdict, and whether the data folder is the newest one. */
#pragma once

#include "agent/node/freshness.h"
#include "agent/node/settings.h"
#include "attest/host/host.h"

/* The TPM's half. One thread at a time. */
struct node_tpm {
    struct attest_host_config config; /* its paths are owned */
    const char *tcti;                 /* owned; NULL: none */
    struct attest_host *host;         /* NULL: not open */
    struct freshness freshness;       /* its path is owned */
};
void node_tpm_clear(struct node_tpm *tpm);
/* The AK; what fails is told as reason of a claim by attestation_run. */
int node_tpm_open(struct node_tpm *tpm, struct error *err);

struct attestation {
    struct node_tpm *tpm;
    struct attest_policy policy; /* but for ek_trust, owned */
    struct node_memory memory;   /* as it is, and as it is afterwards; on the disk */
    /* The result. */
    struct verdict verdict;
    struct buffer ak_spki;                       /* of the AK, where the verdict allows */
    char ek_fingerprint[80], ak_fingerprint[80]; /* empty: not known */
    char ek_kind[64];
};

/* Blocks. Whatever goes wrong is in the verdict. */
void attestation_run(struct attestation *attestation);
void attestation_clear(struct attestation *attestation);

/* diagnose.c: what the error of an operation with the TPM comes from, as the reason of a claim. */
void attestation_diagnose(struct attestation *attestation, const struct error *failure);
/* diagnose.c: the reason for which a keystore does not take its TPM any more, put before the error;
 * nothing where it is not known. Blocks. */
void node_explain_refusal(const char *data_dir, const char *tcti, struct error *err);
/* diagnose.c: the name of the keystore's storage primary. Blocks. */
int node_primary_name(struct keystore *keystore, struct buffer *ret_name, struct error *err);
