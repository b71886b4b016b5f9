/* The module of a keystore, in this process or in one of its own. Calls go through lanes: each lane
 * is used by one thread at a time. In this process all lanes are the same functions; of an isolated
 * module each is a connection of its own, since the threads of one p11-kit client connection wait
 * for each other and can hang when it breaks. Session and object handles are the same in all. */
#pragma once

#include <p11-kit/p11-kit.h>

#include "lib/base/secret.h"
#include "pkcs11/module/module.h"

struct module_library;

/* keystore is for the log; config is borrowed until module_library_close. */
int module_library_open(const struct module_config *config, const char *keystore, unsigned lanes,
                        struct module_library **ret_library, struct error *err);
/* Finalizes the module; no call may be under way. */
void module_library_close(struct module_library *library);
DEFINE_CLEANUP(struct module_library, module_library_close, module_library_close);

CK_FUNCTION_LIST *module_library_lane(const struct module_library *library, unsigned lane);

/* Between these two an isolated module has timeout_ms to answer, else its process is killed and the
 * calls return. */
void module_library_call_begin(struct module_library *library, unsigned lane);
void module_library_call_end(struct module_library *library, unsigned lane);

/* C_Login of the user. pin NULL: the token has a way of its own to ask. An isolated module's PIN
 * takes a way of its own, since p11-kit would leave copies in unguarded memory. */
CK_RV module_library_login(struct module_library *library, unsigned lane, CK_SESSION_HANDLE session,
                           const struct secret *pin);

/* Starts the module anew; all sessions, logins and handles are gone. No call may be under way. */
int module_library_restart(struct module_library *library, struct error *err);
bool module_library_is_isolated(const struct module_library *library);
