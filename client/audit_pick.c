#include "client/audit_pick.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/memory.h"

enum { TEXT_MAX = 2304 };

/* What concerns more than one identity, if it names none. */
static const char *const host_actions[] = {
    "locked",        "unlocked", "rules-changed", "node-attested", "node-not-attested",
    "keystore-lost", "started",  "keystore-back", "stopped",       "audit-log",
};

/* Of these the process is who administers, and ties nothing. They are done to identities. */
static const char *const admin_actions[] = {
    "locked", "unlocked", "entry-set", "entry-removed", "rules-changed",
};

static bool is_text(struct bytes value, const char *text)
{
    return text && bytes_is_equal(value, bytes_of_text(text));
}

static bool is_among(struct bytes value, const char *const *texts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (is_text(value, texts[i])) {
            return true;
        }
    }
    return false;
}

static bool is_admin(struct bytes body)
{
    return is_among(audit_member(body, "event.action"), admin_actions, ARRAY_SIZE(admin_actions));
}

/* A copy that ends in NUL; empty where it is too long. */
static void copy_value(struct bytes value, char ret_text[TEXT_MAX])
{
    (void)snprintf(ret_text, TEXT_MAX, "%.*s", value.size < TEXT_MAX ? (int)value.size : 0,
                   value.data ? (const char *)value.data : "");
}

static void process_of(struct bytes body, char ret_text[TEXT_MAX])
{
    struct bytes pid = audit_member(body, "process.pid");
    struct bytes start = audit_member(body, "signet.process.start_time");
    ret_text[0] = '\0';
    if (pid.size > 0 && pid.size < 32 && start.size < 32) {
        (void)snprintf(ret_text, TEXT_MAX, "%.*s:%.*s", (int)pid.size, pid.data, (int)start.size,
                       start.data ? (const char *)start.data : "");
    }
}

/* The identity that a record names is that one, or a lock's pattern that covers it. */
static bool is_covered(const char *named, const char *id)
{
    size_t size = strlen(named);
    return size > 0 && (strcmp(named, id) == 0 ||
                        (named[size - 1] == '*' && strncmp(named, id, size - 1) == 0));
}

static bool is_identity(const char *pattern, struct bytes body)
{
    char named[TEXT_MAX];
    copy_value(audit_member(body, "signet.spiffe_id"), named);
    return named[0] && (fnmatch(pattern, named, 0) == 0 || is_covered(named, pattern));
}

static bool is_pid(uint64_t pid, struct bytes body)
{
    char text[32];
    char lock[64];
    (void)snprintf(text, sizeof(text), "%" PRIu64, pid);
    (void)snprintf(lock, sizeof(lock), "lock of pid %" PRIu64, pid);
    return is_text(audit_member(body, "process.pid"), text) ||
           is_text(audit_member(body, "signet.detail"), lock);
}

static bool is_serial(const char *serial, struct bytes body)
{
    return is_text(audit_member(body, "x509.serial_number"), serial) ||
           is_text(audit_member(body, "signet.credential.jti"), serial);
}

/* All that is asked for is true of it. */
static bool is_meant(const struct audit_pick *pick, struct bytes body)
{
    return (!pick->pattern || is_identity(pick->pattern, body)) &&
           (pick->pid == 0 || is_pid(pick->pid, body)) &&
           (!pick->serial || is_serial(pick->serial, body));
}

static bool is_tied(const struct audit_pick *pick, struct bytes body)
{
    char text[TEXT_MAX];
    if (pick->keys.count > 0) {
        copy_value(audit_member(body, "signet.key.id"), text);
        if (text[0] && text_list_has_sorted(&pick->keys, text)) {
            return true;
        }
    }
    if (pick->processes.count > 0) {
        process_of(body, text);
        return text[0] && text_list_has_sorted(&pick->processes, text);
    }
    return false;
}

bool audit_pick_is_narrow(const struct audit_pick *pick)
{
    return pick->pattern || pick->pid > 0 || pick->serial;
}

/* One reading. */
struct round {
    struct audit_pick *pick;
    bool looks_for_ties;
    struct text_list processes, keys, identities;
};

