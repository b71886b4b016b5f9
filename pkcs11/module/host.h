/* The agent's side of a module that runs in a process of its own: starts it, connects to it, ends
 * it when it does not answer, and reaps it. */
#pragma once

#include <p11-kit/p11-kit.h>

#include "lib/base/bytes.h"
#include "pkcs11/module/module.h"

struct module_host;

/* As of library.h. Changes the environment variable P11_KIT_SERVER_ADDRESS, which is how
 * p11-kit-client.so learns its address; it is left empty. */
int module_host_open(const struct module_config *config, const char *keystore, unsigned lanes,
                     struct module_host **ret_host, struct error *err);
void module_host_close(struct module_host *host);
DEFINE_CLEANUP(struct module_host, module_host_close, module_host_close);
CK_FUNCTION_LIST *module_host_lane(const struct module_host *host, unsigned lane);
void module_host_call_begin(struct module_host *host, unsigned lane);
void module_host_call_end(struct module_host *host, unsigned lane);
CK_RV module_host_login(struct module_host *host, unsigned lane, CK_SESSION_HANDLE session,
                        struct bytes pin);
int module_host_restart(struct module_host *host, struct error *err);
