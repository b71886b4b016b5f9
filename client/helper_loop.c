#include "client/helper_loop.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

enum { STATUS_OF_SIGNAL = 128 };

/* Those that the loop takes; the last ones mean something to COMMAND only. */
static const struct {
    int number;
    bool is_for_command_only;
} signals[] = {
    {SIGCHLD, false}, {SIGTERM, false}, {SIGINT, false}, {SIGHUP, false},
    {SIGQUIT, true},  {SIGUSR1, true},  {SIGUSR2, true},
};

int helper_loop_prepare(struct helper_loop *loop, struct error *err)
{
    sigset_t set;
    (void)sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
        if (loop->command || !signals[i].is_for_command_only) {
            (void)sigaddset(&set, signals[i].number);
        }
    }
    (void)signal(SIGPIPE, SIG_IGN);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    loop->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return loop->signals < 0 ? error_set_errno(err, errno, "waiting for signals") : 0;
}

/* sd_notify(3): READY=1, where a service manager waits for it. */
static void tell_service_manager(void)
{
    static const char ready[] = "READY=1";
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t size = path ? strlen(path) : 0;
    if (size < 2 || size >= sizeof(address.sun_path) || !strchr("/@", path[0])) {
        return;
    }
    memcpy(address.sun_path, path, size);
    address.sun_path[0] = path[0] == '@' ? '\0' : '/';
    _cleanup_(file_close_cleanup) int descriptor = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    (void)sendto(descriptor, ready, sizeof(ready) - 1, MSG_NOSIGNAL,
                 (const struct sockaddr *)&address,
                 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size));
}

static bool is_same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* The configuration again, all or nothing. What runs for the old one has ended by now. */
static void reread(struct helper_loop *loop)
{
    struct error error;
    struct helper *helper = &loop->helper;
    struct helper_config config = {0}, old = helper->config;
    loop->is_reread_wanted = false;
    if (helper_configure(loop->arguments, &config, &error) < 0) {
        log_error("the configuration is not changed: %s", error.text);
        return;
    }
    for (size_t i = 0; i < old.output_count; i++) {
        helper_output_remove_secrets(&old.outputs[i], &config);
    }
    bool is_run_dir_changed = !is_same_text(old.run_dir, config.run_dir);
    helper->config = config;
    helper_tasks_make(helper);
    helper_config_clear(&old);
    log_set_level(config.log_level);
    if (is_run_dir_changed) {
        log_warning("a change of run_dir needs a restart");
    }
    log_info("configuration reread blocks=%zu", config.output_count);
    if (helper_tasks_watch(helper, &error) < 0) {
        log_error("%s", error.text);
    }
    helper_tasks_update(helper);
}

/* A terminal has sent it to COMMAND as well. */
static void forward(const struct helper_loop *loop, const struct signalfd_siginfo *signal)
{
    if (loop->helper.command > 0 && signal->ssi_code != SI_KERNEL) {
        (void)kill(loop->helper.command, (int)signal->ssi_signo);
    }
}

static void child_ended(struct helper_loop *loop, pid_t pid, int status)
{
    struct helper *helper = &loop->helper;
    if (pid == helper->command) {
        helper->command = 0;
        loop->is_over = true;
        loop->status =
            WIFEXITED(status) ? WEXITSTATUS(status) : STATUS_OF_SIGNAL + WTERMSIG(status);
        log_info("the command has ended status=%d", loop->status);
        return;
    }
    for (size_t i = 0; i < helper->config.output_count; i++) {
        struct helper_task *task = &helper->tasks[i];
        if (task->reload.pid == pid) {
            helper_reload_ended(&task->reload, task->output, status);
            return;
        }
    }
}

