/* Requests for certificates of attestation keys on their way: signed on the keystore's worker,
 * answered. They are for this node alone, few, short-lived and no identities, so they are not in
 * the inventory. Loop thread only. */
#pragma once

#include <stdatomic.h>

#include "agent/issuer/issuing.h"

struct ak_issuing {
    struct issuing_config config;
    size_t in_hand;
    atomic_bool is_stopping; /* read by workers */
};

void ak_issuing_open(struct ak_issuing *issuing, const struct issuing_config *config);
/* As in issuer_operations. */
void ak_issuing_certify(struct ak_issuing *issuing, struct ak_request *request);
/* From now on nothing is signed; requests get Cancelled unless they are signed already. */
void ak_issuing_stop(struct ak_issuing *issuing);
