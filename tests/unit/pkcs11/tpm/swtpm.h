/* A swtpm of a test's own: fresh state in a fresh folder, gone with the test. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SWTPM_WAIT_MS = 10000 };

struct swtpm {
    char folder[64];
    char socket[96];
    char tcti[128];
    pid_t pid;
};

static inline struct sockaddr_un swtpm_address(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    return address;
}

static inline int swtpm_connect(const char *path)
{
    struct sockaddr_un address = swtpm_address(path);
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(descriptor >= 0);
    if (connect(descriptor, (struct sockaddr *)&address, sizeof(address)) < 0) {
        (void)close(descriptor);
        return -1;
    }
    return descriptor;
}

/* Runs a program to its end and returns its exit status. */
static inline int swtpm_run(const char *const arguments[])
{
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        (void)dup2(null, STDOUT_FILENO);
        (void)execvp(arguments[0], (char *const *)arguments);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static inline void swtpm_start_flags(struct swtpm *swtpm, const char *flags)
{
    char state[96];
    char server[160];
    char control[160];
    char log[128];
    (void)snprintf(state, sizeof(state), "dir=%s", swtpm->folder);
    (void)snprintf(server, sizeof(server), "type=unixio,path=%s", swtpm->socket);
    (void)snprintf(control, sizeof(control), "type=unixio,path=%s.ctrl", swtpm->socket);
    (void)snprintf(log, sizeof(log), "file=%s/log,level=1", swtpm->folder);
    pid_t parent = getpid();
    swtpm->pid = fork();
    assert_true(swtpm->pid >= 0);
    if (swtpm->pid == 0) {
        /* A test that is killed leaves nothing running. */
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) {
            _exit(127);
        }
        (void)execlp("swtpm", "swtpm", "socket", "--tpm2", "--tpmstate", state, "--server", server,
                     "--ctrl", control, "--flags", flags, "--log", log, NULL);
        _exit(127);
    }
    for (int waited_ms = 0;; waited_ms += 2) {
        int descriptor = swtpm_connect(swtpm->socket);
        if (descriptor >= 0) {
            (void)close(descriptor);
            return;
        }
        if (waited_ms > SWTPM_WAIT_MS || waitpid(swtpm->pid, NULL, WNOHANG) != 0) {
            fail_msg("swtpm did not start; is it installed? its log is %s/log", swtpm->folder);
        }
        (void)poll(NULL, 0, 2);
    }
}

static inline void swtpm_start(struct swtpm *swtpm)
{
    swtpm_start_flags(swtpm, "not-need-init,startup-clear");
}

static inline void swtpm_new(struct swtpm *swtpm)
{
    *swtpm = (struct swtpm){.folder = "/tmp/signet-swtpm-XXXXXX"};
    assert_non_null(mkdtemp(swtpm->folder));
    (void)snprintf(swtpm->socket, sizeof(swtpm->socket), "%s/sock", swtpm->folder);
    (void)snprintf(swtpm->tcti, sizeof(swtpm->tcti), "swtpm:path=%s", swtpm->socket);
    swtpm_start(swtpm);
}

static inline void swtpm_kill(struct swtpm *swtpm, int number)
{
    assert_int_equal(kill(swtpm->pid, number), 0);
    assert_int_equal(waitpid(swtpm->pid, NULL, 0), swtpm->pid);
    swtpm->pid = 0;
}

static inline int swtpm_unlink(const char *path, const struct stat *status, int flag,
                               struct FTW *walk)
{
    (void)status;
    (void)flag;
    (void)walk;
    return remove(path);
}

static inline void swtpm_remove(struct swtpm *swtpm)
{
    if (swtpm->pid) {
        swtpm_kill(swtpm, SIGKILL);
    }
    (void)nftw(swtpm->folder, swtpm_unlink, 8, FTW_DEPTH | FTW_PHYS);
}

/* Power off and on without the process ending; nobody sends TPM2_Startup. */
static inline void swtpm_reboot(struct swtpm *swtpm)
{
    char control[128];
    (void)snprintf(control, sizeof(control), "%s.ctrl", swtpm->socket);
    const char *const arguments[] = {"swtpm_ioctl", "--unix", control, "-i", NULL};
    assert_int_equal(swtpm_run(arguments), 0);
}
