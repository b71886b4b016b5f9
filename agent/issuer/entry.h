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

/* A copy of its own with one reference, to be changed before anybody else sees it. */
struct entry *entry_copy(const struct entry *entry);
/* Whether both say the same: everything but id, dates, revision and use. */
bool entry_is_same(const struct entry *a, const struct entry *b);

/* What makes two entries the same entry: SHA-256 over SPIFFE ID and selectors (sorted), cut to 16
 * bytes. */
enum { ENTRY_DIGEST_BYTES = 16 };
void entry_digest(const struct entry *entry, uint8_t ret_digest[ENTRY_DIGEST_BYTES]);
/* The id that a configured entry gets: "conf:" and 16 hexadecimal digits of the digest; the caller
 * frees it. */
char *entry_configured_id(const struct entry *entry);

/* Every rule for an entry: SPIFFE ID of a workload in the trust domain (not below /spire), 1 to 128
 * known selectors without repetition, hint and DNS names well-formed, TTLs at most a year. Sorts
 * the selectors. */
int entry_check(struct entry *entry, const char *trust_domain, struct error *err);
