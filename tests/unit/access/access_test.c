#include "tests/unit/svid/fixture.h"

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/access/access.h"
#include "lib/base/file.h"

/* The front door before a manager with a fake issuer; whoever comes is this process, or a child. */
struct door {
    struct fixture *fixture;
    struct accounts accounts;
    struct attestor *attestor;
    struct policy *policy;
    struct access *access;
    char folder[32];
    bool is_stopped;
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
    const void *tag; /* of the first identity */
};

static void nobody_waits(void *user)
{
    (void)user;
}

static struct rules *rules_of(struct rule rule)
{
    struct rules *rules = NEW(struct rules);
    rules->items = memory_new_array(1, sizeof(rule));
    rule.pattern = memory_copy_text("*");
    rules->items[0] = rule;
    rules->count = 1;
    return rules;
}

static int door_setup(void **state)
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
    const struct access_config config = {
        .trust_domain = "example.org",
        .manager = door->fixture->manager,
        .attestor = door->attestor,
        .policy = door->policy,
        .recheck_interval_s = 1,
    };
    assert_int_equal(access_new(&door->fixture->loop, &config, &door->access, &err), 0);
    _cleanup_(free_cleanup) char *selector = text_format("unix:uid:%u", getuid());
    fixture_add(door->fixture, "a", "a", selector);
    *state = door;
    return 0;
}

static void door_stopped(void *user)
{
    ((struct door *)user)->is_stopped = true;
}

static int door_teardown(void **state)
{
    struct door *door = *state;
    void *fixture = door->fixture;
    access_stop(door->access, door_stopped, door);
    FIXTURE_WAIT(door->fixture, door->is_stopped);
    assert_int_equal(fixture_teardown(&fixture), 0);
    attestor_free(door->attestor);
    policy_free(door->policy);
    _cleanup_(free_cleanup) char *locks = file_join(door->folder, "locks.json");
    (void)unlink(locks);
    assert_int_equal(rmdir(door->folder), 0);
    free(door);
    return 0;
}

static void remember_set(struct guest *guest, const struct identity_set *set)
{
    guest->ids[0] = '\0';
    for (size_t i = 0; i < set->count; i++) {
        size_t size = strlen(guest->ids);
        (void)snprintf(guest->ids + size, sizeof(guest->ids) - size, "%s%s", size ? " " : "",
                       set->svids[i]->entry->spiffe_id + strlen("spiffe://example.org/"));
    }
    if (set->count > 0) {
        guest->tag = (const void *)(uintptr_t)access_tag(set->svids[0]);
    }
}

