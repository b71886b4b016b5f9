/* What is remembered of the node from one attestation to the next, and over restarts: one small
 * JSON file. Every thread. */
#pragma once

#include "attest/judge.h"

enum { NODE_BOOT_ID_BYTES = 64 };

struct node_memory {
    bool is_known; /* the next ones are of an attestation that was believed */
    struct buffer ek_public;
    struct tpm2_name ak_name;
    struct buffer primary; /* the name of the storage primary */
    TPMS_CLOCK_INFO clock;
    char boot_id[NODE_BOOT_ID_BYTES];
    int64_t attested_at_s;
    /* The NV counter, as it is or as it is about to become. */
    bool has_counter;
    uint64_t counter;
    uint32_t counter_index;
    uint32_t making_index;                   /* a counter is about to be made there; 0: none */
    char making_boot_id[NODE_BOOT_ID_BYTES]; /* in this boot */
    /* It was found that an older data folder had been put back; stays until the file is removed. */
    char *rolled_back; /* why; NULL: it was not */
};

/* NotFound: there is no such file. DataLoss: it is damaged; says what to do. */
int node_memory_read(const char *path, struct node_memory *ret_memory, struct error *err);
/* Whole or not at all, on the disk when it returns. */
int node_memory_write(const char *path, const struct node_memory *memory, struct error *err);
void node_memory_copy(struct node_memory *to, const struct node_memory *from);
void node_memory_clear(struct node_memory *memory);

/* Of the kernel that runs; empty where it cannot be read. */
void node_boot_id(char ret_boot_id[NODE_BOOT_ID_BYTES]);
