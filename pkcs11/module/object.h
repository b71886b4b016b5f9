/* Key objects on a token: made, found, checked, read, destroyed. The session is the caller's for
 * the call. Functions that return CK_RV have set err unless it is CKR_OK. */
#pragma once

#include "pkcs11/keystore.h"
#include "pkcs11/module/session.h"

enum { MODULE_ID_BYTES = 16 };

struct module_pair {
    CK_OBJECT_HANDLE public, private; /* CK_INVALID_HANDLE: none */
};

/* id NULL: session objects, gone with the session. Checks that the private key was made by the
 * token, only signs and can never leave; otherwise nothing is left and the call fails. */
CK_RV module_pair_generate(const struct module_session *session, const struct module_where *where,
                           enum key_type type, const uint8_t *id, struct module_pair *ret_pair,
                           struct error *err);

/* The lasting pair with the id: exactly one private key (NotFound, FailedPrecondition), checked as
 * above; the public object may be missing. */
CK_RV module_pair_find(const struct module_session *session, const struct module_where *where,
                       const uint8_t id[MODULE_ID_BYTES], struct module_pair *ret_pair,
                       struct error *err);

/* SubjectPublicKeyInfo, from the public object or else from the private one. */
CK_RV module_pair_read_public(const struct module_session *session,
                              const struct module_where *where, enum key_type type,
                              const struct module_pair *pair, struct buffer *ret_spki,
                              struct error *err);

/* Destroys an object; success when it is gone already. */
CK_RV module_object_destroy(const struct module_session *session, const struct module_where *where,
                            CK_OBJECT_HANDLE object, struct error *err);
/* Destroys every key object with the id. */
CK_RV module_objects_destroy(const struct module_session *session, const struct module_where *where,
                             const uint8_t id[MODULE_ID_BYTES], struct error *err);
