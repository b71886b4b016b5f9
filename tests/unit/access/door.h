/* The front door before a manager with a fake issuer, and who comes to it. Each test program of
 * this folder includes it once. */
#pragma once

#include "tests/unit/svid/fixture.h"

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/access/access.h"
#include "lib/base/file.h"
#include "tests/unit/child_begin.h"

/* The front door before a manager with a fake issuer; whoever comes is this process, or a child. */
struct door {
    struct fixture *fixture;
    struct accounts accounts;
    struct attestor *attestor;
    struct policy *policy;
    struct audit *audit; /* NULL: no records */
    struct access *access;
    char folder[32];
    bool is_stopped, is_audit_stopped;
};

/* A connection, and what was told about it. */
struct guest {
    struct door *door;
    int sockets[2];
    struct caller *caller;
    struct access_watch *watch;
    unsigned offers, failures;
    char ids[256]; /* of the last set */
    struct error denied, failure;
    bool is_over, must_end;
    struct token_guard *guard;
    uint64_t tag; /* of the first identity */
};

static inline void nobody_waits(void *user)
{
    (void)user;
}

static inline struct rules *rules_of(struct rule rule)
{
    struct rules *rules = NEW(struct rules);
    rules->items = memory_new_array(1, sizeof(rule));
    rule.pattern = memory_copy_text("*");
    rules->items[0] = rule;
    rules->count = 1;
    return rules;
}

static inline int door_open(void **state, bool has_audit)
{
    struct error err;
    struct door *door = NEW(struct door);
    void *fixture = NULL;
    assert_int_equal(fixture_setup(&fixture), 0);
    door->fixture = fixture;
    door->accounts = (struct accounts){
        .connections_per_uid = 100, .descriptor_limit = 1000, .idle = nobody_waits};
    (void)snprintf(door->folder, sizeof(door->folder), "/tmp/access-XXXXXX");
    assert_non_null(mkdtemp(door->folder));
    const struct attestor_config attestor = {0};
    assert_int_equal(attestor_new(&door->fixture->loop, &attestor, &door->attestor, &err), 0);
    assert_int_equal(policy_new(door->folder, NEW(struct rules), &door->policy, &err), 0);
    if (has_audit) {
        _cleanup_(free_cleanup) char *folder = file_join(door->folder, "audit");
        const struct audit_config audit = {.log = {.folder = folder, .file_max_bytes = 1 << 20}};
        assert_int_equal(audit_new(&door->fixture->loop, &audit, &door->audit, &err), 0);
    }
    const struct access_config config = {
        .trust_domain = "example.org",
        .manager = door->fixture->manager,
        .attestor = door->attestor,
        .policy = door->policy,
        .audit = door->audit,
        .recheck_interval_s = 1,
    };
    assert_int_equal(access_new(&door->fixture->loop, &config, &door->access, &err), 0);
    _cleanup_(free_cleanup) char *selector = text_format("unix:uid:%u", getuid());
    fixture_add(door->fixture, "a", "a", selector);
    *state = door;
    return 0;
}

static inline int door_setup(void **state)
{
    return door_open(state, false);
}

static inline int door_setup_recorded(void **state)
{
    return door_open(state, true);
}

static inline void audit_stopped(void *user)
{
    ((struct door *)user)->is_audit_stopped = true;
}

static inline void door_stopped(void *user)
{
    ((struct door *)user)->is_stopped = true;
}

static inline int door_teardown(void **state)
{
    struct door *door = *state;
    void *fixture = door->fixture;
    access_stop(door->access, door_stopped, door);
    FIXTURE_WAIT(door->fixture, door->is_stopped);
    if (door->audit) {
        audit_stop(door->audit, audit_stopped, door);
        FIXTURE_WAIT(door->fixture, door->is_audit_stopped);
    }
    assert_int_equal(fixture_teardown(&fixture), 0);
    attestor_free(door->attestor);
    policy_free(door->policy);
    _cleanup_(free_cleanup) char *command = text_format("rm -r %s", door->folder);
    assert_int_equal(system(command), 0);
    free(door);
    return 0;
}

static inline void remember_set(struct guest *guest, const struct identity_set *set)
{
    guest->ids[0] = '\0';
    for (size_t i = 0; i < set->count; i++) {
        size_t size = strlen(guest->ids);
        (void)snprintf(guest->ids + size, sizeof(guest->ids) - size, "%s%s", size ? " " : "",
                       set->svids[i]->entry->spiffe_id + strlen("spiffe://example.org/"));
    }
    if (set->count > 0) {
        guest->tag = access_tag(set->svids[0]);
    }
}

static inline void offered(void *user, const struct access_offer *offer)
{
    struct guest *guest = user;
    guest->denied = offer->denied ? *offer->denied : (struct error){0};
    guest->is_over = offer->is_over;
    if (guest->guard) {
        token_guard_unref(take_ptr(guest->guard));
    }
    if (offer->failure) {
        guest->failures++;
        guest->failure = *offer->failure;
    } else {
        guest->offers++;
        remember_set(guest, offer->set);
        guest->guard = offer->guard ? token_guard_ref(offer->guard) : NULL;
    }
    if (guest->must_end) {
        access_watch_free(take_ptr(guest->watch));
    }
}

