/* uthash as this room uses it: a table that cannot grow ends the process, like all bounded memory;
 * and a short hash function, since it is expanded wherever a table is used. */
#pragma once

#include <stdlib.h>

#define uthash_fatal(message) abort()
#define HASH_FUNCTION(key, size, hash) HASH_OAT(key, size, hash)
#include <uthash.h>
