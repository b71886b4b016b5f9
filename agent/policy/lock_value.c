#include "agent/policy/lock_value.h"

#include <string.h>

#include "agent/spiffe_id.h"
#include "agent/workload/peer.h"
#include "lib/base/memory.h"

static int check_pattern(const char *what, struct error *err)
{
    return spiffe_pattern_check(what, err);
}

static int parse_pid(const char *what, pid_t *ret_pid, struct error *err)
{
    uint64_t pid = 0;
    /* One way to write it only: it is looked for by its text. */
    if (what[0] == '0' || text_parse_u64(what, 1, LOCK_PID_MAX, &pid, NULL) < 0) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "a pid is a number from 1 to %d, not \"%.32s\"", LOCK_PID_MAX, what);
    }
    *ret_pid = (pid_t)pid;
    return 0;
}

static int check_pid(const char *what, struct error *err)
{
    pid_t pid;
    return parse_pid(what, &pid, err);
}

static int check_executable(const char *what, struct error *err)
{
    static const char prefix[] = "sha256:";
    enum { PREFIX_BYTES = sizeof(prefix) - 1, HEX_DIGITS = 64 };
    if (strncmp(what, prefix, PREFIX_BYTES) != 0 ||
        strspn(what + PREFIX_BYTES, "0123456789abcdef") != HEX_DIGITS ||
        what[PREFIX_BYTES + HEX_DIGITS] != '\0') {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "an executable is given as \"sha256:\" and 64 hexadecimal digits in lower "
                         "case, not as \"%.96s\"",
                         what);
    }
    return 0;
}

static int check_node(const char *what, struct error *err)
{
    return what[0] == '\0'
               ? 0
               : error_set(err, ERROR_INVALID_ARGUMENT,
                           "a lock of the node is of nothing else; leave out \"%.96s\"", what);
}

static const struct {
    const char *name;
    int (*check)(const char *what, struct error *err);
} kinds[] = {
    [LOCK_SPIFFE_ID] = {"spiffe_id", check_pattern},
    [LOCK_PID] = {"pid", check_pid},
    [LOCK_EXECUTABLE] = {"executable", check_executable},
    [LOCK_NODE] = {"node", check_node},
};

const char *lock_kind_name(enum lock_kind kind)
{
    return kinds[kind].name;
}

int lock_kind_parse(const char *text, enum lock_kind *ret_kind, struct error *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (strcmp(text, kinds[i].name) == 0) {
            *ret_kind = (enum lock_kind)i;
            return 0;
        }
    }
    return error_set(err, ERROR_INVALID_ARGUMENT,
                     "a lock is of a spiffe_id, a pid, an executable or the node, not of \"%.32s\"",
                     text);
}

/* Text that goes into logs and onto terminals as it is. */
static int check_text(const char *name, const char *text, size_t bytes_max, struct error *err)
{
    size_t size = strnlen(text, bytes_max + 1);
    if (text[strspn(text, " ")] == '\0') {
        return error_set(err, ERROR_INVALID_ARGUMENT, "a lock needs a %s", name);
    }
    if (size > bytes_max) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "the %s is longer than %zu bytes", name,
                         bytes_max);
    }
    _cleanup_(free_cleanup) char *printable = memory_copy_text(text);
    text_make_printable(printable);
    if (strcmp(printable, text) != 0) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "the %s has control characters or is not UTF-8: \"%s\"", name, printable);
    }
    return 0;
}

int lock_check(const struct lock *lock, struct error *err)
{
    TRY(kinds[lock->kind].check(lock->what, err));
    TRY(check_text("reason", lock->reason, LOCK_REASON_MAX_BYTES, err));
    return check_text("name of who made it", lock->by, LOCK_BY_MAX_BYTES, err);
}

int lock_read_boot_id(char **ret_boot_id, struct error *err)
{
    enum { BOOT_ID_MAX_BYTES = 64 };
    _cleanup_(buffer_clear) struct buffer text = {0};
    TRY(buffer_read_file("/proc/sys/kernel/random/boot_id", BOOT_ID_MAX_BYTES, &text, err));
    buffer_append_u8(&text, 0);
    *ret_boot_id =
        text_format("%.*s", (int)strcspn((const char *)text.data, "\n"), (const char *)text.data);
    return 0;
}

int lock_locate(struct lock *lock, struct error *err)
{
    pid_t pid = 0;
    struct peer *peer = NULL;
    if (lock->kind != LOCK_PID) {
        return 0;
    }
    TRY(parse_pid(lock->what, &pid, err));
    TRY(peer_of_pid(pid, &peer, err));
    lock->start_time = peer->start_time;
    peer_unref(peer);
    return lock_read_boot_id(&lock->boot_id, err);
}

void lock_copy(struct lock *to, const struct lock *from)
{
    *to = *from;
    to->id = memory_copy_text(from->id);
    to->what = memory_copy_text(from->what);
    to->boot_id = memory_copy_text(from->boot_id);
    to->reason = memory_copy_text(from->reason);
    to->by = memory_copy_text(from->by);
}

void lock_clear(struct lock *lock)
{
    free(lock->id);
    free(lock->what);
    free(lock->boot_id);
    free(lock->reason);
    free(lock->by);
    *lock = (struct lock){0};
}