/* connected: the end of a socket whose other end somebody else made; -1: this process. */
static inline void guest_open(struct door *door, struct guest *guest, enum access_purpose purpose,
                              int connected)
{
    struct error err;
    *guest = (struct guest){.door = door, .sockets = {connected, -1}};
    if (connected < 0) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, guest->sockets), 0);
    }
    assert_int_equal(caller_open(&door->accounts, guest->sockets[0], &guest->caller, &err), 0);
    assert_int_equal(access_watch_new(door->access, guest->caller, purpose, "Test", NULL, offered,
                                      guest, &guest->watch, &err),
                     0);
}

static inline void guest_close(struct guest *guest)
{
    access_watch_free(take_ptr(guest->watch));
    if (guest->guard) {
        token_guard_unref(take_ptr(guest->guard));
    }
    caller_close(&guest->door->accounts, guest->caller);
    file_close_cleanup(&guest->sockets[0]);
    file_close_cleanup(&guest->sockets[1]);
}

static inline CK_RV use(struct guest *guest)
{
    bool is_late = false;
    CK_RV rv = guest->guard->operations->admit(guest->guard, guest->tag, NULL, &is_late);
    assert_false(is_late);
    if (rv == CKR_OK) {
        guest->guard->operations->used(guest->guard, guest->tag, CKR_OK);
    }
    return rv;
}

static inline void set_rule(struct door *door, struct rule rule)
{
    policy_set_rules(door->policy, rules_of(rule));
    access_policy_changed(door->access, NULL);
}

static inline const struct lock *set_lock(struct door *door, enum lock_kind kind, const char *what)
{
    struct error err;
    const struct lock *lock = NULL;
    const struct lock wanted = {
        .kind = kind, .what = (char *)what, .reason = (char *)"ticket 1", .by = (char *)"test"};
    int result = locks_add(policy_locks(door->policy), &wanted, &lock, &err);
    assert_int_equal(result, 0);
    return lock;
}

static inline void ignore_lock(void *user, const struct lock *lock)
{
    (void)user;
    (void)lock;
}

/* A child that connects, and becomes another program when it is told so. */
struct child {
    pid_t pid;
    int connection, go;
};

static inline struct child child_start(void)
{
    int ready[2];
    int go[2];
    struct child child;
    (void)socketpair(AF_UNIX, SOCK_STREAM, 0, ready);
    (void)socketpair(AF_UNIX, SOCK_STREAM, 0, go);
    child.pid = fork();
    if (child.pid == 0) {
        /* Its own socket pair, of which this process gets an end. */
        int own[2];
        char byte = 0;
        child_begin();
        (void)close(go[0]);
        (void)socketpair(AF_UNIX, SOCK_STREAM, 0, own);
        struct iovec data = {&byte, 1};
        union {
            char space[CMSG_SPACE(sizeof(int))];
            struct cmsghdr align;
        } control = {0};
        struct msghdr message = {.msg_iov = &data,
                                 .msg_iovlen = 1,
                                 .msg_control = control.space,
                                 .msg_controllen = sizeof(control.space)};
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &own[0], sizeof(int));
        (void)sendmsg(ready[1], &message, 0);
        if (read(go[1], &byte, 1) != 1) {
            _exit(1);
        }
        (void)execl("/bin/sleep", "sleep", "60", (char *)NULL);
        _exit(1);
    }
    char byte;
    struct iovec data = {&byte, 1};
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = control.space,
                             .msg_controllen = sizeof(control.space)};
    assert_int_equal(recvmsg(ready[0], &message, 0), 1);
    memcpy(&child.connection, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
    child.go = go[0];
    (void)close(go[1]);
    (void)close(ready[0]);
    (void)close(ready[1]);
    return child;
}

static inline void child_end(struct child *child)
{
    (void)kill(child->pid, SIGKILL);
    (void)waitpid(child->pid, NULL, 0);
    (void)close(child->go);
}

static inline bool is_sleep(pid_t pid)
{
    char name[64];
    char target[256] = "";
    (void)snprintf(name, sizeof(name), "/proc/%d/exe", pid);
    return readlink(name, target, sizeof(target) - 1) > 0 && strstr(target, "sleep") != NULL;
}

static inline void child_become_sleep(const struct child *child)
{
    uint64_t end_ms = clock_monotonic_ms() + FIXTURE_PATIENCE_MS;
    assert_int_equal(write(child->go, "x", 1), 1);
    while (!is_sleep(child->pid)) {
        assert_true(clock_monotonic_ms() < end_ms);
        (void)usleep(1000);
    }
}

#define DOOR_TEST(test) cmocka_unit_test_setup_teardown(test, door_setup, door_teardown)
#define RECORDED_DOOR_TEST(test)                                                                   \
    cmocka_unit_test_setup_teardown(test, door_setup_recorded, door_teardown)
