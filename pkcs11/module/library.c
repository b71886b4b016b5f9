#include "pkcs11/module/library.h"

#include "lib/base/memory.h"
#include "pkcs11/module/host.h"
#include "pkcs11/module/load.h"

struct module_library {
    const struct module_config *config;
    CK_FUNCTION_LIST *functions; /* in this process; else NULL */
    struct module_host *host;    /* isolated; else NULL */
};

int module_library_open(const struct module_config *config, const char *keystore, unsigned lanes,
                        struct module_library **ret_library, struct error *err)
{
    _cleanup_(module_library_close_cleanup) struct module_library *library =
        NEW(struct module_library);
    library->config = config;
    TRY(config->is_isolated ? module_host_open(config, keystore, lanes, &library->host, err)
                            : module_load(config->module, &library->functions, err));
    *ret_library = take_ptr(library);
    return 0;
}

void module_library_close(struct module_library *library)
{
    if (library->host) {
        module_host_close(library->host);
    }
    if (library->functions) {
        module_unload(library->functions);
    }
    free(library);
}

CK_FUNCTION_LIST *module_library_lane(const struct module_library *library, unsigned lane)
{
    return library->host ? module_host_lane(library->host, lane) : library->functions;
}

void module_library_call_begin(struct module_library *library, unsigned lane)
{
    if (library->host) {
        module_host_call_begin(library->host, lane);
    }
}

void module_library_call_end(struct module_library *library, unsigned lane)
{
    if (library->host) {
        module_host_call_end(library->host, lane);
    }
}

CK_RV module_library_login(struct module_library *library, unsigned lane, CK_SESSION_HANDLE session,
                           const struct secret *pin)
{
    if (pin && library->host) {
        return module_host_login(library->host, lane, session, secret_bytes(pin));
    }
    return module_library_lane(library, lane)
        ->C_Login(session, CKU_USER, pin ? pin->data : NULL, pin ? pin->size : 0);
}

int module_library_restart(struct module_library *library, struct error *err)
{
    return library->host ? module_host_restart(library->host, err)
                         : module_reload(library->config->module, library->functions, err);
}

bool module_library_is_isolated(const struct module_library *library)
{
    return library->host != NULL;
}
