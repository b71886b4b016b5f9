#include "pkcs11/module/host_process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/pidfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "pkcs11/module/host_protocol.h"

enum { TIMEOUT_DEFAULT_MS = 30000, KILL_WAIT_MS = 5000, TIMERS_MAX = 32 };
enum { POLL_WAKE, POLL_PROCESS, POLL_TIMERS };

struct host_process {
    const struct module_config *config;
    char *keystore;
    unsigned timeout_ms;
    unsigned timer_count;
    int timers[TIMERS_MAX];
    int wake; /* an eventfd: something below changed for the watcher */

    pthread_t watcher;
    bool has_watcher;
    pthread_mutex_t lock; /* for what follows */
    pthread_cond_t changed;
    bool is_stopping;
    bool is_start_wanted;
    int listener, control; /* of the start that is wanted */
    int start_errno;
    int pidfd; /* -1: no process */
    pid_t pid;
};

static void set_signals(posix_spawnattr_t *attributes)
{
    sigset_t signals;
    (void)sigemptyset(&signals);
    (void)posix_spawnattr_setsigmask(attributes, &signals);
    (void)sigfillset(&signals);
    (void)posix_spawnattr_setsigdefault(attributes, &signals);
    (void)posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
}

static int spawn(struct host_process *process, int listener, int control, pid_t *ret_pid)
{
    const char *program =
        process->config->host_path ? process->config->host_path : "/proc/self/exe";
    char name[] = "signetd";
    char option[] = "--module-host";
    _cleanup_(free_cleanup) char *module = memory_copy_text(process->config->module);
    char *const arguments[] = {name, option, module, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    (void)posix_spawn_file_actions_adddup2(&actions, listener, HOST_DESCRIPTOR_LISTENER);
    (void)posix_spawn_file_actions_adddup2(&actions, control, HOST_DESCRIPTOR_CONTROL);
    (void)posix_spawn_file_actions_addclosefrom_np(&actions, HOST_DESCRIPTOR_END);
    (void)posix_spawnattr_init(&attributes);
    set_signals(&attributes);
    int failure = posix_spawn(ret_pid, program, &actions, &attributes, arguments, environ);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    return failure;
}

/* Copies above the numbers that the child is going to have, so that none overwrites the other. */
static int spawn_with_copies(struct host_process *process, pid_t *ret_pid)
{
    _cleanup_(file_close_cleanup) int listener =
        fcntl(process->listener, F_DUPFD_CLOEXEC, HOST_DESCRIPTOR_END);
    _cleanup_(file_close_cleanup) int control =
        fcntl(process->control, F_DUPFD_CLOEXEC, HOST_DESCRIPTOR_END);
    if (listener < 0 || control < 0) {
        return errno;
    }
    return spawn(process, listener, control, ret_pid);
}

/* On the watcher, with the lock held. */
static void start(struct host_process *process)
{
    pid_t pid = 0;
    process->is_start_wanted = false;
    process->start_errno = spawn_with_copies(process, &pid);
    if (process->start_errno == 0) {
        process->pid = pid;
        process->pidfd = pidfd_open(pid, 0);
        if (process->pidfd < 0) {
            process->start_errno = errno;
            (void)kill(pid, SIGKILL);
            (void)waitpid(pid, NULL, 0);
        }
    }
    (void)pthread_cond_broadcast(&process->changed);
}

static void log_end(const struct host_process *process, const siginfo_t *info)
{
    bool is_signal = info->si_code == CLD_KILLED || info->si_code == CLD_DUMPED;
    if (!is_signal && info->si_status == 0) {
        log_debug("module process ended keystore=%s pid=%d", process->keystore, process->pid);
        return;
    }
    log_warning("module process ended keystore=%s module=%s pid=%d %s=%d", process->keystore,
                process->config->module, process->pid, is_signal ? "signal" : "exit_code",
                info->si_status);
}

/* On the watcher, with the lock held. */
static void reap(struct host_process *process)
{
    siginfo_t info = {0};
    if (waitid(P_PIDFD, (id_t)process->pidfd, &info, WEXITED | WNOHANG) == 0 && info.si_pid == 0) {
        return;
    }
    log_end(process, &info);
    (void)close(process->pidfd);
    process->pidfd = -1;
    (void)pthread_cond_broadcast(&process->changed);
}

static void kill_process(const struct host_process *process)
{
    if (process->pidfd >= 0) {
        (void)pidfd_send_signal(process->pidfd, SIGKILL, NULL, 0);
    }
}

/* On the watcher, with the lock held. */
static void check_timers(struct host_process *process, const struct pollfd *polls)
{
    for (unsigned i = 0; i < process->timer_count; i++) {
        uint64_t expired = 0;
        if (polls[POLL_TIMERS + i].revents &&
            read(process->timers[i], &expired, sizeof(expired)) == sizeof(expired)) {
            log_error("module process gave no answer keystore=%s module=%s pid=%d timeout_ms=%u; "
                      "killing it",
                      process->keystore, process->config->module, process->pid,
                      process->timeout_ms);
            kill_process(process);
        }
    }
}

static void *watch(void *argument)
{
    struct host_process *process = argument;
    struct pollfd polls[POLL_TIMERS + TIMERS_MAX] = {{.fd = process->wake, .events = POLLIN}};
    for (unsigned i = 0; i < process->timer_count; i++) {
        polls[POLL_TIMERS + i] = (struct pollfd){.fd = process->timers[i], .events = POLLIN};
    }
    (void)pthread_mutex_lock(&process->lock);
    while (!process->is_stopping) {
        polls[POLL_PROCESS] = (struct pollfd){.fd = process->pidfd, .events = POLLIN};
        (void)pthread_mutex_unlock(&process->lock);
        int ready = poll(polls, POLL_TIMERS + process->timer_count, -1);
        (void)pthread_mutex_lock(&process->lock);
        if (ready < 0) {
            continue;
        }
        uint64_t ignored = 0;
        (void)!read(process->wake, &ignored, sizeof(ignored));
        check_timers(process, polls);
        if (polls[POLL_PROCESS].revents && process->pidfd >= 0) {
            reap(process);
        }
        if (process->is_start_wanted) {
            start(process);
        }
    }
    (void)pthread_mutex_unlock(&process->lock);
    return NULL;
}

static void wake(struct host_process *process)
{
    const uint64_t one = 1;
    (void)!write(process->wake, &one, sizeof(one));
}

static int start_watcher(struct host_process *process, struct error *err)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int failure = pthread_create(&process->watcher, NULL, watch, process);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failure) {
        return error_set_errno(err, failure, "starting a thread for the module %s",
                               process->config->module);
    }
    process->has_watcher = true;
    return 0;
}

