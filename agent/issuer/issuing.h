/* Requests for SVIDs on their way: signed on the keystore's worker, written into the inventory,
 * answered. Loop thread only. */
#pragma once

#include "agent/issuer/issuer.h"
#include "agent/issuer/succession.h"

enum { ISSUING_MAX = 4096 }; /* requests in hand; the keystore limits those of one entry */

struct issuing;

struct issuing_config {
    uint32_t ttl_s[AUTHORITY_KIND_COUNT];
    struct succession *successions[AUTHORITY_KIND_COUNT];
    struct keystore *keystore;
    struct store *store;
    struct mailbox *mailbox;
    const struct issuer_clock *clock;
};

struct issuing *issuing_new(const struct issuing_config *config);
/* Nothing may be in hand. */
void issuing_free(struct issuing *issuing);

/* Copied. */
void issuing_set_gate(struct issuing *issuing, const struct issuer_gate *gate);
/* As in issuer_operations. */
void issuing_x509(struct issuing *issuing, struct x509_request *request);
void issuing_jwt(struct issuing *issuing, struct jwt_request *request);

/* From now on nothing is signed; requests get Cancelled unless they are signed already. */
void issuing_stop(struct issuing *issuing);
size_t issuing_in_hand(const struct issuing *issuing);
