#include "agent/node/freshness.h"

#include <inttypes.h>
#include <string.h>

#include "attest/host/counter.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "pkcs11/tpm/tpm.h"

static const uint64_t step_every_ms = 24ULL * 3600 * 1000;

/* What to do has to fit behind every reason. */
#define WAY_OUT                                                                                    \
    "Put the newest data folder back; or, where this one is meant to be, stop signetd, remove "    \
    "node.json from it, run tpm2_nvundefine -C o 0x%08x, and start signetd"

struct counting {
    uint32_t index;
    uint64_t value;
    bool is_new;
};

static int open_counter(void *state, void *argument, struct error *err)
{
    struct counting *counting = argument;
    return counter_open(state, counting->index, &counting->value, &counting->is_new, err);
}

static int read_counter(void *state, void *argument, struct error *err)
{
    struct counting *counting = argument;
    return counter_read(state, counting->index, &counting->value, err);
}

static int step_counter(void *state, void *argument, struct error *err)
{
    struct counting *counting = argument;
    return counter_step(state, counting->index, &counting->value, err);
}

static int run(const struct freshness *freshness, struct counting *counting,
               int (*function)(void *state, void *argument, struct error *err), struct error *err)
{
    return keystore_run_driver(freshness->keystore, &keystore_driver_tpm, KEYSTORE_PRIORITY_USE,
                               function, counting, err);
}

/* A mark of another boot is worth nothing: whoever puts an old folder back could have written it.
 */
static bool is_making(const struct node_memory *memory, uint32_t index)
{
    char boot_id[NODE_BOOT_ID_BYTES];
    node_boot_id(boot_id);
    return memory->making_index == index && boot_id[0] &&
           strcmp(memory->making_boot_id, boot_id) == 0;
}

/* Opens it; one that is not there yet is announced in the file before it is made, so that a crash
 * just then does not look as if the file were an old one. */
static int prepare(const struct freshness *freshness, struct node_memory *memory,
                   struct counting *counting, struct error *err)
{
    struct error failure;
    if (memory->counter_index != freshness->index) {
        memory->has_counter = false; /* of another one, by the settings of then */
    }
    if (!memory->has_counter && !is_making(memory, freshness->index) &&
        run(freshness, counting, read_counter, &failure) < 0) {
        if (failure.code != ERROR_NOT_FOUND) {
            return error_set(err, failure.code, "%s", failure.text);
        }
        memory->making_index = freshness->index;
        node_boot_id(memory->making_boot_id);
        if (node_memory_write(freshness->path, memory, err) < 0) {
            memory->making_index = 0;
            return -1;
        }
    }
    return run(freshness, counting, open_counter, err);
}

/* What speaks against the folder; the caller frees it. NULL: nothing. */
static char *find_flaw(const struct node_memory *memory, const struct counting *counting)
{
    if (memory->rolled_back) {
        return memory_copy_text(memory->rolled_back);
    }
    if (memory->has_counter && counting->is_new) {
        return text_format("the TPM's counter is gone, which stood at %" PRIu64
                           ": the TPM was cleared, or somebody removed it",
                           memory->counter);
    }
    if (!memory->has_counter && !counting->is_new && !is_making(memory, counting->index)) {
        return text_format("the TPM's counter stands at %" PRIu64
                           ", and node.json does not know of it",
                           counting->value);
    }
    if (memory->has_counter && memory->counter != counting->value &&
        memory->counter != counting->value + 1) {
        return text_format("an older data folder was put back: it is of counter %" PRIu64
                           ", and the TPM's stands at %" PRIu64,
                           memory->counter, counting->value);
    }
    return NULL;
}

/* The number first: where the TPM fails, the counter follows the next time. */
static int step(struct freshness *freshness, struct node_memory *memory, struct counting *counting,
                struct error *err)
{
    if (!memory->has_counter || memory->counter == counting->value) {
        const struct node_memory before = *memory;
        memory->has_counter = true;
        memory->counter = counting->value + 1;
        memory->counter_index = counting->index;
        memory->making_index = 0;
        if (node_memory_write(freshness->path, memory, err) < 0) {
            *memory = before;
            return -1;
        }
    }
    TRY(run(freshness, counting, step_counter, err));
    freshness->stepped_ms = clock_monotonic_ms();
    return 0;
}

static void refute(const struct freshness *freshness, struct node_memory *memory, const char *flaw,
                   struct verdict *verdict)
{
    struct error err;
    verdict_set(verdict, CLAIM_DATA_FRESH, CLAIM_REFUTED, VERDICT_DATA_ROLLED_BACK,
                "%.120s. " WAY_OUT, flaw, freshness->index);
    if (memory->rolled_back) {
        return;
    }
    memory->rolled_back = memory_copy_text(flaw);
    if (node_memory_write(freshness->path, memory, &err) < 0) {
        log_error("node: %s", err.text);
    }
}

static void judge_value(struct freshness *freshness, struct node_memory *memory,
                        struct counting *counting, struct verdict *verdict)
{
    struct error err;
    uint64_t age_ms = clock_monotonic_ms() - freshness->stepped_ms;
    bool is_due = freshness->stepped_ms == 0 || age_ms >= step_every_ms;
    _cleanup_(free_cleanup) char *flaw = find_flaw(memory, counting);
    if (flaw) {
        refute(freshness, memory, flaw, verdict);
        return;
    }
    if (is_due && step(freshness, memory, counting, &err) < 0) {
        /* The folder is the newest all the same; it is tried again with the next attestation. */
        log_warning("node: the counter that guards the data folder did not go up: %s", err.text);
    }
    verdict_set(verdict, CLAIM_DATA_FRESH, CLAIM_PROVEN, VERDICT_NONE,
                "node.json is the newest by the TPM's counter 0x%08x, at %" PRIu64
                ": the data folder as a whole is no older copy",
                freshness->index, counting->value);
}

void freshness_judge(struct freshness *freshness, struct node_memory *memory,
                     struct verdict *verdict)
{
    struct counting counting = {.index = freshness->index};
    struct error err;
    if (freshness->index == 0) {
        return;
    }
    verdict->required |= 1U << CLAIM_DATA_FRESH;
    if (prepare(freshness, memory, &counting, &err) == 0) {
        judge_value(freshness, memory, &counting, verdict);
        return;
    }
    bool is_away = err.code == ERROR_UNAVAILABLE || err.code == ERROR_CANCELLED;
    verdict_set(verdict, CLAIM_DATA_FRESH, CLAIM_NOT_PROVEN,
                is_away ? VERDICT_TPM_UNREACHABLE : VERDICT_MISSING, "%.300s%s", err.text,
                is_away ? "" : "; another NV index, or none, is set by counter = in node { }");
}
