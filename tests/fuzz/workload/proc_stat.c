/* The text of /proc/PID/stat. */
#include "tests/fuzz/fuzz.h"

#include "agent/workload/proc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err;
    uint64_t ticks;
    (void)proc_parse_start_time((struct bytes){data, size}, &ticks, &err);
    return 0;
}
