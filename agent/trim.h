/* Gives memory back to the system whenever the agent has become quiet: most of what starting, and
 * each burst of work, takes is not needed for waiting. Loop thread. */
#pragma once

#include <stdbool.h>
#include <uv.h>

struct trimmer {
    uv_timer_t timer;
    bool is_open;
    long faults_at_look, faults_at_trim;
};

void trimmer_start(struct trimmer *trimmer, uv_loop_t *loop);
/* Also where it was not started. The struct stays until the loop has run on. */
void trimmer_stop(struct trimmer *trimmer);
