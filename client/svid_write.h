/* Identities as files that other software reads. */
#pragma once

#include "client/identity.h"

/* Writes svid.N.pem, bundle.N.pem and svid.N.key (0600) or svid.N.uri for each identity into the
 * folder, each file whole or not at all. Of the key and URI the one that does not apply is removed.
 */
int svid_write(const char *folder, const struct identity_list *list, struct error *err);
