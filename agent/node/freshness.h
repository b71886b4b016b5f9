/* Whether the data folder as a whole is an older copy that was put back. A counter in the TPM's NV
 * and a number in the folder go up together: first the number, on the disk, then the counter. So
 * the number is the counter's or, after a crash between, one more; a folder that was put back has a
 * lower one.
 *
 * They go up at each start and once a day: a copy that was made since is not told apart. Nor are
 * older single files beside the newest node.json. */
#pragma once

#include "agent/node/memory.h"
#include "pkcs11/keystore.h"

struct freshness {
    struct keystore *keystore;
    uint32_t index; /* NV; 0: none, nothing is claimed */
    const char *path;
    uint64_t stepped_ms; /* monotonic; 0: not since the start */
};

/* Sets CLAIM_DATA_FRESH, and changes the memory and its file as far as counting needs. Blocks. */
void freshness_judge(struct freshness *freshness, struct node_memory *memory,
                     struct verdict *verdict);
