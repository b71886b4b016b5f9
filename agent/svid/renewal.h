/* When an identity gets its next SVID, and what becomes of the try. Loop thread only. */
#pragma once

#include "agent/svid/identity.h"

/* An SVID of an earlier process, taken if the identity has none and the rules want just this key.
 */
void renewal_restore(struct identity *identity, struct svid_x509 *svid);
/* Looks at the identity, issues what is missing, drops what is over: its timer's function. */
void renewal_review(struct timer *timer);
/* Has that done as soon as the loop runs. */
void renewal_touch(struct identity *identity);
/* Sets the timer for the next moment at which there may be something to do. */
void renewal_arm(struct identity *identity);
/* Whether a caller who comes now finds something missing that a review would start or hurry. */
bool renewal_is_missing(const struct identity *identity);
