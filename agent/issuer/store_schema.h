/* The tables of the issuer's store and the steps from one version of them to the next. */
#pragma once

#include "agent/issuer/store.h"

struct sqlite3;

/* Brings the file to the newest schema. A file of a later version, or of another program, is
 * refused. */
int store_schema_apply(struct store *store, struct sqlite3 *database, const char *path,
                       struct error *err);
/* Writes the trust domain down in a new file; refuses an existing one of another trust domain. */
int store_schema_check_trust_domain(struct store *store, const char *path, const char *trust_domain,
                                    struct error *err);
