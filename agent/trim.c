#include "agent/trim.h"

#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/base/macro.h"

enum { FIRST_LOOK_MS = 20, LAST_PERIOD_MS = 10000, QUIET_FAULTS = 32 };

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

static void give_back(void)
{
    (void)malloc_trim(0);
    (void)dl_iterate_phdr(drop_unused_code, NULL);
}

static long page_faults(void)
{
    struct rusage usage = {0};
    (void)getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt;
}

/* Page faults tell how busy the process was and how much it has taken since. */
static void look(uv_timer_t *timer)
{
    struct trimmer *trimmer = timer->data;
    long faults = page_faults();
    bool is_quiet = faults - trimmer->faults_at_look < QUIET_FAULTS;
    bool has_taken = faults - trimmer->faults_at_trim >= QUIET_FAULTS;
    if (is_quiet && has_taken) {
        give_back();
        faults = page_faults();
        trimmer->faults_at_trim = faults;
    }
    trimmer->faults_at_look = faults;
    uint64_t period_ms = MIN(2 * uv_timer_get_repeat(timer), LAST_PERIOD_MS);
    uv_timer_set_repeat(timer, period_ms);
}

void trimmer_start(struct trimmer *trimmer, uv_loop_t *loop)
{
    give_back();
    (void)uv_timer_init(loop, &trimmer->timer);
    trimmer->timer.data = trimmer;
    trimmer->faults_at_look = page_faults();
    trimmer->is_open = true;
    (void)uv_timer_start(&trimmer->timer, look, FIRST_LOOK_MS, FIRST_LOOK_MS);
}

void trimmer_stop(struct trimmer *trimmer)
{
    if (trimmer->is_open) {
        trimmer->is_open = false;
        uv_close((uv_handle_t *)&trimmer->timer, NULL);
    }
}
