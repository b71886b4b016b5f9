/* A real process at the other end of a unix socket. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/workload/peer.h"

enum { CHILD_WAIT_MS = 10000 };

struct child_plan {
    int (*before)(void *user); /* before it connects; not 0: it exits with that */
    int (*after)(void *user);  /* after it has connected */
    void *user;
    const char
        *program; /* to be started then, with the argument "1000"; NULL: it goes on waiting */
    pid_t pid;    /* to be used, by root; 0: any */
};

struct child {
    pid_t pid;
    int socket; /* our end */
    int status; /* exit code where it ended before it was ready, else -1 */
};

static inline pid_t child_fork(pid_t wanted)
{
    pid_t tid = wanted;
    struct clone_args arguments = {.exit_signal = SIGCHLD,
                                   .set_tid = (uint64_t)(uintptr_t)&tid,
                                   .set_tid_size = wanted ? 1 : 0};
    return wanted ? (pid_t)syscall(SYS_clone3, &arguments, sizeof(arguments)) : fork();
}

/* On success it never returns and ready is closed: by the program's start, or to say so. */
static inline int child_run(const struct child_plan *plan, int listener, int ready)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof(address);
    int result = plan->before ? plan->before(plan->user) : 0;
    if (result != 0) {
        return result;
    }
    /* A test that fails leaves nobody behind. */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    int connection = socket(AF_UNIX, SOCK_STREAM, 0);
    if (getsockname(listener, (struct sockaddr *)&address, &size) < 0 ||
        connect(connection, (struct sockaddr *)&address, size) < 0) {
        return 100;
    }
    result = plan->after ? plan->after(plan->user) : 0;
    if (result != 0) {
        return result;
    }
    /* Who becomes somebody else has it no more. */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (plan->program) {
        (void)execl(plan->program, plan->program, "1000", NULL);
        return 101;
    }
    (void)close(ready);
    for (;;) {
        (void)pause();
    }
}

/* Starts it and waits until it is as planned. Where it gave up, status says so and socket is -1. */
static inline struct child child_start(const struct child_plan *plan)
{
    struct sockaddr address = {.sa_family = AF_UNIX}; /* alone: the kernel finds an abstract name */
    struct child child = {.socket = -1, .status = -1};
    int ready[2];
    uint8_t byte;
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, &address, sizeof(address.sa_family)), 0);
    assert_int_equal(listen(listener, 8), 0);
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    child.pid = child_fork(plan->pid);
    if (child.pid == 0) {
        (void)close(ready[0]);
        _exit(child_run(plan, listener, ready[1]));
    }
    assert_true(child.pid > 0);
    (void)close(ready[1]);
    struct pollfd ends[] = {{.fd = listener, .events = POLLIN}, {.fd = ready[0], .events = POLLIN}};
    assert_true(poll(&ends[1], 1, CHILD_WAIT_MS) == 1);
    assert_int_equal(read(ready[0], &byte, 1), 0);
    siginfo_t ended = {0};
    /* A program that could not be started ends at once, which closes the pipe too. */
    bool has_ended = waitid(P_PID, (id_t)child.pid, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 &&
                     ended.si_pid != 0;
    if (poll(&ends[0], 1, 0) == 1) {
        child.socket = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    }
    child.status = has_ended || child.socket < 0 ? ended.si_status : -1;
    (void)close(ready[0]);
    (void)close(listener);
    return child;
}

/* Ends it and waits until it is gone. */
static inline void child_kill(struct child *child)
{
    if (child->pid > 0) {
        (void)kill(child->pid, SIGKILL);
        assert_int_equal(waitpid(child->pid, NULL, 0), child->pid);
        child->pid = 0;
    }
}

static inline void child_stop(struct child *child)
{
    child_kill(child);
    if (child->socket >= 0) {
        (void)close(child->socket);
        child->socket = -1;
    }
}
