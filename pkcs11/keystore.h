/* The one interface to keys in hardware (or in guarded memory).
 *
 * A keystore has a driver (driver.h) and one or more worker threads of its own, fed by a queue with
 * priorities; within a priority the flows take turns, so no workload can starve another. Functions
 * marked "blocks" wait for a worker and must not run on the event loop; when they run on a worker
 * of the same keystore they act at once. */
#pragma once

#include <openssl/evp.h>
#include <stdbool.h>

#include "lib/base/bytes.h"
#include "lib/base/mailbox.h"
#include "lib/base/secret.h"
#include "lib/base/times.h"

struct keystore;
struct keystore_driver; /* driver.h */
struct key;

enum key_type { KEY_TYPE_EC_P256, KEY_TYPE_EC_P384, KEY_TYPE_RSA_2048 };
enum { KEY_TYPE_COUNT = 3 };

/* "ec-p256", "ec-p384", "rsa-2048": as in the configuration. */
const char *key_type_name(enum key_type type);
int key_type_parse(const char *text, enum key_type *ret_type, struct error *err);

/* What lies between a key and a thief. */
enum key_protection { KEY_PROTECTION_HARDWARE, KEY_PROTECTION_GUARDED, KEY_PROTECTION_DELIVERED };
/* "hardware", "guarded", "delivered". */
const char *key_protection_name(enum key_protection protection);

enum sign_scheme { SIGN_SCHEME_ECDSA, SIGN_SCHEME_RSA_PKCS1, SIGN_SCHEME_RSA_PSS };
enum sign_digest { SIGN_DIGEST_SHA256, SIGN_DIGEST_SHA384, SIGN_DIGEST_SHA512 };
/* 32, 48 or 64. */
size_t sign_digest_size(enum sign_digest digest);

/* A digest to be signed. The salt of PSS is as long as the digest, its mask generation uses the
 * same hash. */
struct sign_request {
    enum sign_scheme scheme;
    enum sign_digest digest;
    struct bytes value; /* exactly sign_digest_size(digest) bytes */
};

/* Signatures: RSA as the standard has it (256 bytes); ECDSA as r || s, each as long as the curve's
 * order. */
enum { SIGNATURE_MAX_BYTES = 256 };

/* Who is served first. */
enum keystore_priority {
    KEYSTORE_PRIORITY_USE,        /* a workload waits for a signature */
    KEYSTORE_PRIORITY_ISSUE,      /* a workload waits for an SVID */
    KEYSTORE_PRIORITY_BACKGROUND, /* nobody waits: pool, rotation ahead */
};
enum { KEYSTORE_PRIORITY_COUNT = 3 };

/* Work for a worker of a keystore. Embed it. run may call every "blocks" function on keys of this
 * keystore without delay, and on keys of others with a wait (two keystores must not wait for each
 * other in this way). Within each such function, signatures and other jobs of KEYSTORE_PRIORITY_USE
 * that wait go first, unless the job is one itself. */
struct keystore_job {
    void (*run)(struct keystore_job *job); /* on a worker thread; NULL never */
    struct mailbox *mailbox;               /* where message goes after run; NULL: nowhere */
    struct mailbox_message message;        /* message.deliver runs on the mailbox's thread */
    enum keystore_priority priority;
    uint64_t flow;         /* who asks; equal flows share one turn. 0 is the agent itself */
    uint64_t submitted_us; /* the keystore's, as the next one */
    struct keystore_job *next;
};

enum keystore_state {
    KEYSTORE_STATE_READY,
    KEYSTORE_STATE_LOST, /* the hardware does not answer; the worker goes on trying with back-off */
};

/* What others see of it: for health, `signet key list` and metrics. */
struct keystore_status {
    enum keystore_state state;
    char reason[256]; /* why it is not ready; empty when it is */
    uint64_t signatures, generations, failures;
    size_t waiting; /* jobs in the queue */
};

struct keystore_config {
    const char *name; /* as in the configuration; borrowed for the call */
    const struct keystore_driver *driver;
    const void *driver_config; /* the driver's own struct; borrowed until keystore_free */
    size_t queue_limit;        /* jobs waiting in all; 0 means 4096 */
    size_t flow_limit;         /* jobs waiting of one flow; 0 means 64 */
};

/* Starts the worker and opens the hardware. Blocks. With an error nothing is left behind. */
int keystore_new(const struct keystore_config *config, struct keystore **ret_keystore,
                 struct error *err);
