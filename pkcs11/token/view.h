/* What a workload finds on its PKCS#11 token at one moment: generations of identities and trust
 * anchors. Made by the loop, read by the dispatcher's thread: immutable and atomically reference
 * counted, every thread. Knows nothing of SVIDs.
 *
 * A generation is one key with one certificate chain. Exactly one is listed for each label; the one
 * before is served to those who have its handles or know its exact CKA_ID, until its certificate
 * ends. */
#pragma once

#include <p11-kit/pkcs11.h>

#include "pkcs11/keystore.h"

/* The objects of one generation, ready to be searched and read. */
struct token_generation;

struct token_generation_config {
    const char *label;    /* CKA_LABEL of key, public key and leaf; copied */
    struct key *key;      /* referenced; its key_id is CKA_ID */
    struct bytes chain;   /* DER certificates, one after the other, leaf first; copied */
    int64_t expires_at_s; /* notAfter of the leaf, seconds since 1970: not served from then on */
    uint64_t tag;         /* what guards know it by (guard.h) */
};

/* Handles of its objects are made of the key's id, so they are the same after a restart of the
 * agent and never mean anything else. Errors: InvalidArgument where chain or key cannot be read. */
int token_generation_new(const struct token_generation_config *config,
                         struct token_generation **ret_generation, struct error *err);
/* The handle of the private key with that id. */
CK_OBJECT_HANDLE token_private_key_handle(const uint8_t id[KEY_ID_BYTES]);
struct token_generation *token_generation_ref(struct token_generation *generation);
void token_generation_unref(struct token_generation *generation);

/* The trust bundle as trusted CA certificates. */
struct token_anchors;

/* DER certificates, one after the other; copied. */
int token_anchors_new(struct bytes certificates, struct token_anchors **ret_anchors,
                      struct error *err);
struct token_anchors *token_anchors_ref(struct token_anchors *anchors);
void token_anchors_unref(struct token_anchors *anchors);

struct token_view;

/* References everything it is given. listed has distinct labels; retired ones are found by exact
 * CKA_ID, CKA_SERIAL_NUMBER or CKA_VALUE only. anchors may be NULL. The reference starts at 1. */
struct token_view *token_view_new(struct token_generation *const *listed, size_t listed_count,
                                  struct token_generation *const *retired, size_t retired_count,
                                  struct token_anchors *anchors);
struct token_view *token_view_ref(struct token_view *view);
void token_view_unref(struct token_view *view);
