#include "agent/workload/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "agent/workload/proc.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

/* Newer than the C library's headers. */
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

static bool has_ended(int pidfd)
{
    struct pollfd poll_of = {.fd = pidfd, .events = POLLIN};
    int count;
    do {
        count = poll(&poll_of, 1, 0);
    } while (count < 0 && errno == EINTR);
    return count != 0;
}

static int ended(pid_t pid, struct error *err)
{
    return error_set(err, ERROR_NOT_FOUND, "finding the process at the other end: pid %d has ended",
                     pid);
}

/* Opens the folder of the process that the pidfd is of. The pid may change hands before the open;
 * but while the process runs it is its own, so a process that runs afterwards had it all the time.
 */
static int open_proc(struct peer *peer, struct error *err)
{
    char path[32];
    (void)snprintf(path, sizeof(path), "/proc/%d", peer->pid);
    peer->proc = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (peer->proc < 0 && errno != ENOENT) {
        return error_set_errno(err, errno, "opening %s", path);
    }
    return peer->proc < 0 || has_ended(peer->pidfd) ? ended(peer->pid, err) : 0;
}

/* Takes pidfd, also on failure. */
static int peer_new(const struct ucred *credentials, int pidfd, struct peer **ret_peer,
                    struct error *err)
{
    struct peer *peer = NEW(struct peer);
    *peer = (struct peer){
        .pid = credentials->pid,
        .uid = credentials->uid,
        .gid = credentials->gid,
        .pidfd = pidfd,
        .proc = -1,
    };
    atomic_init(&peer->references, 1);
    if (open_proc(peer, err) < 0 || proc_read_start_time(peer->proc, &peer->start_time, err) < 0) {
        peer_unref(peer);
        return -1;
    }
    *ret_peer = peer;
    return 0;
}

int peer_of_credentials(const struct ucred *credentials, uint64_t newest_start_time,
                        struct peer **ret_peer, struct error *err)
{
    struct peer *peer = NULL;
    int pidfd = pidfd_open(credentials->pid, 0);
    if (pidfd < 0) {
        return errno == ESRCH
                   ? ended(credentials->pid, err)
                   : error_set_errno(err, errno, "opening a pidfd of pid %d", credentials->pid);
    }
    TRY(peer_new(credentials, pidfd, &peer, err));
    struct proc_credentials now = {0};
    int result = proc_read_credentials(peer->proc, &now, err);
    if (result == 0 && (peer->start_time > newest_start_time || now.uid != credentials->uid ||
                        now.gid != credentials->gid)) {
        result = error_set(err, ERROR_NOT_FOUND,
                           "finding the process at the other end: pid %d is another process now",
                           credentials->pid);
    }
    proc_credentials_clear(&now);
    if (result < 0) {
        peer_unref(peer);
        return -1;
    }
    *ret_peer = peer;
    return 0;
}

/* CLOCK_BOOTTIME in the unit of start times. */
static uint64_t ticks_now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_BOOTTIME, &now);
    uint64_t ticks_a_second = (uint64_t)sysconf(_SC_CLK_TCK);
    return (uint64_t)now.tv_sec * ticks_a_second +
           (uint64_t)now.tv_nsec * ticks_a_second / 1000000000;
}

int peer_of_socket(int socket, struct peer **ret_peer, struct error *err)
{
    uint64_t accepted_at = ticks_now();
    struct ucred credentials;
    socklen_t size = sizeof(credentials);
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0) {
        return error_set_errno(err, errno, "asking the kernel who connected");
    }
    /* 0: not a unix socket's peer, or in a pid namespace that this agent cannot see into. */
    if (credentials.pid <= 0) {
        return error_set(err, ERROR_PERMISSION_DENIED,
                         "the process that connected is not visible in this agent's pid "
                         "namespace; run the agent in the namespace of its host");
    }
    int pidfd = -1;
    size = sizeof(pidfd);
    if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) == 0) {
        return peer_new(&credentials, pidfd, ret_peer, err);
    }
    switch (errno) {
    case ENOPROTOOPT:
        return peer_of_credentials(&credentials, accepted_at, ret_peer, err);
    case ESRCH:
    case EINVAL:
        return ended(credentials.pid, err);
    default:
        return error_set_errno(err, errno, "asking the kernel for a pidfd of pid %d",
                               credentials.pid);
    }
}

/* A thread has a folder too, though it is not listed; a number that is only a session's or a
 * group's any more has none. */
static bool is_thread(pid_t pid)
{
    char path[32];
    (void)snprintf(path, sizeof(path), "/proc/%d", pid);
    return pid > 0 && access(path, F_OK) == 0;
}

static int refuse_pid(pid_t pid, int reason, struct error *err)
{
    bool is_no_process = reason == ESRCH || reason == ENOENT || reason == EINVAL;
    if (is_no_process && reason != ESRCH && is_thread(pid)) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "pid %d: it is a thread of a process; give the pid of the process", pid);
    }
    if (is_no_process) {
        return error_set(err, ERROR_NOT_FOUND, "pid %d: there is no such process", pid);
    }
    return error_set_errno(err, reason, "opening a pidfd of pid %d", pid);
}

int peer_of_pid(pid_t pid, struct peer **ret_peer, struct error *err)
{
    const struct ucred nobody_yet = {.pid = pid};
    struct proc_credentials now = {0};
    struct peer *peer = NULL;
    int pidfd = pidfd_open(pid, 0);
    if (pidfd < 0) {
        return refuse_pid(pid, errno, err);
    }
    TRY(peer_new(&nobody_yet, pidfd, &peer, err));
    if (proc_read_credentials(peer->proc, &now, err) < 0) {
        peer_unref(peer);
        return -1;
    }
    peer->uid = now.uid;
    peer->gid = now.gid;
    proc_credentials_clear(&now);
    *ret_peer = peer;
    return 0;
}

struct peer *peer_ref(struct peer *peer)
{
    (void)atomic_fetch_add_explicit(&peer->references, 1, memory_order_relaxed);
    return peer;
}

void peer_unref(struct peer *peer)
{
    if (atomic_fetch_sub(&peer->references, 1) != 1) {
        return;
    }
    file_close_cleanup(&peer->pidfd);
    file_close_cleanup(&peer->proc);
    free(peer);
}

bool peer_is_alive(const struct peer *peer)
{
    return !has_ended(peer->pidfd);
}

bool peer_runs(const struct peer *peer, const struct file_identity *program)
{
    return program ? file_identity_is_at(peer->proc, "exe", program) : peer_is_alive(peer);
}
