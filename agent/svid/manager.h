/* The SVIDs of this node: which caller holds which, issued ahead, renewed in time, withdrawn at
 * once. Loop thread only. */
#pragma once

#include "agent/issuer/issuer.h"
#include "agent/policy/rule.h"
#include "pkcs11/token/view.h"

struct manager;

/* An X.509-SVID with its key. Immutable, reference counted. */
struct svid_x509 {
    unsigned references;
    struct entry *entry;
    enum key_protection protection;
    enum key_type key_type;
    struct key *key;     /* hardware and guarded */
    struct secret pkcs8; /* delivered: PKCS#8 DER */
    uint8_t key_id[KEY_ID_BYTES];
    struct buffer chain;
    char *serial;
    int64_t issued_at_s; /* by this host's clock; not_before_s lies before it */
    int64_t not_before_s, expires_at_s;
    /* The one that this one replaced, where its key stays on the token until it expires. */
    struct svid_x509 *previous;
    struct token_generation *generation; /* its objects on the token; NULL until asked for */
};

struct svid_x509 *svid_x509_ref(struct svid_x509 *svid);
void svid_x509_unref(struct svid_x509 *svid);
size_t svid_x509_previous_count(const struct svid_x509 *svid);
/* "pkcs11:token=signet;object=PATH;id=%..;type=private": the key on the token that workloads see;
 * the caller frees it. */
char *svid_x509_key_uri(const struct svid_x509 *svid);

/* All that one kind of caller holds: immutable, reference counted, shared by all callers to whom
 * the same entries apply. */
enum { IDENTITY_SET_ENCODINGS = 4 };
struct identity_set {
    unsigned references;
    struct svid_x509 **svids; /* default identity first: ascending entry id; hints unique (oldest
                                 entry keeps it) */
    size_t count;             /* 0: no identity */
    struct bundle *bundle;
    /* The API's encodings of this set, made at most once each; freed with free_encoding. */
    void *encodings[IDENTITY_SET_ENCODINGS];
    void (*free_encoding)(void *encoding);
    struct token_view *token_view; /* the same on the PKCS#11 token; NULL until asked for */
};
struct identity_set *identity_set_ref(struct identity_set *set);
void identity_set_unref(struct identity_set *set);

struct manager_keystore {
    const char *name;
    struct keystore *keystore;
};

struct manager_config {
    struct issuer *issuer; /* started by manager_start; outlives the manager */
    const char *trust_domain;
    struct manager_keystore
        *keystores; /* hardware ones in the order of the configuration, then "memory" */
    size_t keystore_count;
    struct rules *rules; /* from the heap, taken */
    uint32_t delivered_max_ttl_s;
    unsigned key_pool_size; /* ready keys for each keystore and type in use */
};

/* What somebody else decides and records about X.509-SVIDs that are made. */
struct manager_watcher {
    void *user;
    /* Whether one more may be asked of the issuer now; a refusal is retried like any failure. */
    int (*may_issue)(void *user, const struct entry *entry, struct error *err);
    /* There is another; before anybody gets it. replaced: the one before, NULL: none. */
    void (*issued)(void *user, const struct svid_x509 *svid, const struct svid_x509 *replaced);
    /* An entry is new or has changed. */
    void (*entry_set)(void *user, const struct entry *entry);
    /* Whether what may_issue allowed is still wanted: asked again when the key is there, and when
     * the certificate is, as hardware and issuer may take their time. */
    int (*may_still_issue)(void *user, const struct entry *entry, struct error *err);
};

int manager_new(uv_loop_t *loop, const struct manager_config *config, struct manager **ret_manager,
                struct error *err);
/* Starts the issuer with the manager as its listener. */
int manager_start(struct manager *manager, struct error *err);
/* New rules (from the heap, taken) take effect on running identities at once: what they deny, or
 * want better protected, is withdrawn before the return; what they want kept elsewhere or of
 * another key type serves until the next is there. */
