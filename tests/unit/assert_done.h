/* assert_done(call(…, &err), err): the test fails with the error's text where the call does. */
#pragma once

#include "lib/base/error.h"
#include "tests/unit/cmocka_all.h"

#define assert_done(expression, error)                                                             \
    do {                                                                                           \
        if ((expression) < 0) {                                                                    \
            fail_msg("%s: %s", error_code_name((error).code), (error).text);                       \
        }                                                                                          \
    } while (0)
