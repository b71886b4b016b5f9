/* What a kind of hardware implements for keystore.h. Every function runs on a worker thread of the
 * keystore, or with all signals blocked on a thread that took the place of an idle one for a
 * signature; with max_workers 1 never two at once. A driver retries what is worth retrying and
 * returns Unavailable when the hardware is gone; the keystore then calls probe with back-off until
 * it succeeds. */
#pragma once

#include "pkcs11/keystore.h"

/* The driver's half of a key; the driver embeds it in a struct of its own. */
struct driver_key {
    enum key_type type;
    bool is_lasting;
    _Atomic bool is_lost; /* set by the driver: it will never sign again. Others read it */
    uint8_t id[16];       /* of lasting keys */
    struct buffer spki;   /* filled by generate and open: SubjectPublicKeyInfo */
};

struct keystore_driver {
    const char *name; /* "tpm", "pkcs11", "memory" */
    enum key_protection protection;
    /* The hardware holds nothing of a key: whoever has the reference may open it again, so that
     * also ephemeral keys can outlive the process. */
    bool has_keys_in_references;
    unsigned max_workers; /* how many threads may call at once; the keystore uses
                             worker_count(config) or 1 */

    /* Number of workers the configuration asks for, at most max_workers; NULL means 1. */
    unsigned (*worker_count)(const void *config);
    int (*open)(const void *config, const char *name, void **ret_state, struct error *err);
    void (*close)(void *state);
    /* A cheap command that shows that the hardware answers; recovers from what can be recovered
     * from (a reset, a lost session, a dead module process). */
    int (*probe)(void *state, struct error *err);
    /* id NULL: ephemeral. */
    int (*key_generate)(void *state, enum key_type type, const uint8_t *id,
                        struct driver_key **ret_key, struct error *err);
    int (*key_open)(void *state, enum key_type type, const uint8_t id[16], struct bytes reference,
                    struct driver_key **ret_key, struct error *err);
    void (*key_reference)(void *state, const struct driver_key *key, struct buffer *ret_reference);
    int (*key_sign)(void *state, struct driver_key *key, const struct sign_request *request,
                    uint8_t ret_signature[SIGNATURE_MAX_BYTES], size_t *ret_size,
                    struct error *err);
    /* Frees the struct. Of an ephemeral key the hardware's part goes too. Never fails; trouble is
     * logged. */
    void (*key_close)(void *state, struct driver_key *key);
    int (*destroy_id)(void *state, const uint8_t id[16], struct error *err);
};

/* For drivers: tells the keystore of this thread that keys were lost (sets nothing by itself). */
void keystore_driver_keys_lost(void);

/* For rooms above that know the driver: runs on a worker of the keystore, between its other work,
 * with the driver's own state, and returns what run returns. Blocks, unless the thread is a worker.
 * FailedPrecondition: the keystore is of another driver; Unavailable: the hardware is lost; else
 * what run says. run must leave the state as any function of the driver does. */
int keystore_run_driver(struct keystore *keystore, const struct keystore_driver *driver,
                        enum keystore_priority priority,
                        int (*run)(void *state, void *argument, struct error *err), void *argument,
                        struct error *err);
/* The driver's half of a key, for such a function. */
struct driver_key *key_driver_key(const struct key *key);
/* A key of the keystore out of what such a function has made, which is taken; for that function to
 * call. Freed as every key. */
struct key *keystore_adopt(struct keystore *keystore, struct driver_key *driver_key);
