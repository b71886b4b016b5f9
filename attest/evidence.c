#include "attest/evidence.h"

static void chain_clear(struct evidence_chain *chain)
{
    for (size_t i = 0; i < chain->count; i++) {
        buffer_clear(&chain->items[i]);
    }
}

static void signed_clear(struct evidence_signed *item)
{
    buffer_clear(&item->attested);
    buffer_clear(&item->signature);
}

void evidence_clear(struct evidence *evidence)
{
    buffer_clear(&evidence->nonce);
    buffer_clear(&evidence->ek_public);
    chain_clear(&evidence->ek_certificates);
    buffer_clear(&evidence->ak_public);
    chain_clear(&evidence->ak_certificates);
    buffer_clear(&evidence->activated);
    signed_clear(&evidence->quote);
    buffer_clear(&evidence->event_log);
    buffer_clear(&evidence->ima_list);
    buffer_clear(&evidence->key_public);
    signed_clear(&evidence->key);
    chain_clear(&evidence->key_certificates);
    *evidence = (struct evidence){0};
}
