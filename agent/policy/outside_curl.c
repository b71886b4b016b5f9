#include "agent/policy/outside_curl.h"

#include <dlfcn.h>
#include <string.h>

/* The same library, linked with one or another library for TLS, which is not used here. */
static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4"};

#define FUNCTION(name)                                                                             \
    {                                                                                              \
        "curl_" #name, offsetof(struct outside_curl, name)                                         \
    }

static const struct {
    const char *name;
    size_t offset;
} functions[] = {
    FUNCTION(global_init),     FUNCTION(easy_init),        FUNCTION(easy_setopt),
    FUNCTION(easy_getinfo),    FUNCTION(easy_cleanup),     FUNCTION(easy_strerror),
    FUNCTION(slist_append),    FUNCTION(slist_free_all),   FUNCTION(multi_init),
    FUNCTION(multi_setopt),    FUNCTION(multi_add_handle), FUNCTION(multi_remove_handle),
    FUNCTION(multi_perform),   FUNCTION(multi_poll),       FUNCTION(multi_wakeup),
    FUNCTION(multi_info_read), FUNCTION(multi_cleanup),
};

static int open_library(void **ret_library, struct error *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        /* Not to be unloaded: what it brings along has handlers for the end of threads. */
        *ret_library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
        if (*ret_library) {
            return 0;
        }
    }
    return error_set(err, ERROR_FAILED_PRECONDITION,
                     "loading %s for the outside policy: %s; install libcurl (package libcurl4) or "
                     "take opa out of the configuration",
                     names[0], dlerror());
}

int outside_curl_load(struct outside_curl *ret_curl, struct error *err)
{
    void *library = NULL;
    TRY(open_library(&library, err));
    for (size_t i = 0; i < ARRAY_SIZE(functions); i++) {
        void *function = dlsym(library, functions[i].name);
        if (!function) {
            return error_set(err, ERROR_FAILED_PRECONDITION,
                             "loading %s for the outside policy: it has no %s; 7.85 or newer is "
                             "needed",
                             names[0], functions[i].name);
        }
        memcpy((char *)ret_curl + functions[i].offset, &function, sizeof(function));
    }
    if (ret_curl->global_init(CURL_GLOBAL_NOTHING) != CURLE_OK) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "preparing libcurl for the outside policy failed");
    }
    return 0;
}
