#include "lib/base/memory.h"

#include <stdio.h>
#include <string.h>

static void *or_abort(void *memory, size_t size_bytes)
{
    if (!memory) {
        (void)fprintf(stderr, "out of memory: %zu bytes were refused by the system\n", size_bytes);
        abort();
    }
    return memory;
}

void *memory_new(size_t size_bytes)
{
    return or_abort(calloc(1, size_bytes ? size_bytes : 1), size_bytes);
}

void *memory_new_array(size_t count, size_t item_bytes)
{
    return or_abort(calloc(count ? count : 1, item_bytes ? item_bytes : 1), count);
}

void *memory_resize_array(void *memory, size_t count, size_t item_bytes)
{
    return or_abort(reallocarray(memory, count ? count : 1, item_bytes ? item_bytes : 1), count);
}

char *memory_copy_text(const char *text)
{
    return text ? or_abort(strdup(text), strlen(text)) : NULL;
}
