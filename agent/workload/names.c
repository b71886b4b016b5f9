#include "agent/workload/names.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <uthash.h>

#include "lib/base/clock.h"
#include "lib/base/memory.h"

enum { KEPT_MS = 60000, FAILURE_KEPT_MS = 5000 };
/* More than one process can need: one user and PROC_GROUPS_MAX + 1 groups. */
enum { NAMES_MAX = 16384 };
/* The record of a group lists its members. */
enum { RECORD_MIN_BYTES = 1024, RECORD_MAX_BYTES = 1 << 20 };

struct name_key {
    uint32_t kind, number;
};

struct known_name {
    struct name_key key;
    char *name;
    uint64_t expires_at_ms;
    UT_hash_handle hh;
};

struct names {
    struct known_name *all; /* in the order of storing */
};

/* Both return 0 or an errno; the name is a copy, NULL where there is no such number. */
static int ask_user(uint32_t number, char *record, size_t size, char **ret_name)
{
    struct passwd user, *found = NULL;
    int result = getpwuid_r(number, &user, record, size, &found);
    *ret_name = result == 0 && found ? memory_copy_text(found->pw_name) : NULL;
    return result;
}

static int ask_group(uint32_t number, char *record, size_t size, char **ret_name)
{
    struct group group, *found = NULL;
    int result = getgrgid_r(number, &group, record, size, &found);
    *ret_name = result == 0 && found ? memory_copy_text(found->gr_name) : NULL;
    return result;
}

/* What name services answer, besides 0, for a number that nobody has (getpwnam_r(3)). */
static bool is_absence(int result)
{
    return result == ENOENT || result == ESRCH || result == EBADF || result == EPERM;
}

void name_ask(struct name_question *question)
{
    int (*ask)(uint32_t, char *, size_t, char **) =
        question->kind == NAME_KIND_USER ? ask_user : ask_group;
    int result = ERANGE;
    for (size_t size = RECORD_MIN_BYTES; result == ERANGE && size <= RECORD_MAX_BYTES; size *= 4) {
        _cleanup_(free_cleanup) char *record = memory_new_array(size, 1);
        result = ask(question->number, record, size, &question->name);
    }
    question->has_failed = result != 0 && !is_absence(result);
}

struct names *names_new(void)
{
    return NEW(struct names);
}

static void drop(struct names *names, struct known_name *known)
{
    HASH_DEL(names->all, known); /* NOLINT(clang-analyzer-*): uthash takes it out whole */
    free(known->name);
    free(known);
}

void names_free(struct names *names)
{
    struct known_name *known, *next;
    HASH_ITER (hh, names->all, known, next) {
        drop(names, known);
    }
    free(names);
}

static struct known_name *find(struct names *names, enum name_kind kind, uint32_t number)
{
    struct known_name *known;
    const struct name_key key = {kind, number};
    /* NOLINTNEXTLINE(clang-analyzer-*): all of the key is set, it has no padding */
    HASH_FIND(hh, names->all, &key, sizeof(key), known);
    return known;
}

static void add(struct names *names, struct known_name *known)
{
    HASH_ADD(hh, names->all, key, sizeof(known->key), known);
}

bool names_find(struct names *names, enum name_kind kind, uint32_t number, const char **ret_name)
{
    struct known_name *known = find(names, kind, number);
    if (!known || known->expires_at_ms <= clock_monotonic_ms()) {
        return false;
    }
    *ret_name = known->name;
    return true;
}

void names_store(struct names *names, struct name_question *question)
{
    struct known_name *old = find(names, question->kind, question->number);
    if (old) {
        drop(names, old);
    }
    if (HASH_COUNT(names->all) >= NAMES_MAX) {
        drop(names, names->all);
    }
    struct known_name *known = NEW(struct known_name);
    known->key = (struct name_key){question->kind, question->number};
    known->name = take_ptr(question->name);
    known->expires_at_ms =
        clock_monotonic_ms() + (question->has_failed ? FAILURE_KEPT_MS : KEPT_MS);
    add(names, known);
}
