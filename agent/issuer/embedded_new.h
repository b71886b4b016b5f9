/* The embedded issuer with a clock of the caller's; for tests. */
#pragma once

#include "agent/issuer/embedded.h"
#include "agent/issuer/issuer_clock.h"

/* As issuer_embedded_new. The clock is borrowed and outlives the issuer. */
int issuer_embedded_new_with_clock(uv_loop_t *loop, const struct embedded_config *config,
                                   const struct issuer_clock *clock, struct issuer **ret_issuer,
                                   struct error *err);
/* What the timer does: looks at the clock and starts what is due. */
void issuer_embedded_look(struct issuer *issuer);
/* Whether anything waits for the keystore or the store. */
bool issuer_embedded_is_busy(struct issuer *issuer);
