/* A PKCS#11 module in this process, loaded by p11-kit. */
#pragma once

#include <p11-kit/p11-kit.h>

#include "lib/base/error.h"

/* Loads and initializes, with locks of the operating system. module is a path, a file in p11-kit's
 * folder of modules, or (without '/' and ".so") the name of a registered one. What is returned
 * shares the module with other users in this process. */
int module_load(const char *module, CK_FUNCTION_LIST **ret_functions, struct error *err);
/* Finalizes and initializes again; every session is gone. Has no effect on the module itself while
 * others in this process use it. */
int module_reload(const char *module, CK_FUNCTION_LIST *functions, struct error *err);
void module_unload(CK_FUNCTION_LIST *functions);
