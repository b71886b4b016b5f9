/* What is expected of a node. From `node { }` and `baseline` blocks of the agent's configuration
 * and recorded baselines, or from a JSON file for `signet attest verify --policy`
 * (docs/attestation.md). Every thread. */
#pragma once

#include "attest/ek.h"
#include "attest/verdict.h"

enum { BASELINES_MAX = 64, BASELINE_NAME_MAX = 63 };

/* A set of PCR values that is accepted as a whole, by name. */
struct baseline {
    char name[BASELINE_NAME_MAX + 1];
    struct pcr_set pcrs;
    /* Registers of which any value is accepted, once, at the first boot that shows it
     * (`announce`): then the values are written down here. Same mask for all banks. 0: none. */
    uint32_t open_mask;
    /* of `announce`: as of when it is void, wall clock; 0: never. */
    int64_t ends_at_s;
    /* The TPM's reset count when it was announced: only another boot may use it. */
    uint32_t announced_at_reset;
    bool is_configured; /* in the configuration file: cannot be removed by command */
    int64_t made_at_s;
};

struct baselines {
    struct baseline *items;
    size_t count;
};
void baselines_clear(struct baselines *baselines);
struct baseline *baselines_find(const struct baselines *baselines, const char *name);
/* Copies it in. AlreadyExists, ResourceExhausted; InvalidArgument for a name that is empty, too
 * long or not of letters, digits, '.', '_' and '-'. */
int baselines_add(struct baselines *baselines, const struct baseline *baseline, struct error *err);
/* NotFound. */
int baselines_remove(struct baselines *baselines, const char *name, struct error *err);
/* JSON array, version 1; as the agent keeps recorded ones in data_dir/baselines.json. */
void baselines_format(const struct baselines *baselines, struct buffer *ret_json);
int baselines_parse(struct bytes json, struct baselines *ret_baselines, struct error *err);

enum reset_policy {
    RESET_ALLOW, /* any number of resets: each is a boot */
    RESET_DENY,  /* a TPM that was reset while the host went on is not believed */
};

struct attest_policy {
    struct ek_trust *ek_trust;      /* NULL: no EK is believed (CLAIM_EK_GENUINE not required) */
    struct pcr_selection selection; /* what is quoted and compared; count 0: nothing */
    struct baselines baselines;
    struct text_list facts; /* required ones, facts.h */
    bool requires_event_log, requires_ima;
    enum reset_policy resets;
    bool may_lack_ak_binding; /* evidence without proof that the AK is in that TPM is let pass */
};

void attest_policy_clear(struct attest_policy *policy);
/* The file of `--policy`: {"version":1,"pcrs":"sha256:0,7","baselines":[…],"facts":[…],
 * "event_log":"required","ima":"required","ak_binding":"optional","ek_hashes":[…]}. */
int attest_policy_parse(struct bytes json, struct attest_policy *ret_policy, struct error *err);
