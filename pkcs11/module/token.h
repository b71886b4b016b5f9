/* Which token of a module, and what it can do. */
#pragma once

#include "pkcs11/keystore.h"
#include "pkcs11/module/status.h"

enum { TOKEN_IDENTITY_BYTES = 96 };

struct module_token {
    CK_SLOT_ID slot;
    CK_FLAGS flags;
    size_t pin_min_bytes, pin_max_bytes;
    /* Label, manufacturer, model and serial number, as the token has them. */
    uint8_t identity[TOKEN_IDENTITY_BYTES];
    bool can_generate[KEY_TYPE_COUNT];
    bool can_sign[KEY_TYPE_COUNT][3]; /* by enum sign_scheme */
};

/* Finds the one token with the label, or that the pkcs11: URI selects, and writes its label to
 * where. Fails when none or several match, or it is not initialized; the text names what is there.
 */
int module_token_select(CK_FUNCTION_LIST *functions, const char *wanted, struct module_where *where,
                        struct module_token *ret_token, struct error *err);
/* Reads the flags again; fails when the token is not there or is another one. */
int module_token_check(CK_FUNCTION_LIST *functions, const struct module_where *where,
                       struct module_token *token, struct error *err);

/* Fail with Unimplemented where the token has no mechanism for it. */
int module_token_may_generate(const struct module_token *token, enum key_type type,
                              const struct module_where *where, struct error *err);
int module_token_may_sign(const struct module_token *token, enum key_type type,
                          enum sign_scheme scheme, const struct module_where *where,
                          struct error *err);