void manager_set_rules(struct manager *manager, struct rules *rules);
/* SVIDs that manager_each_svid told an earlier process of the agent, as record_append (record.h)
 * wrote them: those that entries and rules still want serve on. After manager_start, before anybody
 * subscribes; opens keys, which blocks. */
void manager_restore(struct manager *manager, struct bytes records);
/* No subscription may be left. Waits for work in hand, then calls stopped; the manager is freed.
 * Stop the issuer within stopped: from then on there is nobody to listen to it. */
void manager_stop(struct manager *manager, void (*stopped)(void *user), void *user);
/* Before anybody subscribes; NULL: nobody watches any more. Copied. */
void manager_set_watcher(struct manager *manager, const struct manager_watcher *watcher);
/* What was refused by may_issue may be allowed now: all that failed is tried again at once, and who
 * comes meanwhile waits for that. */
void manager_try_again(struct manager *manager);
/* A keystore says that it came back, or lost keys: what lost its key is issued anew. */
void manager_keystore_changed(struct manager *manager, struct keystore *keystore);

struct subscription;
/* Tells about the identities to which the selectors (sorted, copied) entitle: at once when all are
 * there (before the return), else when they have been issued, without those that take longer than
 * ISSUANCE_OVERDUE_MS (issuance.h) if there are others; then at each change (renewal, entry
 * added, changed or removed, bundle changed). A set of count 0 means: no identity. failure is set
 * instead when none could be issued for now (Unavailable); it is retried, and told again when it
 * works. The set is borrowed. `changed` may call subscription_free, also within its first call.
 * NULL, after a failure was told (ResourceExhausted), where there are too many subscriptions or the
 * manager stops. */
struct subscription *manager_subscribe(struct manager *manager, const struct text_list *selectors,
                                       void (*changed)(void *user, struct identity_set *set,
                                                       const struct error *failure),
                                       void *user);
/* NULL is allowed. */
void subscription_free(struct subscription *subscription);

/* The entries that the selectors entitle to and the rules do not deny, in order of id. */
void manager_each_match(struct manager *manager, const struct text_list *selectors,
                        void (*each)(void *user, struct entry *entry), void *user);

/* Those that the rules deny, and why. */
void manager_each_denied(struct manager *manager, const struct text_list *selectors,
                         void (*each)(void *user, const struct entry *entry,
                                      const struct error *reason),
                         void *user);

/* Whether a JWT-SVID of the entry is wanted, and how long it may live at most (0: the entry's). */
typedef bool jwt_choice(void *user, const struct entry *entry, uint32_t *ret_ttl_limit_s);

/* JWT-SVIDs for the chosen identities of the selectors; choose runs before the return. done runs
 * exactly once, perhaps before the return; PermissionDenied: no identity. Tokens are cached until
 * half of their life. */
struct jwt_svid {
    const char *spiffe_id, *token, *hint;
    int64_t expires_at_s;
};
void manager_jwt_fetch(struct manager *manager, const struct text_list *selectors,
                       const struct text_list *audience, jwt_choice *choose,
                       void (*done)(void *user, const struct jwt_svid *svids, size_t count,
                                    const struct error *failure),
                       void *user);

/* NULL before the issuer has told one. Borrowed. */
struct bundle *manager_bundle(struct manager *manager);

/* For the admin API: each entry in order of id; each current SVID. The callback must not change
 * anything. */
void manager_each_entry(struct manager *manager, void (*each)(void *user, struct entry *entry),
                        void *user);
void manager_each_svid(struct manager *manager, void (*each)(void *user, struct svid_x509 *svid),
                       void *user);
struct manager_counters {
    size_t entries, svids, subscriptions, issuing;
    uint64_t issued, failures;
    int64_t next_expiry_s; /* 0: none */
    int64_t renewal_lag_s; /* how long the renewal that is most overdue has been so; of identities
                              that somebody follows */
};
void manager_counters(struct manager *manager, struct manager_counters *ret_counters);