static void add_tie(struct text_list *list, const char *text)
{
    if (!text[0] || (list->count > 0 && strcmp(list->items[list->count - 1], text) == 0)) {
        return;
    }
    if (list->count == AUDIT_PICK_TIES_MAX) {
        text_list_sort_unique(list);
    }
    if (list->count < AUDIT_PICK_TIES_MAX) {
        text_list_add(list, text);
    }
}

static void collect_time(struct audit_pick *pick, const char *time)
{
    if (time[0]) {
        (void)snprintf(pick->last, sizeof(pick->last), "%s", time);
        if (!pick->first[0]) {
            (void)snprintf(pick->first, sizeof(pick->first), "%s", time);
        }
    }
}

static void collect(void *user, const struct audit_record_text *record)
{
    struct round *round = user;
    char text[TEXT_MAX];
    if (!is_meant(round->pick, record->body) && !is_tied(round->pick, record->body)) {
        return;
    }
    collect_time(round->pick, record->time);
    if (round->looks_for_ties && !is_admin(record->body)) {
        process_of(record->body, text);
        add_tie(&round->processes, text);
        copy_value(audit_member(record->body, "signet.key.id"), text);
        add_tie(&round->keys, text);
        copy_value(audit_member(record->body, "signet.spiffe_id"), text);
        add_tie(&round->identities, text);
    }
}

static int read_round(struct audit_pick *pick, const char *path, const struct audit_range *range,
                      bool looks_for_ties, struct error *err)
{
    struct round round = {.pick = pick, .looks_for_ties = looks_for_ties};
    uint64_t skipped = 0;
    pick->first[0] = pick->last[0] = '\0';
    int result = audit_scan(path, range, collect, &round, &skipped, err);
    if (looks_for_ties) {
        audit_pick_clear(pick);
        text_list_sort_unique(&round.processes);
        text_list_sort_unique(&round.keys);
        text_list_sort_unique(&round.identities);
        pick->processes = round.processes;
        pick->keys = round.keys;
        pick->identities = round.identities;
    }
    return result;
}

int audit_pick_prepare(struct audit_pick *pick, const char *path, const struct audit_range *range,
                       struct error *err)
{
    /* From a process to its keys, and who else used them. From a credential to its key and its
     * processes, and what those did. Of an identity all that belongs to it names it. */
    int rounds = pick->serial ? 2 : pick->pid > 0 ? 1 : 0;
    if (!audit_pick_is_narrow(pick)) {
        return 0;
    }
    for (int i = 0; i < rounds; i++) {
        TRY(read_round(pick, path, range, true, err));
    }
    return read_round(pick, path, range, false, err);
}

static bool is_of_host(const struct audit_pick *pick, const struct audit_record_text *record,
                       struct bytes action)
{
    bool is_then = strcmp(record->time, pick->first) >= 0 && strcmp(record->time, pick->last) <= 0;
    return is_then && audit_member(record->body, "signet.spiffe_id").size == 0 &&
           is_among(action, host_actions, ARRAY_SIZE(host_actions));
}

/* A lock that covers an identity of the story, its entry, and the like. */
static bool is_done_to(const struct audit_pick *pick, struct bytes body)
{
    char named[TEXT_MAX];
    if (pick->identities.count == 0 || !is_admin(body)) {
        return false;
    }
    copy_value(audit_member(body, "signet.spiffe_id"), named);
    for (size_t i = 0; i < pick->identities.count; i++) {
        if (is_covered(named, pick->identities.items[i])) {
            return true;
        }
    }
    return false;
}

bool audit_pick_has(const struct audit_pick *pick, const struct audit_record_text *record)
{
    struct bytes action = audit_member(record->body, "event.action");
    if (is_text(action, "audit-head")) {
        return false;
    }
    return !audit_pick_is_narrow(pick) || is_meant(pick, record->body) ||
           is_tied(pick, record->body) || is_done_to(pick, record->body) ||
           is_of_host(pick, record, action);
}

void audit_pick_clear(struct audit_pick *pick)
{
    text_list_clear(&pick->processes);
    text_list_clear(&pick->keys);
    text_list_clear(&pick->identities);
}
