/* `node { }` of the configuration (signetd.conf(5)). */
#pragma once

#include "attest/policy.h"
#include "pkcs11/keystore.h"

/* What happens while the node is not attested. */
enum node_on_failure {
    NODE_LOCK,     /* nothing is issued, no key is used */
    NODE_DENY_NEW, /* nothing is issued; what is out may be used until it ends */
    NODE_WARN,     /* said, and rules with requires_attested deny; nothing else */
};
const char *node_on_failure_name(enum node_on_failure on_failure); /* "lock", "deny_new", "warn" */

struct node_settings {
    char *keystore;                  /* one of type "tpm"; default: the only one */
    char *ek_ca;                     /* folder of CA certificates; NULL: none */
    struct text_list ek_hashes;      /* "sha256:HEX" */
    struct pcr_selection selection;  /* pcrs = "sha256:0,2,4,7"; default: none */
    struct baselines baselines;      /* baseline "NAME" { pcrs = { "sha256:0=HEX", … } } */
    struct text_list facts;          /* required ones */
    char *event_log_path;            /* default: the kernel's; NULL: event_log = "none" */
    char *ima_path;                  /* default: NULL, ima = "none" */
    enum reset_policy resets;        /* default allow */
    enum key_type ak_type;           /* default ec-p256 */
    uint32_t reattest_interval_s;    /* default 1h */
    enum node_on_failure on_failure; /* default lock */
    uint32_t counter_index;          /* NV; default COUNTER_INDEX_DEFAULT; 0: counter = "none" */
};
/* What can be told without the TPM: that ek_ca and ek_hashes can be read. */
int node_settings_check(const struct node_settings *settings, struct error *err);
/* Of the endorsement keys to believe; *ret_trust is NULL where the settings name none. */
int node_settings_trust(const struct node_settings *settings, struct ek_trust **ret_trust,
                        struct error *err);
void node_settings_copy(struct node_settings *to, const struct node_settings *from);
void node_settings_clear(struct node_settings *settings);
