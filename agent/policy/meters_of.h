/* The meters of all identities, by SPIFFE ID. Loop thread only, but for the meters. */
#pragma once

#include "agent/policy/policy.h"

struct meters_of;

struct meters_of *meters_of_new(void);
void meters_of_free(struct meters_of *meters_of);
/* Made where there are none. Borrowed until the next call. */
struct identity_meters *meters_of_find(struct meters_of *meters_of, const char *spiffe_id);
size_t meters_of_count(const struct meters_of *meters_of);
