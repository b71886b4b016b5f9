/* The few macros of signet. Those with control flow are listed here and exist nowhere else: TRY. */
#pragma once

#include <stddef.h>
#include <stdint.h>
/* MIN and MAX; uv.h brings it in too, so they cannot be of our own. */
#include <sys/param.h>

/* Runs f(&variable) when the variable leaves its scope. */
#define _cleanup_(f) __attribute__((cleanup(f)))

#define _printf_(format_index, first_index)                                                        \
    __attribute__((format(printf, format_index, first_index)))

/* NOLINTBEGIN(bugprone-macro-parentheses): a type cannot be put in parentheses here. */
/* Defines name##_cleanup for _cleanup_(): calls function(pointer) unless the pointer is NULL. */
#define DEFINE_CLEANUP(type, name, function)                                                       \
    static inline void name##_cleanup(type **pointer)                                              \
    {                                                                                              \
        if (*pointer) {                                                                            \
            function(*pointer);                                                                    \
        }                                                                                          \
    }                                                                                              \
    struct macro_semicolon_is_needed
/* NOLINTEND(bugprone-macro-parentheses) */

/* Hands ownership on: the value of the pointer, which is NULL afterwards. */
#define take_ptr(pointer)                                                                          \
    ({                                                                                             \
        __typeof__(pointer) *take_ptr_from = &(pointer);                                           \
        __typeof__(pointer) take_ptr_value = *take_ptr_from;                                       \
        *take_ptr_from = NULL;                                                                     \
        take_ptr_value;                                                                            \
    })

/* Returns -1 from the calling function when the expression, a call that sets an error, is negative.
 */
#define TRY(expression)                                                                            \
    do {                                                                                           \
        if ((expression) < 0) {                                                                    \
            return -1;                                                                             \
        }                                                                                          \
    } while (0)

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

#define container_of(pointer, type, member)                                                        \
    ((type *)&((char *)(pointer))[-(ptrdiff_t)offsetof(type, member)])
