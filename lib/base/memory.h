/* Memory whose size the program itself bounds. These never return NULL: when the system has no
 * memory left for a bounded request, the process says so and aborts. Sizes that come from outside
 * are bounded before they come here. */
#pragma once

#include <stdlib.h>

#include "lib/base/macro.h"

/* size_bytes of zeroed memory. */
void *memory_new(size_t size_bytes) __attribute__((malloc, returns_nonnull));
/* count zeroed items; an overflow aborts. */
void *memory_new_array(size_t count, size_t item_bytes) __attribute__((malloc, returns_nonnull));
/* As realloc for count items; what is new is not zeroed. */
void *memory_resize_array(void *memory, size_t count, size_t item_bytes);
/* A copy of text; NULL for NULL. */
char *memory_copy_text(const char *text);

/* A zeroed struct: struct peer *peer = NEW(struct peer). */
#define NEW(type) ((type *)memory_new(sizeof(type)))

/* For _cleanup_(free_cleanup) on any pointer that free() takes. */
static inline void free_cleanup(void *pointer)
{
    free(*(void **)pointer);
}
