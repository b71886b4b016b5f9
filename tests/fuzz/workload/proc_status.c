/* The text of /proc/PID/status. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

#include "agent/workload/proc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err;
    _cleanup_(proc_credentials_clear) struct proc_credentials credentials = {0};
    if (proc_parse_status((struct bytes){data, size}, &credentials, &err) == 0 &&
        credentials.group_count > PROC_GROUPS_MAX) {
        abort();
    }
    return 0;
}
