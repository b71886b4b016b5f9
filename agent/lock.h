/* One agent a folder. */
#pragma once

#include "lib/base/error.h"

/* Claims the folder for this process until it ends, by a lock on the file "lock" in it. what: what
 * the folder is used for, and key: the configuration key that names it; both for error texts.
 * AlreadyExists, naming the pid, where another agent holds it. ret_descriptor holds the lock and
 * stays open. */
int lock_folder(const char *folder, const char *what, const char *key, int *ret_descriptor,
                struct error *err);
