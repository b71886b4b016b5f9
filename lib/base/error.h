/* Why something failed, for a program (code) and for a person (text). */
#pragma once

#include "lib/base/macro.h"

/* The numbers are those of gRPC's status codes, so a code is its own mapping to the wire. */
enum error_code {
    ERROR_OK = 0,
    ERROR_CANCELLED = 1,
    ERROR_UNKNOWN = 2,
    ERROR_INVALID_ARGUMENT = 3,
    ERROR_DEADLINE_EXCEEDED = 4,
    ERROR_NOT_FOUND = 5,
    ERROR_ALREADY_EXISTS = 6,
    ERROR_PERMISSION_DENIED = 7,
    ERROR_RESOURCE_EXHAUSTED = 8,
    ERROR_FAILED_PRECONDITION = 9,
    ERROR_ABORTED = 10,
    ERROR_OUT_OF_RANGE = 11,
    ERROR_UNIMPLEMENTED = 12,
    ERROR_INTERNAL = 13,
    ERROR_UNAVAILABLE = 14,
    ERROR_DATA_LOSS = 15,
    ERROR_UNAUTHENTICATED = 16,
};

/* Lives on the caller's stack. A function that takes one sets it on failure only. Longer texts are
 * cut, never overrun; control characters and bytes that are not UTF-8 are replaced, so a text is
 * always safe to print. */
struct error {
    enum error_code code;
    char text[512];
};

/* Set code and text. Always return -1, so a failing function ends in `return error_set(...)`. err
 * may be NULL. */
int error_set(struct error *err, enum error_code code, const char *format, ...) _printf_(3, 4);

/* As error_set, followed by ": " and the text of errno_value; ENOENT and EACCES and the like choose
 * the code. */
int error_set_errno(struct error *err, int errno_value, const char *format, ...) _printf_(3, 4);

/* As error_set, followed by ": " and the text of OpenSSL's newest error that says more than a
 * number (what a keystore said, say), or of the newest; empties OpenSSL's queue of
 * this thread. */
int error_set_openssl(struct error *err, enum error_code code, const char *format, ...)
    _printf_(3, 4);

/* Put context before the text: "context: text". Returns -1. */
int error_prepend(struct error *err, const char *format, ...) _printf_(2, 3);

/* The name of the code as gRPC spells it, such as "PermissionDenied". */
const char *error_code_name(enum error_code code);

/* The exit code of a command: 0 done, 1 failed, 2 usage (InvalidArgument), 3 denied
 * (PermissionDenied). */
int error_exit_code(enum error_code code);

#ifdef __clang_analyzer__
/* The analyzer looks at one file at a time: tell it what these return. */
#define error_set(...) ((error_set)(__VA_ARGS__), -1)
#define error_set_errno(...) ((error_set_errno)(__VA_ARGS__), -1)
#define error_set_openssl(...) ((error_set_openssl)(__VA_ARGS__), -1)
#define error_prepend(...) ((error_prepend)(__VA_ARGS__), -1)
#endif
