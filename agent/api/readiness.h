/* How each part of the agent is. Loop thread only. */
#pragma once

#include "agent/api/api.h"

struct readiness_part {
    char name[128];
    bool is_ready;
    char detail[384]; /* why it is not ready, or what there is to know */
};

struct readiness {
    bool is_ready; /* every part is */
    struct readiness_part *parts;
    size_t count;
};

struct api; /* context.h */
void readiness_assess(const struct api *api, struct readiness *ret_readiness);
void readiness_clear(struct readiness *readiness);
/* is_ready alone, without the texts. */
bool readiness_is_ready(const struct api *api);
