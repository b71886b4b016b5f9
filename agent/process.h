/* How the process is set up. */
#pragma once

#include <stddef.h>

/* Before any other thread starts: private umask, signals, as many descriptors as the system allows,
 * and few threads and allocator arenas, as memory counts. */
void process_prepare(size_t *ret_descriptor_limit);
