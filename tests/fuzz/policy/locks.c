/* The file of locks: what is accepted is whole, and reads back as the same. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "agent/policy/lock_file.h"
#include "lib/base/memory.h"

static void check(const struct lock *lock)
{
    struct error error;
    bool is_pid = lock->kind == LOCK_PID;
    if (lock_check(lock, &error) < 0 || strlen(lock->id) != LOCK_ID_BYTES ||
        is_pid != (lock->boot_id != NULL) || lock->created_at_s < 0 || lock->ends_at_s < 0 ||
        (!is_pid && lock->start_time != 0)) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(lock_list_clear) struct lock_list list = {0};
    struct error error = {0};
    if (lock_list_parse((struct bytes){data, size}, &list, &error) < 0) {
        if (error.code != ERROR_DATA_LOSS || !error.text[0] || list.items) {
            abort();
        }
        return 0;
    }
    for (size_t i = 0; i < list.count; i++) {
        check(&list.items[i]);
    }
    return 0;
}