static struct host_process *allocate(const struct module_config *config, const char *keystore)
{
    struct host_process *process = NEW(struct host_process);
    process->config = config;
    process->keystore = memory_copy_text(keystore);
    process->timeout_ms = config->timeout_ms ? config->timeout_ms : TIMEOUT_DEFAULT_MS;
    process->wake = -1;
    process->pidfd = -1;
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&process->changed, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    (void)pthread_mutex_init(&process->lock, NULL);
    return process;
}

int host_process_new(const struct module_config *config, const char *keystore, unsigned timers,
                     struct host_process **ret_process, struct error *err)
{
    _cleanup_(host_process_free_cleanup) struct host_process *process = allocate(config, keystore);
    process->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (process->wake < 0) {
        return error_set_errno(err, errno, "preparing to watch the module %s", config->module);
    }
    for (unsigned i = 0; i < MIN(timers, TIMERS_MAX); i++) {
        int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        if (timer < 0) {
            return error_set_errno(err, errno, "preparing to watch the module %s", config->module);
        }
        process->timers[process->timer_count++] = timer;
    }
    TRY(start_watcher(process, err));
    *ret_process = take_ptr(process);
    return 0;
}

void host_process_free(struct host_process *process)
{
    if (process->has_watcher) {
        host_process_end(process, 0);
        (void)pthread_mutex_lock(&process->lock);
        process->is_stopping = true;
        (void)pthread_mutex_unlock(&process->lock);
        wake(process);
        (void)pthread_join(process->watcher, NULL);
    }
    for (unsigned i = 0; i < process->timer_count; i++) {
        (void)close(process->timers[i]);
    }
    file_close_cleanup(&process->wake);
    file_close_cleanup(&process->pidfd);
    (void)pthread_mutex_destroy(&process->lock);
    (void)pthread_cond_destroy(&process->changed);
    free(process->keystore);
    free(process);
}

int host_process_start(struct host_process *process, int listener, int control, struct error *err)
{
    (void)pthread_mutex_lock(&process->lock);
    int failure = EBUSY; /* one that was killed and does not end */
    if (process->pidfd < 0) {
        process->listener = listener;
        process->control = control;
        process->is_start_wanted = true;
        wake(process);
        while (process->is_start_wanted) {
            (void)pthread_cond_wait(&process->changed, &process->lock);
        }
        failure = process->start_errno;
    }
    (void)pthread_mutex_unlock(&process->lock);
    if (failure) {
        return error_set_errno(err, failure, "starting the process of the module %s",
                               process->config->module);
    }
    return 0;
}

/* With the lock held. */
static void wait_until_gone(struct host_process *process, unsigned limit_ms)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += limit_ms / 1000;
    until.tv_nsec += (long)(limit_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    while (process->pidfd >= 0 &&
           pthread_cond_timedwait(&process->changed, &process->lock, &until) != ETIMEDOUT) {
    }
}

void host_process_end(struct host_process *process, unsigned grace_ms)
{
    (void)pthread_mutex_lock(&process->lock);
    wait_until_gone(process, grace_ms);
    kill_process(process);
    wait_until_gone(process, KILL_WAIT_MS);
    (void)pthread_mutex_unlock(&process->lock);
}

static void set_timer(struct host_process *process, unsigned timer, unsigned ms)
{
    const struct itimerspec when = {
        .it_value = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000}};
    (void)timerfd_settime(process->timers[timer], 0, &when, NULL);
}

void host_process_timer_start(struct host_process *process, unsigned timer)
{
    set_timer(process, timer, process->timeout_ms);
}

void host_process_timer_stop(struct host_process *process, unsigned timer)
{
    set_timer(process, timer, 0);
}

unsigned host_process_timeout_ms(const struct host_process *process)
{
    return process->timeout_ms;
}
