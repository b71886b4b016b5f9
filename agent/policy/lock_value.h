/* One lock by itself: its words, what is a valid one. Every thread but for lock_locate. */
#pragma once

#include "agent/policy/lock.h"

enum { LOCK_ID_BYTES = 16, LOCK_BY_MAX_BYTES = 128, LOCK_PID_MAX = 1 << 22 };

/* What an operator says: what, reason, by. InvalidArgument. */
int lock_check(const struct lock *lock, struct error *err);
/* Pins a pid to the process that has it now: start time and boot. NotFound. Loop thread. */
int lock_locate(struct lock *lock, struct error *err);
/* Of this boot; the caller frees it. */
int lock_read_boot_id(char **ret_boot_id, struct error *err);
void lock_copy(struct lock *to, const struct lock *from);
/* Frees what it holds. Also for _cleanup_. */
void lock_clear(struct lock *lock);
