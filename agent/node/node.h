/* This node's own attestation: the embedded issuer as verifier, the TPM of this host as prover, by
 * the full protocol, at the start and at each interval; what it means for issuance and use; and
 * evidence for others. Loop thread only; what blocks runs on libuv's pool. */
#pragma once

#include <uv.h>

#include "agent/audit/audit.h"
#include "agent/issuer/issuer.h"
#include "agent/node/settings.h"
#include "attest/judge.h"

struct node;

struct node_config {
    const struct node_settings *settings; /* copied */
    const char *data_dir;
    struct keystore *keystore;
    /* Of that keystore's TPM: where it is asked who it is when the keystore does not accept it any
     * more. NULL: it is not asked, and is unreachable then. */
    const char *tcti;
    struct audit *audit;   /* NULL: no records; for tests */
    struct issuer *issuer; /* for certificates of the AK; NULL: none */
    /* The node's state has changed, or the reason for it. Not from within node_new. */
    void (*changed)(void *user, struct node *node);
    void *user;
};

/* The state that is kept in data_dir/node.json: the EK's and AK's names, the clock of the last
 * quote that was believed, the kernel's boot_id, the value of the counter. The AK's wrapped blob is
 * data_dir/attestation-key, recorded baselines are data_dir/baselines.json. */

/* Attests for the first time before it returns (blocks: a second with a TPM that is quick, ten and
 * more with one that makes an RSA key). Whatever a TPM or a verdict says is no error but the state;
 * errors are damaged files and bad settings. Records the verdict. */
int node_new(uv_loop_t *loop, const struct node_config *config, struct node **ret_node,
             struct error *err);
/* Waits for what is in hand, cancels what waits, calls stopped; freed. */
void node_stop(struct node *node, void (*stopped)(void *user), void *user);

struct node_state {
    bool is_attested;
    enum node_on_failure on_failure;
    bool is_issuing_denied, is_use_denied; /* what follows now */
    enum verdict_reason reason;            /* VERDICT_NONE where attested */
    const char *reason_text;               /* for people; empty where attested. Borrowed */
    int64_t attested_at_s;                 /* the last verdict that allowed; 0: never */
    int64_t checked_at_s, next_at_s;
    const struct verdict *verdict; /* of the last time; borrowed until the next change */
    char ek_fingerprint[80], ak_fingerprint[80];
    const char *ek_kind; /* template and how it is believed: "L-2, certificate"; borrowed */
    const struct baselines *baselines; /* configured, recorded and announced ones; borrowed */
};
void node_state(const struct node *node, struct node_state *ret_state);

struct node_counters {
    uint64_t attestations, failures, evidence;
};
void node_counters(const struct node *node, struct node_counters *ret_counters);

/* Attests now (or joins the attestation that is under way); done exactly once, after changed, and
 * may be NULL. */
void node_attest(struct node *node, void (*done)(void *user), void *user);
/* Settings read anew. All but keystore, ak, logs and counter take effect with the next
 * attestation, which begins at once. */
void node_set_settings(struct node *node, const struct node_settings *settings);

/* The keystore with the TPM. */
struct keystore *node_keystore(const struct node *node);

/* Evidence for somebody else. */
struct node_evidence_request {
    struct bytes nonce;     /* EVIDENCE_NONCE_MIN_BYTES to _MAX_BYTES; copied */
    struct bytes challenge; /* JSON of evidence.h; empty: none. Copied */
    struct key *key;        /* what it is about; NULL: the node alone. A reference is taken */
    struct bytes chain;     /* the key's certificates, DER one after the other; copied */
    uint64_t asker;         /* one of them has at most 4 requests waiting or in hand; 0: the
                               administrator, who has no such limit and 8 places of his own */
    bool is_without_ima;    /* the list of measured files, which the kernel shows to root alone */
};
/* done exactly once, not from within. At most 64 wait: ResourceExhausted, soon and not behind the
 * TPM. json is borrowed. */
void node_evidence(struct node *node, const struct node_evidence_request *request,
                   void (*done)(void *user, struct bytes json, const struct error *failure),
                   void *user);
/* Nobody waits for what was asked with user any more: Cancelled soon, unless the TPM is at it. */
void node_evidence_drop(struct node *node, const void *user);

/* Baselines by command; each is on the disk before done, and the node is attested again. */
/* failure with a baseline: it is kept, but the node stops before it is attested with it. */
typedef void node_baseline_done(void *user, const struct baseline *baseline,
                                const struct error *failure);
/* The values of now, of the selection of the settings (or of that one, where count is not 0). */
void node_baseline_record(struct node *node, const char *name,
                          const struct pcr_selection *selection, node_baseline_done *done,
                          void *user);
/* Of the next boot: the values given, and of what is open any; all others as in the baseline that
 * holds now. FailedPrecondition where none does. */
void node_baseline_announce(struct node *node, const struct baseline *wanted,
                            node_baseline_done *done, void *user);
int node_baseline_remove(struct node *node, const char *name, struct error *err);
