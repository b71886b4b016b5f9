/* Logging in to a token without ever locking it: a PIN that a token refused is not tried again by
 * this process. */
#pragma once

#include "pkcs11/module/library.h"
#include "pkcs11/module/token.h"

/* Logs in on the session with the PIN in the file, which is read anew. pin_path NULL: only checks
 * that the token wants no login. Success when the process is logged in already. */
int module_login(struct module_library *library, unsigned lane, CK_SESSION_HANDLE session,
                 const struct module_token *token, const struct module_where *where,
                 const char *pin_path, struct error *err);