/* Ends the workers after the job in hand. No key may be left, no job waiting (they are delivered
 * without having run). */
void keystore_free(struct keystore *keystore);

const char *keystore_name(const struct keystore *keystore);
/* HARDWARE for tpm and pkcs11, GUARDED for memory. */
enum key_protection keystore_protection(const struct keystore *keystore);
void keystore_status(struct keystore *keystore, struct keystore_status *ret_status);

/* How long it takes: jobs until a worker has time for them, and the hardware for a signature and
 * for a new key, whether or not it succeeds. Every thread; borrowed. */
struct keystore_times {
    struct times waiting, signing, generating;
};
const struct keystore_times *keystore_times(const struct keystore *keystore);

/* Called on a worker whenever the state changes or keys were lost with their session; set once
 * before use. For the agent: post a message to the loop. */
void keystore_on_change(struct keystore *keystore,
                        void (*changed)(struct keystore *keystore, void *user), void *user);

/* Queues the job; any thread. Fails with ResourceExhausted when the queue or the flow is full (the
 * less urgent a job, the earlier: see queue_push), with Unavailable and the reason while the
 * hardware is lost, and with Cancelled once keystore_free has begun; then nothing runs. */
int keystore_submit(struct keystore *keystore, struct keystore_job *job, struct error *err);

/* Asks the hardware for a sign of life. Blocks. */
int keystore_probe(struct keystore *keystore, struct error *err);

/* Makes a key that only signs and never leaves. Blocks. id NULL: an ephemeral key, gone with the
 * last reference or the process. id of 16 random bytes: a key that lasts until key_destroy;
 * key_open finds it again by its reference, and keystore_destroy_id by its id, so the caller writes
 * the id down before it calls. The reference starts at 1. */
int keystore_key_generate(struct keystore *keystore, enum key_type type, const uint8_t id[16],
                          enum keystore_priority priority, struct key **ret_key, struct error *err);

/* What to store of a lasting key in order to open it again: for a TPM the wrapped blob, for PKCS#11
 * the id. Contains no secret that is of use without the hardware. Empty: nobody can open this key
 * again. An ephemeral key that has one can be opened with any id. */
void key_reference(const struct key *key, struct buffer *ret_reference);
/* Opens a lasting key. Blocks. NotFound: the hardware no longer has it (or the TPM was cleared or
 * replaced). */
int keystore_key_open(struct keystore *keystore, enum key_type type, const uint8_t id[16],
                      struct bytes reference, struct key **ret_key, struct error *err);
/* Destroys a lasting key in hardware, found by id; success when there is none. Blocks. */
int keystore_destroy_id(struct keystore *keystore, const uint8_t id[16], struct error *err);

struct key *key_ref(struct key *key);
/* With the last reference an ephemeral key is destroyed, later and on the worker. Any thread, does
 * not block. */
void key_unref(struct key *key);
DEFINE_CLEANUP(struct key, key_unref, key_unref);

/* Any thread, no waiting: fixed when the key was made. */
enum key_type key_type(const struct key *key);
struct keystore *key_keystore(const struct key *key);
/* SubjectPublicKeyInfo, DER; borrowed. */
struct bytes key_public_der(const struct key *key);
/* The first 20 bytes of SHA-256 over key_public_der: CKA_ID, kid and what people see. */
enum { KEY_ID_BYTES = 20 };
const uint8_t *key_id(const struct key *key);
uint64_t key_uses(const struct key *key);
/* False once the hardware has lost it (session objects of a token that was taken out). Such a key
 * never signs again. */
bool key_is_alive(const struct key *key);

/* Signs. Blocks. Unavailable: the hardware does not answer now. DataLoss: the key is gone for good.
 */
int key_sign(struct key *key, const struct sign_request *request, enum keystore_priority priority,
             uint64_t flow, uint8_t ret_signature[SIGNATURE_MAX_BYTES], size_t *ret_size,
             struct error *err);

/* The key as OpenSSL sees it (provider.h): the ordinary EVP, X509 and SSL functions sign with it,
 * which blocks. The EVP_PKEY holds a reference of its own; the caller frees it with EVP_PKEY_free.
 * Signing goes at KEYSTORE_PRIORITY_ISSUE unless the calling thread is a worker of the keystore. */
EVP_PKEY *key_evp_pkey(struct key *key, struct error *err);
