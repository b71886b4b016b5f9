#include "agent/process.h"

#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum {
    ARENAS = 1,
    /* Blocks above this get pages of their own, which go back when freed. */
    OWN_PAGES_BYTES = 64 << 10,
    TRIM_BYTES = 64 << 10,
};

static size_t raise_descriptor_limit(void)
{
    struct rlimit limit = {.rlim_cur = 1024};
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        rlim_t before = limit.rlim_cur;
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0) {
            limit.rlim_cur = before;
        }
    }
    return (size_t)limit.rlim_cur;
}

void process_prepare(size_t *ret_descriptor_limit)
{
    (void)umask(0077);
    (void)signal(SIGPIPE, SIG_IGN);
    /* Until there is something that could be reloaded. */
    (void)signal(SIGHUP, SIG_IGN);
    /* libuv's threads do nothing but hash executables. */
    (void)setenv("UV_THREADPOOL_SIZE", "2", 0);
    /* tpm2-tss would print what the driver tries, handles and tells itself. */
    (void)setenv("TSS2_LOG", "all+NONE", 0);
    (void)mallopt(M_ARENA_MAX, ARENAS);
    (void)mallopt(M_MMAP_THRESHOLD, OWN_PAGES_BYTES);
    (void)mallopt(M_TRIM_THRESHOLD, TRIM_BYTES);
    *ret_descriptor_limit = raise_descriptor_limit();
}
