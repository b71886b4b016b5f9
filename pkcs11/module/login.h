/* Logging in to a token without ever locking it: a PIN that a token refused is not tried again by
 * this process. */
#pragma once

#include "pkcs11/module/library.h"
#include "pkcs11/module/module.h"
#include "pkcs11/module/token.h"

/* Logs in on the session with the PIN of config, which is read anew. No pin_path: only checks
 * that the token wants no login. Success when the process is logged in already. */
int module_login(struct module_library *library, unsigned lane, CK_SESSION_HANDLE session,
                 const struct module_token *token, const struct module_where *where,
                 const struct module_config *config, struct error *err);