static void handle(struct helper_loop *loop, const struct signalfd_siginfo *signal)
{
    int status;
    pid_t pid;
    switch ((int)signal->ssi_signo) {
    case SIGCHLD:
        while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
            child_ended(loop, pid, status);
        }
        return;
    case SIGHUP:
        loop->is_reread_wanted = true;
        break;
    case SIGTERM:
    case SIGINT:
        loop->is_over = loop->is_over || loop->helper.command == 0;
        break;
    default:
        break;
    }
    forward(loop, signal);
}

static void read_signals(struct helper_loop *loop)
{
    struct signalfd_siginfo signal;
    while (read(loop->signals, &signal, sizeof(signal)) == (ssize_t)sizeof(signal)) {
        handle(loop, &signal);
    }
}

/* The files are there for the first time. */
static int become_ready(struct helper_loop *loop, struct error *err)
{
    loop->is_ready = true;
    log_info("ready blocks=%zu", loop->helper.config.output_count);
    tell_service_manager();
    return loop->command ? helper_reload_spawn(loop->command, false, &loop->helper.command, err)
                         : 0;
}

/* With is_once: whether it is done, or cannot be. */
static int check_once(struct helper_loop *loop, uint64_t deadline_ms, struct error *err)
{
    const struct helper *helper = &loop->helper;
    if (!loop->is_ready) {
        return helper_tasks_have_failed(helper) || clock_monotonic_ms() >= deadline_ms
                   ? helper_tasks_explain(helper, err)
                   : 0;
    }
    loop->is_over = !helper_tasks_are_telling(helper);
    for (size_t i = 0; loop->is_over && i < helper->config.output_count; i++) {
        if (helper_reload_has_failed(&helper->tasks[i].reload)) {
            return error_set(err, ERROR_ABORTED,
                             "the files of \"%.100s\" are written, but its software was not told; "
                             "see the lines before",
                             helper->config.outputs[i].name);
        }
    }
    return 0;
}

static int step(struct helper_loop *loop, uint64_t deadline_ms, struct error *err)
{
    struct helper *helper = &loop->helper;
    struct mailbox *mailbox = helper_feed_mailbox(helper->feed);
    uint64_t next_ms = helper_tasks_tick(helper, clock_monotonic_ms());
    if (!loop->is_ready && helper_tasks_are_ready(helper)) {
        TRY(become_ready(loop, err));
    }
    if (loop->is_once) {
        TRY(check_once(loop, deadline_ms, err));
        next_ms = loop->is_ready ? next_ms : MIN(next_ms, deadline_ms);
    }
    if (loop->is_over) {
        return 0;
    }
    uint64_t now_ms = clock_monotonic_ms();
    uint64_t wait_ms = next_ms > now_ms ? next_ms - now_ms : 0;
    struct pollfd waiting[] = {{loop->signals, POLLIN, 0},
                               {mailbox_descriptor(mailbox), POLLIN, 0}};
    (void)poll(waiting, ARRAY_SIZE(waiting),
               next_ms == UINT64_MAX ? -1 : (int)MIN(wait_ms + 1, (uint64_t)INT32_MAX));
    read_signals(loop);
    mailbox_deliver(mailbox);
    if (loop->is_reread_wanted && !helper_tasks_are_telling(helper)) {
        reread(loop);
    }
    return 0;
}

/* Nothing of this process stays behind. */
static void end(struct helper_loop *loop)
{
    struct helper *helper = &loop->helper;
    for (size_t i = 0; i < helper->config.output_count; i++) {
        if (helper->tasks[i].reload.pid > 0) {
            (void)kill(-helper->tasks[i].reload.pid, SIGKILL);
        }
        if (!loop->is_once) {
            helper_output_remove_secrets(&helper->config.outputs[i], NULL);
        }
    }
}

int helper_loop_run(struct helper_loop *loop, struct error *err)
{
    uint64_t deadline_ms = clock_monotonic_ms() + loop->timeout_ms;
    int result = 0;
    while (result == 0 && !loop->is_over) {
        result = step(loop, deadline_ms, err);
    }
    end(loop);
    return result;
}
