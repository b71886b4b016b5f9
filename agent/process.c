#include "agent/process.h"

#include <link.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/macro.h"

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
    (void)mallopt(M_ARENA_MAX, ARENAS);
    (void)mallopt(M_MMAP_THRESHOLD, OWN_PAGES_BYTES);
    (void)mallopt(M_TRIM_THRESHOLD, TRIM_BYTES);
    *ret_descriptor_limit = raise_descriptor_limit();
}

/* Pages of a segment that nobody can write are those of the file: the kernel has them again at the
 * next use. Segments that are writable, also those protected after relocation, are left alone. */
static int drop_unused_code(struct dl_phdr_info *object, size_t size, void *user)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    (void)size;
    (void)user;
    for (size_t i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        if (segment->p_type == PT_LOAD && !(segment->p_flags & PF_W)) {
            uintptr_t begin = object->dlpi_addr + segment->p_vaddr;
            uintptr_t end = begin + segment->p_memsz;
            begin &= ~(page - 1);
            end &= ~(page - 1); /* what is behind may share the last page */
            (void)madvise((void *)begin, end - begin,
                          MADV_DONTNEED); /* NOLINT(performance-no-int-to-ptr) */
        }
    }
    return 0;
}

void process_trim_memory(void)
{
    (void)malloc_trim(0);
    (void)dl_iterate_phdr(drop_unused_code, NULL);
}
