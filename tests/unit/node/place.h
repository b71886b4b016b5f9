/* A TPM, its keystore, a data folder and a loop, for tests of a node. */
#pragma once

#include "tests/unit/pkcs11/tpm/swtpm.h"

#include <sys/stat.h>
#include <uv.h>

#include "agent/node/node.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "lib/base/secret.h"
#include "pkcs11/tpm/tpm.h"

enum { PLACE_WAIT_MS = 30000 };

struct place {
    struct swtpm swtpm;
    char data_dir[128], pin_path[160];
    struct tpm_config tpm;
    struct keystore *keystore;
    uv_loop_t loop;
    uv_timer_t deadline;
    bool is_late;
};

static inline void place_on_deadline(uv_timer_t *timer)
{
    ((struct place *)timer->data)->is_late = true;
}

/* Turns the loop until the condition holds. */
#define PLACE_UNTIL(place, condition)                                                              \
    do {                                                                                           \
        (place)->is_late = false;                                                                  \
        (void)uv_timer_start(&(place)->deadline, place_on_deadline, PLACE_WAIT_MS, 0);             \
        while (!(condition) && !(place)->is_late) {                                                \
            (void)uv_run(&(place)->loop, UV_RUN_ONCE);                                             \
        }                                                                                          \
        (void)uv_timer_stop(&(place)->deadline);                                                   \
        assert_true(condition);                                                                    \
    } while (0)

static inline void place_open_keystore(struct place *place)
{
    struct error err;
    const struct keystore_config config = {
        .name = "tpm", .driver = &keystore_driver_tpm, .driver_config = &place->tpm};
    place->tpm = (struct tpm_config){.tcti = place->swtpm.tcti, .pin_path = place->pin_path};
    if (keystore_new(&config, &place->keystore, &err) < 0) {
        fail_msg("%s", err.text);
    }
}

static inline int place_set_up(void **state)
{
    struct place *place = NEW(struct place);
    struct error err;
    (void)secret_init(&err);
    swtpm_new(&place->swtpm);
    (void)snprintf(place->data_dir, sizeof(place->data_dir), "%s/data", place->swtpm.folder);
    (void)snprintf(place->pin_path, sizeof(place->pin_path), "%s/pin", place->data_dir);
    assert_int_equal(mkdir(place->data_dir, 0700), 0);
    assert_int_equal(uv_loop_init(&place->loop), 0);
    (void)uv_timer_init(&place->loop, &place->deadline);
    place->deadline.data = place;
    place_open_keystore(place);
    *state = place;
    return 0;
}

static inline int place_tear_down(void **state)
{
    struct place *place = *state;
    keystore_free(place->keystore);
    uv_close((uv_handle_t *)&place->deadline, NULL);
    (void)uv_run(&place->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&place->loop), 0);
    swtpm_remove(&place->swtpm);
    free(place);
    return 0;
}

/* One of tpm2-tools with its arguments, with this TPM. */
static inline void place_tool(const struct place *place, const char *const arguments[])
{
    assert_int_equal(setenv("TPM2TOOLS_TCTI", place->swtpm.tcti, 1), 0);
    if (swtpm_run(arguments) != 0) {
        fail_msg("%s failed; is tpm2-tools installed?", arguments[0]);
    }
}

static inline void place_extend(const struct place *place, const char *what)
{
    const char *const arguments[] = {"tpm2_pcrextend", what, NULL};
    place_tool(place, arguments);
}
