#include "pkcs11/module/load.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/memory.h"
#include "pkcs11/module/status.h"

static bool is_registered_name(const char *module)
{
    return !strchr(module, '/') && !strstr(module, ".so");
}

static const char *last_message(void)
{
    const char *message = p11_kit_message();
    return message ? message : "p11-kit gave no reason";
}

static void list_names(CK_FUNCTION_LIST **modules, char *list, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; modules[i] && used < size; i++) {
        _cleanup_(free_cleanup) char *name = p11_kit_module_get_name(modules[i]);
        int count = snprintf(list + used, size - used, "%s%s", i > 0 ? ", " : "",
                             name ? name : "(no name)");
        used += (size_t)MAX(count, 0);
    }
}

/* p11-kit finds a registered module only by loading all of them. */
static int load_registered(const char *module, CK_FUNCTION_LIST **ret_functions, struct error *err)
{
    CK_FUNCTION_LIST **modules = p11_kit_modules_load(NULL, 0);
    if (!modules) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "loading the PKCS#11 module %s by its p11-kit name: %s", module,
                         last_message());
    }
    char names[256] = "none";
    list_names(modules, names, sizeof(names));
    CK_FUNCTION_LIST *found = p11_kit_module_for_name(modules, module);
    for (size_t i = 0; modules[i]; i++) {
        if (modules[i] != found) {
            p11_kit_module_release(modules[i]);
        }
    }
    free((void *)modules);
    if (!found) {
        return error_set(err, ERROR_NOT_FOUND,
                         "loading the PKCS#11 module %s: p11-kit knows no such name; it has: %s. "
                         "Give the path of the module's file, or register it in "
                         "/etc/pkcs11/modules",
                         module, names);
    }
    *ret_functions = found;
    return 0;
}

static int load_file(const char *module, CK_FUNCTION_LIST **ret_functions, struct error *err)
{
    if (module[0] == '/' && access(module, R_OK) < 0) {
        return error_set_errno(
            err, errno, "loading the PKCS#11 module %s (install it, or correct module =)", module);
    }
    CK_FUNCTION_LIST *functions = p11_kit_module_load(module, 0);
    if (!functions) {
        return error_set(err, ERROR_FAILED_PRECONDITION, "loading the PKCS#11 module %s: %s",
                         module, last_message());
    }
    *ret_functions = functions;
    return 0;
}

static int initialize(const char *module, CK_FUNCTION_LIST *functions, struct error *err)
{
    CK_RV rv = p11_kit_module_initialize(functions);
    if (rv != CKR_OK) {
        return module_status_set(err, rv, "C_Initialize", &(struct module_where){module, ""});
    }
    return 0;
}

int module_load(const char *module, CK_FUNCTION_LIST **ret_functions, struct error *err)
{
    CK_FUNCTION_LIST *functions = NULL;
    /* What it has to say comes with our errors. */
    p11_kit_be_quiet();
    TRY(is_registered_name(module) ? load_registered(module, &functions, err)
                                   : load_file(module, &functions, err));
    if (initialize(module, functions, err) < 0) {
        p11_kit_module_release(functions);
        return -1;
    }
    *ret_functions = functions;
    return 0;
}

int module_reload(const char *module, CK_FUNCTION_LIST *functions, struct error *err)
{
    (void)p11_kit_module_finalize(functions);
    return initialize(module, functions, err);
}

void module_unload(CK_FUNCTION_LIST *functions)
{
    (void)p11_kit_module_finalize(functions);
    p11_kit_module_release(functions);
}
