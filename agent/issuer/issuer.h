/* Who signs SVIDs and says which entries there are. One implementation is `embedded`; `spire` will
 * be another. All functions and callbacks run on the loop thread; none blocks. */
#pragma once

#include <uv.h>

#include "agent/issuer/bundle.h"
#include "agent/issuer/entry.h"

struct issuer;

/* What an issuer tells. Borrowed for the call; take references to keep. */
struct issuer_listener {
    void *user;
    /* entry->id is new or has changed. */
    void (*entry_set)(void *user, struct entry *entry);
    void (*entry_removed)(void *user, const char *entry_id);
    void (*bundle_changed)(void *user, struct bundle *bundle);
};

/* An X.509-SVID wanted. The caller owns the struct and what it points to until done; there is no
 * way to cancel. */
struct x509_request {
    struct entry *entry;
    struct bytes public_key; /* SubjectPublicKeyInfo DER */
    uint32_t ttl_limit_s;    /* not longer than this; 0: no further limit */
    const char *protection;  /* for the inventory: key_protection_name */
    bool is_urgent;          /* a workload waits: KEYSTORE_PRIORITY_ISSUE, else background */
    /* With an error (code and text) on failure. Called exactly once, never from within
     * issuer_x509_issue. The result is durable in the inventory by then. */
    void (*done)(struct x509_request *request, const struct error *failure);
    void *user;
    /* The result, owned by the request's owner: */
    struct buffer
        chain;    /* leaf first, then intermediates, DER one after the other; never the root */
    char *serial; /* hexadecimal */
    int64_t not_before_s, expires_at_s;
};

struct jwt_request {
    struct entry *entry;
    struct text_list audience; /* at least one */
    uint32_t ttl_limit_s;      /* not longer than this; 0: no further limit */
    void (*done)(struct jwt_request *request, const struct error *failure);
    void *user;
    char *token; /* the result; compact JWS */
    char *kid;
    int64_t issued_at_s, expires_at_s;
};

/* A certificate wanted for a TPM's attestation key, which an attestation has just shown to be in
 * the TPM of that EK (attest/judge.h tells what is in it). As with x509_request. */
struct ak_request {
    struct bytes public_key;    /* SubjectPublicKeyInfo DER */
    const char *ek_fingerprint; /* "sha256:HEX" */
    uint32_t ttl_s;             /* cut where the CA ends before */
    void (*done)(struct ak_request *request, const struct error *failure);
    void *user;
    struct buffer chain; /* leaf first, DER one after the other; never the root */
    int64_t expires_at_s;
};

/* Asked before anything is signed for anybody; its error is what the request fails with. Loop
 * thread. */
struct issuer_gate {
    int (*may_issue)(void *user, struct error *err);
    void *user;
};

struct issuer_health {
    bool is_ready;
    char reason[256]; /* why not */
};

struct issuer_operations {
    const char *name;
    /* Reports all entries and the bundle to the listener before it returns or soon after. */
    int (*start)(struct issuer *issuer, const struct issuer_listener *listener, struct error *err);
    void (*x509_issue)(struct issuer *issuer, struct x509_request *request);
    void (*jwt_issue)(struct issuer *issuer, struct jwt_request *request);
    /* NULL where the issuer makes no such certificates. The gate is not asked. */
    void (*ak_certify)(struct issuer *issuer, struct ak_request *request);
    /* Before start. */
    void (*set_gate)(struct issuer *issuer, const struct issuer_gate *gate);
    /* Remembers that a workload had the entry. Not urgent, never fails. */
    void (*entry_seen)(struct issuer *issuer, const struct entry *entry);
    /* The admin API's; NULL where entries are not managed here. done runs once it is durable. The
     * entry is taken, its id and created_at_s are the issuer's to choose. */
    void (*entry_add)(struct issuer *issuer, struct entry *entry,
                      void (*done)(void *user, const struct entry *added,
                                   const struct error *failure),
                      void *user);
    void (*entry_remove)(struct issuer *issuer, const char *entry_id,
                         void (*done)(void *user, const struct entry *removed,
                                      const struct error *failure),
                         void *user);
    /* Replaces the entries of the configuration (on reload); all or nothing. */
    int (*entries_configure)(struct issuer *issuer, struct entry **entries, size_t count,
                             struct error *err);
    void (*health)(struct issuer *issuer, struct issuer_health *ret_health);
    /* Waits for what is in hand (requests get Cancelled), then calls stopped; the issuer is freed.
     */
    void (*stop)(struct issuer *issuer, void (*stopped)(void *user), void *user);
};

/* Every implementation starts with this. */
struct issuer {
    const struct issuer_operations *operations;
};
