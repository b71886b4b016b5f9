/* Looks for a secret in the memory of this very process. */
#pragma once

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PROCESS_MEMORY_IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define PROCESS_MEMORY_IS_SANITIZED 1
#endif
#endif

/* The middle of a private number: also finds a copy that differs at an end, such as p - 1. Masked,
 * or it would find itself. */
enum { NEEDLE_BYTES = 16, NEEDLE_MASK = 0xa5 };
struct needle {
    uint8_t big_endian[NEEDLE_BYTES];
    uint8_t little_endian[NEEDLE_BYTES];
};

static inline struct needle needle_of(const volatile uint8_t *number, size_t size)
{
    struct needle needle;
    size_t middle = (size - NEEDLE_BYTES) / 2;
    for (size_t i = 0; i < NEEDLE_BYTES; i++) {
        uint8_t masked = number[middle + i] ^ NEEDLE_MASK;
        needle.big_endian[i] = masked;
        needle.little_endian[NEEDLE_BYTES - 1 - i] = masked;
    }
    return needle;
}

static inline bool is_needle_at(const uint8_t *at, const uint8_t *masked)
{
    for (size_t i = 0; i < NEEDLE_BYTES; i++) {
        if ((at[i] ^ NEEDLE_MASK) != masked[i]) {
            return false;
        }
    }
    return true;
}

static inline size_t count_needle(const uint8_t *data, size_t size, const struct needle *needle)
{
    size_t found = 0;
    for (size_t i = 0; i + NEEDLE_BYTES <= size; i++) {
        found += is_needle_at(data + i, needle->big_endian);
        found += is_needle_at(data + i, needle->little_endian);
    }
    return found;
}

/* How often the needle is in the readable memory of this process, in either byte order. */
static inline size_t process_memory_count(const struct needle *needle)
{
    size_t room = 1 << 20;
    uint8_t *window = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    size_t found = 0;
    if (window == MAP_FAILED || !maps) {
        abort();
    }
    while (fgets(line, sizeof(line), maps)) {
        char *rest = NULL;
        unsigned long first = strtoul(line, &rest, 16);
        unsigned long end = strtoul(rest + 1, &rest, 16);
        if (rest[0] != ' ' || rest[1] != 'r') {
            continue;
        }
        for (unsigned long at = first; at < end; at += room - NEEDLE_BYTES) {
            /* What was read is no find; the window itself is part of some mapping. */
            memset(window, 0, room);
            unsigned long window_at = (unsigned long)window;
            unsigned long last = end - at < room ? end : at + room;
            if (at < window_at + room && last > window_at) {
                continue;
            }
            struct iovec local = {window, last - at};
            /* NOLINTNEXTLINE(performance-no-int-to-ptr): addresses come as text */
            struct iovec remote = {(void *)at, last - at};
            ssize_t count = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
            found += count > 0 ? count_needle(window, (size_t)count, needle) : 0;
        }
    }
    (void)fclose(maps);
    (void)munmap(window, room);
    return found;
}
