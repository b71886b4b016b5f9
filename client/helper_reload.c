#include "client/helper_reload.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

enum { PID_FILE_LIMIT_BYTES = 4096, EXIT_NO_PROGRAM = 127 };
enum { RETRY_MIN_MS = 1000, RETRY_MAX_MS = 60000 };

static int read_pid(int descriptor, const char *path, pid_t *ret_pid, struct error *err)
{
    uint64_t number;
    _cleanup_(buffer_clear) struct buffer text = {0};
    TRY(buffer_read_descriptor(descriptor, path, PID_FILE_LIMIT_BYTES, &text, err));
    struct reader reader = reader_of(buffer_bytes(&text));
    struct bytes line = reader_until(&reader, '\n');
    _cleanup_(free_cleanup) char *word = text_format("%.*s", (int)line.size, line.data);
    if (text_parse_u64(word, 2, INT32_MAX, &number, NULL) < 0) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "reading %s: its first line is not the number of a process", path);
    }
    *ret_pid = (pid_t)number;
    return 0;
}

/* Whoever may write the pid file must not choose a process that this user may signal and they may
 * not. The process cannot be exchanged in between: process holds on to it. */
static int check_owner(const char *path, const struct stat *file, pid_t pid, struct error *err)
{
    struct stat process;
    _cleanup_(free_cleanup) char *folder = text_format("/proc/%d", pid);
    if (file->st_uid == 0 || file->st_uid == geteuid()) {
        return 0;
    }
    if (stat(folder, &process) < 0) {
        return error_set_errno(err, errno, "looking at process %d of %s", pid, path);
    }
    if (process.st_uid != file->st_uid) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "signalling process %d of %s: it belongs to uid %u, the file to uid %u",
                         pid, path, process.st_uid, file->st_uid);
    }
    return 0;
}

int helper_reload_signal_pid_file(const char *path, int number, struct error *err)
{
    struct stat status;
    pid_t pid = 0;
    _cleanup_(file_close_cleanup) int file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (file < 0 || fstat(file, &status) < 0) {
        return error_set_errno(err, errno, "reading the pid file %s", path);
    }
    if (!S_ISREG(status.st_mode) || (status.st_mode & S_IWOTH)) {
        return error_set(
            err, ERROR_FAILED_PRECONDITION,
            "reading the pid file %s: it is no regular file, or everybody may write it", path);
    }
    TRY(read_pid(file, path, &pid, err));
    _cleanup_(file_close_cleanup) int process = pidfd_open(pid, 0);
    if (process < 0) {
        return error_set_errno(err, errno, "signalling process %d of %s", pid, path);
    }
    TRY(check_owner(path, &status, pid, err));
    if (pidfd_send_signal(process, number, NULL, 0) < 0) {
        return error_set_errno(err, errno, "signalling process %d of %s", pid, path);
    }
    return 0;
}

/* In the child: only what is safe between fork and exec. */
static void become(char *const *words, bool is_own_group, pid_t parent)
{
    sigset_t none;
    static const int defaults[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGTERM,
                                   SIGCHLD, SIGPIPE, SIGUSR1, SIGUSR2};
    for (size_t i = 0; i < ARRAY_SIZE(defaults); i++) {
        (void)signal(defaults[i], SIG_DFL);
    }
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    if (is_own_group) {
        int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
        (void)setpgid(0, 0);
        (void)dup2(nothing, STDIN_FILENO);
    } else {
        (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != parent) {
            _exit(EXIT_NO_PROGRAM);
        }
    }
    (void)execvp(words[0], words);
}

/* The pipe tells why exec failed; it closes when exec works. */
int helper_reload_spawn(char *const *words, bool is_own_group, pid_t *ret_pid, struct error *err)
{
    int ends[2];
    int reason = 0;
    pid_t parent = getpid();
    if (pipe2(ends, O_CLOEXEC) < 0) {
        return error_set_errno(err, errno, "starting %s", words[0]);
    }
    pid_t pid = fork();
    if (pid == 0) {
        become(words, is_own_group, parent);
        reason = errno;
        ssize_t ignored = write(ends[1], &reason, sizeof(reason));
        (void)ignored;
        _exit(EXIT_NO_PROGRAM);
    }
    int failure = errno;
    (void)close(ends[1]);
    ssize_t count = 0;
    do {
        count = pid < 0 ? 0 : read(ends[0], &reason, sizeof(reason));
    } while (count < 0 && errno == EINTR);
    (void)close(ends[0]);
    if (pid < 0 || count > 0) {
        if (pid > 0) {
            (void)waitpid(pid, NULL, 0);
        }
        return error_set_errno(err, pid < 0 ? failure : reason, "starting %s", words[0]);
    }
    *ret_pid = pid;
    return 0;
}

