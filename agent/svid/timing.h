/* When an SVID is renewed and when a failed try is made again. Every thread. */
#pragma once

#include <stdint.h>

enum {
    TIMING_RETRY_MIN_MS = 1000,
    TIMING_RETRY_MAX_MS = 60000,
    /* The clock is read in whole seconds; taken off, nothing is ever held past its end. */
    TIMING_EXPIRY_MARGIN_S = 1,
};

/* Half of the life that is left at now_s, give or take a random tenth of that life. */
int64_t timing_renew_at_s(int64_t now_s, int64_t expires_at_s);
/* How long to wait after so many failures in a row: doubles from 1 to 60 s, with jitter, and short
 * enough for several tries in the left_s that are left (0 or less: nothing left to save). */
uint64_t timing_retry_ms(unsigned failures, int64_t left_s);
