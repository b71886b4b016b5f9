/* The file that keeps locks. Every thread. */
#pragma once

#include "agent/policy/lock_value.h"

/* {"version": 1, "locks": [{"id", "kind", "what", "reason", "by", "created_at", "ends_at", of a pid
 * also "start_time", "boot_id"}]}: nothing else, each member there, of its type, once. */
enum { LOCK_FILE_VERSION = 1, LOCK_FILE_MAX_BYTES = 64 << 20 };

/* All zero is empty. */
struct lock_list {
    struct lock *items;
    size_t count;
};
/* Also for _cleanup_. */
void lock_list_clear(struct lock_list *list);

/* A damaged text is DataLoss and says where. */
int lock_list_parse(struct bytes text, struct lock_list *ret_list, struct error *err);
/* NotFound: no such file. */
int lock_file_read(const char *path, struct lock_list *ret_list, struct error *err);
/* Durable at the return. Blocks. */
int lock_file_write(const char *path, const struct lock *const *locks, size_t count,
                    struct error *err);
