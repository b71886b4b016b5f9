#include "lib/base/error.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/text.h"

static void error_format(struct error *err, enum error_code code, const char *format,
                         va_list arguments)
{
    err->code = code;
    (void)vsnprintf(err->text, sizeof(err->text), format, arguments);
    text_make_printable(err->text);
}

static void error_append(struct error *err, const char *reason)
{
    size_t used = strlen(err->text);
    (void)snprintf(err->text + used, sizeof(err->text) - used, ": %s", reason);
    text_make_printable(err->text);
}

int(error_set)(struct error *err, enum error_code code, const char *format, ...)
{
    if (err) {
        va_list arguments;
        va_start(arguments, format);
        error_format(err, code, format, arguments);
        va_end(arguments);
    }
    return -1;
}

static enum error_code code_of_errno(int errno_value)
{
    switch (errno_value) {
    case ENOENT:
    case ESRCH:
        return ERROR_NOT_FOUND;
    case EACCES:
    case EPERM:
        return ERROR_PERMISSION_DENIED;
    case EEXIST:
    case EADDRINUSE:
        return ERROR_ALREADY_EXISTS;
    case ENOMEM:
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
        return ERROR_RESOURCE_EXHAUSTED;
    case ETIMEDOUT:
        return ERROR_DEADLINE_EXCEEDED;
    case EINVAL:
    case ENAMETOOLONG:
        return ERROR_INVALID_ARGUMENT;
    default:
        return ERROR_UNAVAILABLE;
    }
}

int(error_set_errno)(struct error *err, int errno_value, const char *format, ...)
{
    if (err) {
        char reason[128];
        va_list arguments;
        va_start(arguments, format);
        error_format(err, code_of_errno(errno_value), format, arguments);
        va_end(arguments);
        error_append(err, strerror_r(errno_value, reason, sizeof(reason)));
    }
    return -1;
}

struct openssl_reason {
    unsigned long number; /* 0: none */
    char detail[256];     /* "": none */
};

/* Empties the queue. What was put in first knows best why: what comes after it, from OpenSSL's
 * layers above, is "EVP lib" and the like, and seldom has a text. */
static void take_openssl_reason(struct openssl_reason *ret_reason)
{
    const char *detail = NULL;
    int flags = 0;
    unsigned long number;
    *ret_reason = (struct openssl_reason){0};
    while ((number = ERR_get_error_all(NULL, NULL, NULL, &detail, &flags)) != 0) {
        bool has_detail = detail && (flags & ERR_TXT_STRING) && *detail;
        if (has_detail || ret_reason->detail[0] == '\0') {
            ret_reason->number = number;
            (void)snprintf(ret_reason->detail, sizeof(ret_reason->detail), "%s",
                           has_detail ? detail : "");
        }
    }
}

int(error_set_openssl)(struct error *err, enum error_code code, const char *format, ...)
{
    struct openssl_reason reason;
    take_openssl_reason(&reason);
    if (err) {
        char text[384] = "OpenSSL gave no reason";
        va_list arguments;
        va_start(arguments, format);
        error_format(err, code, format, arguments);
        va_end(arguments);
        if (reason.number) {
            const char *name = ERR_reason_error_string(reason.number);
            bool has_detail = reason.detail[0] != '\0';
            (void)snprintf(text, sizeof(text), "%s%s%s%s", name ? name : "unknown reason",
                           has_detail ? " (" : "", reason.detail, has_detail ? ")" : "");
        }
        error_append(err, text);
    }
    return -1;
}

int(error_prepend)(struct error *err, const char *format, ...)
{
    if (err) {
        char text[sizeof(err->text)];
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        size_t used = strlen(text);
        used = MIN(used, sizeof(text) - 1);
        int room = (int)(sizeof(text) - used) - 3;
        (void)snprintf(text + used, sizeof(text) - used, ": %.*s", MAX(room, 0), err->text);
        memcpy(err->text, text, sizeof(text));
        text_make_printable(err->text);
    }
    return -1;
}

const char *error_code_name(enum error_code code)
{
    static const char *const names[] = {
        "OK",
        "Canceled",
        "Unknown",
        "InvalidArgument",
        "DeadlineExceeded",
        "NotFound",
        "AlreadyExists",
        "PermissionDenied",
        "ResourceExhausted",
        "FailedPrecondition",
        "Aborted",
        "OutOfRange",
        "Unimplemented",
        "Internal",
        "Unavailable",
        "DataLoss",
        "Unauthenticated",
    };
    return (size_t)code < ARRAY_SIZE(names) ? names[code] : "Unknown";
}

int error_exit_code(enum error_code code)
{
    switch (code) {
    case ERROR_OK:
        return 0;
    case ERROR_INVALID_ARGUMENT:
        return 2;
    case ERROR_PERMISSION_DENIED:
    case ERROR_UNAUTHENTICATED:
        return 3;
    default:
        return 1;
    }
}