/* part: has_signal_failed or has_command_failed. Both are tried again at the same time. */
static void note_failure(struct helper_reload *reload, bool *part)
{
    *part = true;
    if (reload->retry_at_ms == 0) {
        reload->retry_at_ms = clock_back_off(&reload->retry_delay_ms, RETRY_MIN_MS, RETRY_MAX_MS);
    }
}

static void note_success(struct helper_reload *reload, bool *part)
{
    *part = false;
    if (!helper_reload_has_failed(reload)) {
        reload->retry_at_ms = reload->retry_delay_ms = 0;
    }
}

bool helper_reload_has_failed(const struct helper_reload *reload)
{
    return reload->has_signal_failed || reload->has_command_failed;
}

bool helper_reload_is_done(const struct helper_reload *reload)
{
    return reload->pid == 0 && !reload->is_wanted && !helper_reload_has_failed(reload);
}

static void run_command(struct helper_reload *reload, const struct helper_output *output)
{
    struct error error;
    const struct text_list *command = &output->reload_command;
    char **words = memory_new_array(command->count + 1, sizeof(*words));
    for (size_t i = 0; i < command->count; i++) {
        words[i] = command->items[i];
    }
    if (helper_reload_spawn(words, true, &reload->pid, &error) < 0) {
        log_error("the reload command failed name=%s: %s", output->name, error.text);
        note_failure(reload, &reload->has_command_failed);
    } else {
        reload->deadline_ms = clock_monotonic_ms() + output->reload_timeout_ms;
    }
    free(words);
}

static void send_signal(struct helper_reload *reload, const struct helper_output *output,
                        pid_t command)
{
    struct error error;
    int sent = 0;
    if (output->pid_file) {
        sent = helper_reload_signal_pid_file(output->pid_file, output->reload_signal, &error);
    } else if (command > 0 && kill(command, output->reload_signal) < 0) {
        sent = error_set_errno(&error, errno, "signalling process %d", command);
    }
    if (sent < 0) {
        log_warning("the signal was not sent name=%s: %s", output->name, error.text);
        note_failure(reload, &reload->has_signal_failed);
        return;
    }
    if (output->pid_file || command > 0) {
        log_info("signalled name=%s signal=%s", output->name, sigabbrev_np(output->reload_signal));
    }
    note_success(reload, &reload->has_signal_failed);
}

void helper_reload_start(struct helper_reload *reload, const struct helper_output *output,
                         pid_t command)
{
    reload->has_signal_failed = reload->has_command_failed = false;
    reload->retry_at_ms = reload->retry_delay_ms = 0;
    if (output->reload_signal) {
        send_signal(reload, output, command);
    }
    if (output->reload_command.count > 0 && reload->pid == 0) {
        run_command(reload, output);
    } else if (output->reload_command.count > 0) {
        reload->is_wanted = true;
    }
}

void helper_reload_ended(struct helper_reload *reload, const struct helper_output *output,
                         int status)
{
    reload->pid = 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        log_info("the reload command is done name=%s", output->name);
        note_success(reload, &reload->has_command_failed);
    } else if (WIFEXITED(status)) {
        log_error("the reload command failed name=%s status=%d", output->name, WEXITSTATUS(status));
        note_failure(reload, &reload->has_command_failed);
    } else {
        log_error("the reload command failed name=%s signal=%s", output->name,
                  sigabbrev_np(WTERMSIG(status)));
        note_failure(reload, &reload->has_command_failed);
    }
    if (reload->is_wanted) {
        reload->is_wanted = false;
        run_command(reload, output);
    }
}

static void try_again(struct helper_reload *reload, const struct helper_output *output,
                      pid_t command)
{
    reload->retry_at_ms = 0;
    if (reload->has_signal_failed) {
        send_signal(reload, output, command);
    }
    /* One that runs says itself how it ended. */
    if (reload->has_command_failed && reload->pid == 0) {
        run_command(reload, output);
    }
}

uint64_t helper_reload_tick(struct helper_reload *reload, const struct helper_output *output,
                            pid_t command, uint64_t now_ms)
{
    if (reload->retry_at_ms > 0 && now_ms >= reload->retry_at_ms) {
        try_again(reload, output, command);
    }
    if (reload->pid > 0 && now_ms >= reload->deadline_ms) {
        log_error("the reload command takes longer than reload_timeout and is killed name=%s",
                  output->name);
        (void)kill(-reload->pid, SIGKILL);
        reload->deadline_ms = UINT64_MAX;
    }
    return MIN(reload->pid > 0 ? reload->deadline_ms : UINT64_MAX,
               reload->retry_at_ms > 0 ? reload->retry_at_ms : UINT64_MAX);
}
