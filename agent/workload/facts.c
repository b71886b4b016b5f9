#include "agent/workload/facts.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/workload/cgroup.h"
#include "agent/workload/proc.h"
#include "lib/base/memory.h"

enum { MS_A_SECOND = 1000, NS_A_MS = 1000000 };

static int64_t milliseconds(clockid_t clock)
{
    struct timespec now;
    (void)clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * MS_A_SECOND + now.tv_nsec / NS_A_MS;
}

/* 0: no time at which a process can have started. */
static int64_t wall_ms_of_ticks(uint64_t ticks)
{
    uint64_t ticks_a_second = (uint64_t)sysconf(_SC_CLK_TCK);
    int64_t since_boot_ms = milliseconds(CLOCK_BOOTTIME);
    if (ticks / ticks_a_second > (uint64_t)since_boot_ms / MS_A_SECOND) {
        return 0;
    }
    return milliseconds(CLOCK_REALTIME) - since_boot_ms +
           (int64_t)(ticks * MS_A_SECOND / ticks_a_second);
}

static void read_program(int proc, struct process_facts *facts)
{
    struct proc_namespace home = {0};
    struct proc_program program;
    (void)proc_own_user_namespace(&home, NULL);
    proc_read_program(proc, &home, &program);
    facts->is_program_known = program.is_known;
    facts->program = program.file;
    facts->executable = program.path[0] ? memory_copy_text(program.path) : NULL;
}

static void read_cgroup(int proc, struct process_facts *facts)
{
    _cleanup_(buffer_clear) struct buffer text = {0};
    struct cgroup_names names;
    if (proc_read_cgroup(proc, &text, NULL) < 0) {
        return;
    }
    cgroup_parse(buffer_bytes(&text), &names);
    facts->unit = names.unit[0] ? memory_copy_text(names.unit) : NULL;
    facts->container_id = names.container_id[0] ? memory_copy_text(names.container_id) : NULL;
}

int peer_facts(const struct peer *peer, struct process_facts *ret_facts)
{
    _cleanup_(process_facts_clear) struct process_facts facts = {
        .started_at_ms = wall_ms_of_ticks(peer->start_time),
    };
    read_program(peer->proc, &facts);
    read_cgroup(peer->proc, &facts);
    if (!peer_is_alive(peer)) {
        return -1;
    }
    *ret_facts = facts;
    facts = (struct process_facts){0};
    return 0;
}

void process_facts_clear(struct process_facts *facts)
{
    free(facts->executable);
    free(facts->unit);
    free(facts->container_id);
    *facts = (struct process_facts){0};
}
