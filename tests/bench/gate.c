/* What it costs to decide about one use of a key, and to record it: the guard of a token asked and
 * told in a loop, by the thread that would serve the token. Prints nanoseconds for each use, the
 * process being this one.
 *
 *     bench_gate USES
 */
#include "tests/unit/svid/fixture.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/access/access.h"

struct guest {
    struct token_guard *guard;
    uint64_t tag;
};

static void nobody_waits(void *user)
{
    (void)user;
}

static void offered(void *user, const struct access_offer *offer)
{
    struct guest *guest = user;
    if (offer->set && offer->set->count > 0 && !guest->guard) {
        guest->guard = token_guard_ref(offer->guard);
        guest->tag = access_tag(offer->set->svids[0]);
    }
}

static uint64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static double measure(struct guest *guest, uint64_t uses)
{
    uint64_t start = now_ns();
    for (uint64_t i = 0; i < uses; i++) {
        bool is_late = false;
        if (guest->guard->operations->admit(guest->guard, guest->tag, NULL, &is_late) != CKR_OK) {
            (void)fprintf(stderr, "bench_gate: a use was denied\n");
            exit(1);
        }
        guest->guard->operations->used(guest->guard, guest->tag, CKR_OK);
    }
    return (double)(now_ns() - start) / (double)uses;
}

int main(int argc, char **argv)
{
    struct error err;
    void *state = NULL;
    char folder[] = "/tmp/bench-gate-XXXXXX";
    struct accounts accounts = {
        .connections_per_uid = 10, .descriptor_limit = 1000, .idle = nobody_waits};
    struct attestor *attestor = NULL;
    struct policy *policy = NULL;
    struct access *access = NULL;
    struct access_watch *watch = NULL;
    struct caller *caller = NULL;
    struct guest guest = {0};
    int sockets[2];
    uint64_t uses = argc == 2 ? strtoull(argv[1], NULL, 10) : 0;
    bool is_up = uses > 0 && fixture_setup(&state) == 0 && mkdtemp(folder) &&
                 socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0;
    struct fixture *fixture = state;
    const struct attestor_config attestor_config = {0};
    if (!is_up || attestor_new(&fixture->loop, &attestor_config, &attestor, &err) < 0 ||
        policy_new(folder, NEW(struct rules), &policy, &err) < 0) {
        (void)fprintf(stderr, "usage: bench_gate USES\n");
        return 1;
    }
    const struct access_config config = {.trust_domain = "example.org",
                                         .manager = fixture->manager,
                                         .attestor = attestor,
                                         .policy = policy};
    _cleanup_(free_cleanup) char *selector = text_format("unix:uid:%u", getuid());
    if (access_new(&fixture->loop, &config, &access, &err) < 0 ||
        caller_open(&accounts, sockets[0], &caller, &err) < 0) {
        (void)fprintf(stderr, "bench_gate: %s\n", err.text);
        return 1;
    }
    fixture_add(fixture, "a", "a", selector);
    if (access_watch_new(access, caller, ACCESS_PURPOSE_USE, "bench", NULL, offered, &guest, &watch,
                         &err) < 0) {
        (void)fprintf(stderr, "bench_gate: %s\n", err.text);
        return 1;
    }
    while (!guest.guard) {
        fixture_turn(fixture);
    }
    printf("%.0f\n", measure(&guest, uses));
    (void)rmdir(folder);
    return 0; /* the process ends, and with it what it made */
}
