#include "agent/trim.h"

#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

/* Segments that are writable, also those protected after relocation, are left alone. */
static void drop_segment(const struct dl_phdr_info *object, const ElfW(Phdr) * segment)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = (object->dlpi_addr + segment->p_vaddr) & ~(page - 1);
    /* What is behind may share the last page. */
    uintptr_t end = (object->dlpi_addr + segment->p_vaddr + segment->p_memsz) & ~(page - 1);
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): the linker tells addresses as numbers. */
    (void)madvise((void *)begin, end - begin, MADV_DONTNEED);
}

/* user: how many objects are left. A module of somebody else's may change its own code, and comes
 * after those of the program. */
static int drop_code(struct dl_phdr_info *object, size_t size, void *user)
{
    size_t *left = user;
    (void)size;
    if ((*left)-- == 0) {
        return 1;
    }
    for (size_t i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        if (segment->p_type == PT_LOAD && !(segment->p_flags & PF_W)) {
            drop_segment(object, segment);
        }
    }
    return 0;
}

static int count_object(struct dl_phdr_info *object, size_t size, void *user)
{
    (void)object;
    (void)size;
    ++*(size_t *)user;
    return 0;
}

size_t trim_count_objects(void)
{
    size_t count = 0;
    (void)dl_iterate_phdr(count_object, &count);
    return count;
}

void trim_after_start(size_t objects)
{
    (void)malloc_trim(0);
    (void)dl_iterate_phdr(drop_code, &objects);
}
