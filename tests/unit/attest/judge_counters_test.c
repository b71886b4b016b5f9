/* What is remembered of a TPM against what it quotes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/attest/judge_scene.h"

static void memory_of_b(struct scene *scene)
{
    scene_set_memory(scene, &scene->b);
}

static void memory_reset(struct scene *scene)
{
    scene->memory.clock.resetCount--;
}

static void memory_restart(struct scene *scene)
{
    scene->memory.clock.restartCount--;
}

static void memory_reset_later(struct scene *scene)
{
    scene->memory.clock.resetCount++;
}

static void memory_restart_later(struct scene *scene)
{
    scene->memory.clock.restartCount++;
}

static void memory_clock_later(struct scene *scene)
{
    scene->memory.clock.clock = scene->a.clock.clock + 1;
}

static void memory_clock_later_unsafe(struct scene *scene)
{
    memory_clock_later(scene);
    scene->a.clock.safe = 0;
    scene_make(scene, &scene->a, &scene->evidence);
}

static void memory_clock_later_after_reset(struct scene *scene)
{
    memory_clock_later(scene);
    scene->memory.clock.resetCount--;
    scene->memory.is_same_boot = false;
}

static void memory_other_ak(struct scene *scene)
{
    (void)public_name(&scene->b.ak_public, &scene->memory.ak_name, NULL);
}

static const struct lie lies[] = {
    LIE(memory_of_b, COUNTERS, TPM_REPLACED),
    LIE(memory_reset, COUNTERS, TPM_RESET),
    LIE(memory_restart, COUNTERS, TPM_RESET),
    LIE(memory_reset_later, COUNTERS, CLOCK_BACK),
    LIE(memory_restart_later, COUNTERS, CLOCK_BACK),
    LIE(memory_clock_later, COUNTERS, CLOCK_BACK),
    LIE(memory_clock_later_unsafe, COUNTERS, CLOCK_BACK),
    LIE(memory_clock_later_after_reset, COUNTERS, CLOCK_BACK),
    LIE(memory_other_ak, COUNTERS, AK_LOST),
};

static void test_lies(void **state)
{
    (void)state;
    scene_check_lies(lies, ARRAY_SIZE(lies));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lies)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
