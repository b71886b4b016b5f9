/* One step in the life of an authority: its phases, each a record in the store or work in the
 * keystore, one after the other. */
#pragma once

#include "agent/issuer/authority.h"
#include "agent/issuer/schedule.h"
#include "agent/issuer/store.h"

struct step_tools {
    struct keystore *keystore;
    struct store *store;
    struct mailbox *mailbox;
    const char *trust_domain;
};

struct step {
    struct keystore_job work;
    struct store_job record;
    const struct step_tools *tools;
    enum step_kind kind;
    struct authority *authority;
    struct authority *predecessor; /* of an activation; may be NULL */
    enum keystore_priority priority;
    size_t phase;      /* where it failed, if it did */
    bool is_cancelled; /* set by the owner: start no more work */
    bool is_failed;
    struct error failure;
    void (*done)(struct step *step);
    void *user;
};

/* References both authorities; predecessor may be NULL. */
struct step *step_new(const struct step_tools *tools, enum step_kind kind,
                      struct authority *authority, struct authority *predecessor);
void step_free(struct step *step);
/* "preparing", "activating", ... */
const char *step_attempt(enum step_kind kind);

/* Loop thread. done runs there later, never from within. */
void step_start(struct step *step);
/* All phases on this thread, before store_start. Blocks; is_failed and failure tell the end. */
void step_perform(struct step *step);
