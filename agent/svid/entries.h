/* What the issuer says about entries, for the listener: user is the manager. Loop thread only. */
#pragma once

#include "agent/issuer/entry.h"

/* The entry is new or has changed. */
void entries_set(void *user, struct entry *entry);
/* Withdrawn from everybody before the return, unless a callback of the manager is running: then
 * when that ends. */
void entries_removed(void *user, const char *entry_id);
