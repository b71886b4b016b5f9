/* Entries: which selectors get which SPIFFE ID. Immutable and reference counted (loop thread only).
 */
#pragma once

#include "agent/selector.h"

enum { ENTRY_ID_MAX_BYTES = 255, ENTRY_DNS_NAMES_MAX = 32, ENTRY_HINT_MAX_BYTES = 1024 };

struct entry {
    unsigned references;
    char *id; /* unique; of configured entries "conf:" and a hash of ID and selectors */
    char *spiffe_id;
    struct text_list selectors; /* sorted, at least one */
    struct text_list dns_names;
    char *hint;               /* "" for none */
    uint32_t x509_svid_ttl_s; /* 0: the issuer's default */
    uint32_t jwt_svid_ttl_s;  /* 0: the issuer's default */
    int64_t created_at_s;
    int64_t revision;   /* grows with each change of the entry of this id */
    bool is_configured; /* from signetd.conf: not to be removed by the admin API */
    bool was_seen;      /* a workload has had it before: issue ahead */
};

struct entry *entry_ref(struct entry *entry);
void entry_unref(struct entry *entry);
DEFINE_CLEANUP(struct entry, entry_unref, entry_unref);

/* Every rule for an entry: SPIFFE ID of a workload in the trust domain (not below /spire), 1 to 128
 * known selectors without repetition, hint and DNS names well-formed, TTLs at most a year. Sorts
 * the selectors. */
int entry_check(struct entry *entry, const char *trust_domain, struct error *err);
