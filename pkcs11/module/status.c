#include "pkcs11/module/status.h"

struct status {
    CK_RV rv;
    enum error_code code;
    bool is_lost;
    const char *advice; /* NULL: none */
};

static const struct status statuses[] = {
    {CKR_HOST_MEMORY, ERROR_RESOURCE_EXHAUSTED, false, NULL},
    {CKR_DEVICE_MEMORY, ERROR_RESOURCE_EXHAUSTED, false, "the token is full of objects"},
    {CKR_SESSION_COUNT, ERROR_RESOURCE_EXHAUSTED, false,
     "the token allows no further session; lower workers or close other programs that use it"},
    {CKR_GENERAL_ERROR, ERROR_ABORTED, true, NULL},
    {CKR_FUNCTION_FAILED, ERROR_ABORTED, true, NULL},
    {CKR_DEVICE_ERROR, ERROR_ABORTED, true, NULL},
    {CKR_DEVICE_REMOVED, ERROR_UNAVAILABLE, true, "put the token back"},
    {CKR_TOKEN_NOT_PRESENT, ERROR_UNAVAILABLE, true, "put the token back"},
    {CKR_TOKEN_NOT_RECOGNIZED, ERROR_UNAVAILABLE, true, NULL},
    {CKR_SLOT_ID_INVALID, ERROR_UNAVAILABLE, true, NULL},
    {CKR_SESSION_CLOSED, ERROR_UNAVAILABLE, true, NULL},
    {CKR_SESSION_HANDLE_INVALID, ERROR_UNAVAILABLE, true, NULL},
    {CKR_USER_NOT_LOGGED_IN, ERROR_UNAVAILABLE, true, NULL},
    {CKR_CRYPTOKI_NOT_INITIALIZED, ERROR_UNAVAILABLE, true, NULL},
    {CKR_MECHANISM_INVALID, ERROR_UNIMPLEMENTED, false, "the token cannot do this"},
    {CKR_MECHANISM_PARAM_INVALID, ERROR_UNIMPLEMENTED, false, "the token cannot do this"},
    {CKR_FUNCTION_NOT_SUPPORTED, ERROR_UNIMPLEMENTED, false, "the token cannot do this"},
    {CKR_CURVE_NOT_SUPPORTED, ERROR_UNIMPLEMENTED, false, "choose another key type"},
    {CKR_KEY_SIZE_RANGE, ERROR_UNIMPLEMENTED, false, "choose another key type"},
    {CKR_TOKEN_WRITE_PROTECTED, ERROR_FAILED_PRECONDITION, false,
     "the token is read-only, so no lasting key can be made or destroyed on it"},
    {CKR_KEY_HANDLE_INVALID, ERROR_DATA_LOSS, false, NULL},
    {CKR_OBJECT_HANDLE_INVALID, ERROR_DATA_LOSS, false, NULL},
    {CKR_PIN_EXPIRED, ERROR_FAILED_PRECONDITION, false,
     "set a new PIN with the token's own tool and put it into the file of the PIN"},
    {CKR_PIN_LOCKED, ERROR_FAILED_PRECONDITION, false,
     "too many wrong PINs were tried; unlock the token with its security officer's PIN"},
    {CKR_USER_PIN_NOT_INITIALIZED, ERROR_FAILED_PRECONDITION, false,
     "set the token's user PIN with its own tool"},
    {CKR_USER_ANOTHER_ALREADY_LOGGED_IN, ERROR_FAILED_PRECONDITION, false,
     "the security officer is logged in through this process"},
};

static const struct status *find(CK_RV rv)
{
    static const struct status other = {CKR_OK, ERROR_INTERNAL, false, NULL};
    for (size_t i = 0; i < ARRAY_SIZE(statuses); i++) {
        if (statuses[i].rv == rv) {
            return &statuses[i];
        }
    }
    return &other;
}

int module_status_set(struct error *err, CK_RV rv, const char *function,
                      const struct module_where *where)
{
    const struct status *status = find(rv);
    bool has_token = where->token[0] != '\0';
    return error_set(err, status->code, "%s of module %s%s%s%s: %s (0x%lx)%s%s", function,
                     where->module, has_token ? " on token \"" : "", where->token,
                     has_token ? "\"" : "", p11_kit_strerror(rv), rv, status->advice ? "; " : "",
                     status->advice ? status->advice : "");
}

bool module_status_is_lost(CK_RV rv)
{
    return find(rv)->is_lost;
}

bool module_status_is_object_gone(CK_RV rv)
{
    return rv == CKR_KEY_HANDLE_INVALID || rv == CKR_OBJECT_HANDLE_INVALID;
}
