/* What `signet identity list` makes of an identity. */
#pragma once

#include <stdbool.h>

#include "proto/admin.pb-c.h"

/* Whether it has an entry, is known for unused_s at least, and nobody used or fetched it in that
 * time. */
bool identity_is_unused(const Admin__Identity *identity, int64_t unused_s, int64_t now_s);
/* Uses a day: the mean of the last seven days, or of those since it is known, in tenths. */
uint64_t identity_uses_a_day_tenths(const Admin__Identity *identity, int64_t now_s);