static void offered(void *user, const struct access_offer *offer)
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
static void guest_open(struct door *door, struct guest *guest, enum access_purpose purpose,
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

static void guest_close(struct guest *guest)
{
    access_watch_free(take_ptr(guest->watch));
    if (guest->guard) {
        token_guard_unref(take_ptr(guest->guard));
    }
    caller_close(&guest->door->accounts, guest->caller);
    file_close_cleanup(&guest->sockets[0]);
    file_close_cleanup(&guest->sockets[1]);
}

static CK_RV use(struct guest *guest)
{
    bool is_late = false;
    CK_RV rv = guest->guard->operations->admit(guest->guard, guest->tag, NULL, &is_late);
    assert_false(is_late);
    if (rv == CKR_OK) {
        guest->guard->operations->used(guest->guard, guest->tag, CKR_OK);
    }
    return rv;
}

static void set_rule(struct door *door, struct rule rule)
{
    policy_set_rules(door->policy, rules_of(rule));
    access_policy_changed(door->access, NULL);
}

static void a_process_is_offered_what_entries_give(void **state)
{
    struct door *door = *state;
    struct guest guest;
    struct access_status status;
    guest_open(door, &guest, ACCESS_PURPOSE_FETCH, -1);
    FIXTURE_WAIT(door->fixture, guest.offers == 1);
    assert_string_equal(guest.ids, "a");
    assert_null(guest.guard);
    assert_int_equal(access_holders(door->access, "spiffe://example.org/a"), 1);
    fixture_remove(door->fixture, "a");
    FIXTURE_WAIT(door->fixture, guest.offers == 2);
    assert_string_equal(guest.ids, "");
    assert_int_equal(guest.denied.code, ERROR_OK);
    assert_int_equal(access_holders(door->access, "spiffe://example.org/a"), 0);
    access_status(door->access, &status);
    assert_int_equal(status.identified, 1);
    assert_int_equal(status.denied_by[AUDIT_DECIDER_ENTRY], 1);
    assert_int_equal(status.watches, 1);
    guest_close(&guest);
}

static const struct lock *set_lock(struct door *door, enum lock_kind kind, const char *what)
{
    struct error err;
    const struct lock *lock = NULL;
    const struct lock wanted = {
        .kind = kind, .what = (char *)what, .reason = (char *)"ticket 1", .by = (char *)"test"};
    int result = locks_add(policy_locks(door->policy), &wanted, &lock, &err);
    assert_int_equal(result, 0);
    return lock;
}

static void ignore_lock(void *user, const struct lock *lock)
{
    (void)user;
    (void)lock;
}

static void locks_take_effect_before_the_return(void **state)
{
    struct door *door = *state;
    struct guest guests[2];
    struct access_effect effect;
    struct error err;
    char pid[16];
    (void)snprintf(pid, sizeof(pid), "%d", getpid());
    const struct {
        enum lock_kind kind;
        const char *what;
    } locks[] = {
        {LOCK_NODE, ""},
        {LOCK_SPIFFE_ID, "spiffe://example.org/a"},
        {LOCK_SPIFFE_ID, "spiffe://example.org/*"},
        {LOCK_PID, pid},
    };
    guest_open(door, &guests[0], ACCESS_PURPOSE_FETCH, -1);
    guest_open(door, &guests[1], ACCESS_PURPOSE_USE, -1);
    FIXTURE_WAIT(door->fixture, guests[0].offers == 1 && guests[1].offers == 1);
    for (size_t i = 0; i < ARRAY_SIZE(locks); i++) {
        (void)set_lock(door, locks[i].kind, locks[i].what);
        access_policy_changed(door->access, &effect);
        assert_string_equal(guests[0].ids, "");
        assert_string_equal(guests[1].ids, "");
        assert_int_equal(guests[0].denied.code, ERROR_PERMISSION_DENIED);
        assert_non_null(strstr(guests[0].denied.text, "ticket 1"));
        assert_int_equal(effect.processes, 1);
        assert_int_equal(effect.identities, 1);
        assert_int_equal(locks_remove(policy_locks(door->policy), locks[i].kind, locks[i].what,
                                      NULL, ignore_lock, NULL, &err),
                         0);
        access_policy_changed(door->access, &effect);
        assert_string_equal(guests[0].ids, "a");
        assert_string_equal(guests[1].ids, "a");
        assert_int_equal(use(&guests[1]), CKR_OK);
    }
    guest_close(&guests[0]);
    guest_close(&guests[1]);
}

static void uses_are_limited_and_counted(void **state)
{
    struct door *door = *state;
    struct guest guest;
    struct access_status status;
    guest_open(door, &guest, ACCESS_PURPOSE_USE, -1);
    FIXTURE_WAIT(door->fixture, guest.offers == 1);
    assert_int_equal(use(&guest), CKR_OK);
    set_rule(door, (struct rule){.max_uses = 3});
    assert_int_equal(use(&guest), CKR_OK);
    assert_int_equal(use(&guest), CKR_OK);
    assert_int_equal(use(&guest), CKR_KEY_FUNCTION_NOT_PERMITTED);
    /* It is the process that has used them up, not the connection. */
    guest_close(&guest);
    guest_open(door, &guest, ACCESS_PURPOSE_USE, -1);
    FIXTURE_WAIT(door->fixture, guest.offers == 1);
    assert_int_equal(use(&guest), CKR_KEY_FUNCTION_NOT_PERMITTED);
    set_rule(door, (struct rule){.sign_rate = 1, .sign_burst = 2});
    assert_int_equal(use(&guest), CKR_OK);
    assert_int_equal(use(&guest), CKR_OK);
    assert_int_equal(use(&guest), CKR_DEVICE_MEMORY);
    FIXTURE_WAIT(door->fixture, (access_status(door->access, &status), status.used == 5));
    FIXTURE_WAIT(door->fixture,
                 (access_status(door->access, &status), status.denied_by[AUDIT_DECIDER_RULE] == 3));
    /* A key of another generation is not this one. */
    guest.tag = (const char *)guest.tag + 1;
    assert_int_equal(use(&guest), CKR_KEY_FUNCTION_NOT_PERMITTED);
    guest_close(&guest);
}

static void who_does_not_meet_the_rule_is_denied(void **state)
{
    struct door *door = *state;
    struct guest guest;
    const struct {
        struct rule rule;
        const char *reason;
    } cases[] = {
        {{.executables = {.items = (char *[]){(char *)"unix:sha256:00"}, .count = 1}},
         "executable"},
        {{.requires_attested = true}, "attested"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct rule rule = cases[i].rule;
        struct text_list executables = {0};
        text_list_copy(&executables, &rule.executables);
        rule.executables = executables;
        guest_open(door, &guest, ACCESS_PURPOSE_FETCH, -1);
        FIXTURE_WAIT(door->fixture, guest.offers == 1);
        assert_string_equal(guest.ids, "a");
        set_rule(door, rule);
        assert_string_equal(guest.ids, "");
        assert_non_null(strstr(guest.denied.text, cases[i].reason));
        guest_close(&guest);
        set_rule(door, (struct rule){0});
    }
}

static void a_watch_may_end_within_its_offer(void **state)
{
    struct door *door = *state;
    struct guest guests[3];
    for (size_t i = 0; i < ARRAY_SIZE(guests); i++) {
        guest_open(door, &guests[i], ACCESS_PURPOSE_USE, -1);
    }
    FIXTURE_WAIT(door->fixture, guests[2].offers == 1);
    guests[0].must_end = guests[2].must_end = true;
    access_policy_changed(door->access, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(guests); i++) {
        assert_int_equal(guests[i].offers, 2);
        guest_close(&guests[i]);
    }
    guest_open(door, &guests[0], ACCESS_PURPOSE_FETCH, -1); /* gone before it is known who it is */
    guest_close(&guests[0]);
    fixture_settle(door->fixture);
}

/* A child that connects, and becomes another program when it is told so. */
struct child {
    pid_t pid;
    int connection, go;
};

static struct child child_start(void)
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
        (void)!read(go[1], &byte, 1);
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

static void child_end(struct child *child)
{
    (void)kill(child->pid, SIGKILL);
    (void)waitpid(child->pid, NULL, 0);
    (void)close(child->go);
}

static bool is_sleep(pid_t pid)
{
    char name[64];
    char target[256] = "";
    (void)snprintf(name, sizeof(name), "/proc/%d/exe", pid);
    return readlink(name, target, sizeof(target) - 1) > 0 && strstr(target, "sleep") != NULL;
}

static void another_program_ends_what_the_old_one_had(void **state)
{
    struct door *door = *state;
    for (int must_use = 0; must_use < 2; must_use++) {
        struct guest guest;
        struct child child = child_start();
        guest_open(door, &guest, ACCESS_PURPOSE_USE, child.connection);
        FIXTURE_WAIT(door->fixture, guest.offers == 1);
        assert_int_equal(use(&guest), CKR_OK);
        assert_int_equal(write(child.go, "x", 1), 1);
        while (!is_sleep(child.pid)) {
            (void)usleep(1000);
        }
        /* At its next use at once, else when it is looked at again. */
        if (must_use) {
            assert_int_equal(use(&guest), CKR_KEY_FUNCTION_NOT_PERMITTED);
        }
        FIXTURE_WAIT(door->fixture, guest.is_over);
        assert_non_null(strstr(guest.failure.text, "another program"));
        guest_close(&guest);
        child_end(&child);
    }
}

#define DOOR_TEST(test) cmocka_unit_test_setup_teardown(test, door_setup, door_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DOOR_TEST(a_process_is_offered_what_entries_give),
        DOOR_TEST(locks_take_effect_before_the_return),
        DOOR_TEST(uses_are_limited_and_counted),
        DOOR_TEST(who_does_not_meet_the_rule_is_denied),
        DOOR_TEST(a_watch_may_end_within_its_offer),
        DOOR_TEST(another_program_ends_what_the_old_one_had),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
