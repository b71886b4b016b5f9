/* Memory that only the start needed. */
#pragma once

#include <stddef.h>

/* How many objects (the program and its libraries) are loaded, before any module of somebody else's
 * is. Main thread. */
size_t trim_count_objects(void);

/* Gives back freed memory, and unmaps the pages of those objects that nobody can write: code that
 * only the start used is not resident any more, what is still used comes back from the page cache
 * with the next use. Once, after the start. */
void trim_after_start(size_t objects);
