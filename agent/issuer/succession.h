/* The succession of authorities of one kind: makes the next in time, hands over, retires, and keeps
 * the store one step ahead of the hardware, so that a crash leaves no key behind unknown. */
#pragma once

#include "agent/issuer/authority.h"
#include "agent/issuer/issuer_clock.h"
#include "agent/issuer/store.h"

struct succession;

struct succession_config {
    enum authority_kind kind;
    enum key_type key_type;
    uint32_t ttl_s;
    const char *trust_domain; /* strings and pointers outlive the succession */
    struct keystore *keystore;
    struct store *store;
    struct mailbox *mailbox;
    const struct issuer_clock *clock;
    void *user;
    /* After each change of the authorities that are published, which moved the stored sequence
     * number on by one. Loop thread. */
    void (*published)(void *user);
};

/* Takes up what the store has, and sees to it that an authority is active. Blocks; before
 * store_start. */
int succession_open(const struct succession_config *config, struct succession **ret_succession,
                    struct error *err);
/* No step may be in hand. */
void succession_free(struct succession *succession);
DEFINE_CLEANUP(struct succession, succession, succession_free);

/* Loop thread: starts the next step where one is due and none is in hand. Returns in how many
 * milliseconds it wants to be called again, at most a minute. */
uint64_t succession_advance(struct succession *succession);
/* Starts no further step; the one in hand ends as soon as it can. */
void succession_stop(struct succession *succession);
bool succession_is_busy(const struct succession *succession);

/* The one that signs now, borrowed. NULL with an error (Unavailable) when there is none that can.
 */
struct authority *succession_signer(struct succession *succession, struct error *err);

/* All authorities in the order in which they were made, borrowed; also those not published. */
struct authority *const *succession_authorities(const struct succession *succession,
                                                size_t *ret_count);
