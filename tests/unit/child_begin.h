/* For a child that a test forks and that goes on in the test's own code. */
#pragma once

#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>

/* It ends with the test. An assertion that fails in it ends it with a text on stderr; else it would
 * go on with the next test, beside its parent. */
static inline void child_begin(void)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)setenv("CMOCKA_TEST_ABORT", "1", 1);
}
