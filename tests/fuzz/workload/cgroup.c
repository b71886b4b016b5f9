/* The text of /proc/PID/cgroup. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "agent/workload/cgroup.h"

/* What is found fits, and is safe to print. */
static void check(const char *name, size_t limit)
{
    if (strnlen(name, limit) == limit) {
        abort();
    }
    for (; *name; name++) {
        if (*name <= ' ' || *name > '~') {
            abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cgroup_names names;
    cgroup_parse((struct bytes){data, size}, &names);
    check(names.unit, sizeof(names.unit));
    check(names.container_id, sizeof(names.container_id));
    return 0;
}
