/* A proxy between a TPM's users and a swtpm that misbehaves on command; for tests. */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "hw-sim/tpm-proxy/pace.h"
#include "hw-sim/tpm-proxy/proxy.h"
#include "lib/base/memory.h"
#include "lib/base/text.h"

static const char usage[] =
    "usage: tpm-proxy --listen PATH --tpm PATH --control PATH\n"
    "       tpm-proxy --control PATH WORD...\n"
    "Passes the commands that come in at the unix socket --listen on to the swtpm at the unix\n"
    "socket --tpm (TCTI swtpm:path=PATH for both), one at a time, and misbehaves as it is told at\n"
    "the unix socket --control. The second form tells a proxy that runs, prints what it says, and\n"
    "exits 0 when it obeyed.\n"
    "\n"
    "  delay MS [WHEN]   wait, then pass the command on\n"
    "  drop [WHEN]       hang up; the TPM does not see the command\n"
    "  lose [WHEN]       pass the command on, and hang up instead of the answer\n"
    "  hang [WHEN]       no answer until the fault is cleared; then pass the command on\n"
    "  answer RC [WHEN]  the response code RC; the TPM does not see the command\n"
    "  clear             take back all of the above\n"
    "  pace discrete     answer as slowly as a real discrete TPM does (pace.c); pace none ends it\n"
    "  reset [bare]      power off and on, then TPM2_Startup(CLEAR) as firmware does; bare: "
    "without\n"
    "  count [reset]     commands by kind; ms that the TPM was busy, and idle between two "
    "commands;\n"
    "                    reset: starts to count anew\n"
    "\n"
    "WHEN: [on COMMAND] [next N | each N], such as: answer 0x922 on Sign next 3\n"
    "      COMMAND is the name or the code of a TPM command; without it any is meant. next: for "
    "so\n"
    "      many of them; each: for each N-th; neither: for all. The first fault that applies "
    "counts.\n";

enum {
    CONNECTIONS_MAX = 64,
    LINE_MAX_BYTES = 512,
    CONTROL_LIMIT_S = 5,
    HANG_LOOK_MS = 20,
};

struct connection {
    struct proxy *proxy;
    int descriptor;
};

static uint64_t now_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void wait_until_us(uint64_t end_us)
{
    const struct timespec end = {.tv_sec = (time_t)(end_us / 1000000),
                                 .tv_nsec = (long)(end_us % 1000000) * 1000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL) == EINTR) {
    }
}

/* With the lock held. */
static void count_command(struct proxy *proxy, uint32_t code)
{
    size_t i = 0;
    while (i < proxy->count && proxy->counts[i].code != code) {
        i++;
    }
    if (i == PROXY_COUNTS_MAX) {
        return;
    }
    if (i == proxy->count) {
        proxy->count++;
        proxy->counts[i].code = code;
        proxy->counts[i].commands = 0;
    }
    proxy->counts[i].commands++;
}

static struct fault begin(struct proxy *proxy, uint32_t code, uint64_t arrived_us)
{
    (void)pthread_mutex_lock(&proxy->lock);
    count_command(proxy, code);
    struct fault fault = fault_take(&proxy->faults, code);
    if (proxy->last_end_us > 0 && arrived_us > proxy->last_end_us) {
        uint64_t idle_us = arrived_us - proxy->last_end_us;
        proxy->idle_us += idle_us;
        proxy->longest_idle_us = MAX(proxy->longest_idle_us, idle_us);
    }
    (void)pthread_mutex_unlock(&proxy->lock);
    return fault;
}

static void end(struct proxy *proxy, uint64_t began_us)
{
    (void)pthread_mutex_lock(&proxy->lock);
    proxy->last_end_us = now_us();
    proxy->busy_us += proxy->last_end_us - began_us;
    (void)pthread_mutex_unlock(&proxy->lock);
}

/* Returns when the fault is cleared, or the client has hung up. */
static void hang(const struct connection *connection, const struct fault *fault)
{
    struct proxy *proxy = connection->proxy;
    struct pollfd polled = {.fd = connection->descriptor, .events = POLLRDHUP};
    bool is_there = true;
    while (is_there && poll(&polled, 1, HANG_LOOK_MS) == 0) {
        (void)pthread_mutex_lock(&proxy->lock);
        is_there = fault_is_there(&proxy->faults, fault->number);
        (void)pthread_mutex_unlock(&proxy->lock);
    }
}

static bool ask_tpm(const struct proxy *proxy, const struct message *command,
                    struct message *ret_answer)
{
    int descriptor = message_connect(proxy->tpm_path);
    bool is_answered = descriptor >= 0 && message_write(descriptor, command) &&
                       message_read(descriptor, ret_answer);
    if (descriptor >= 0) {
        (void)close(descriptor);
    }
    return is_answered;
}

static bool pass_on(struct proxy *proxy, const struct message *command, struct message *ret_answer)
{
    uint64_t began_us = now_us();
    bool is_answered = ask_tpm(proxy, command, ret_answer);
    (void)pthread_mutex_lock(&proxy->lock);
    bool is_discrete = proxy->is_discrete;
    (void)pthread_mutex_unlock(&proxy->lock);
    if (is_answered && is_discrete) {
        unsigned pace_ms = pace_discrete_ms(message_code(command), ret_answer);
        wait_until_us(began_us + (uint64_t)pace_ms * 1000);
    }
    return is_answered;
}

/* Returns whether there is an answer to give; without one the connection ends. */
static bool answer_command(const struct connection *connection, const struct fault *fault,
                           const struct message *command, struct message *ret_answer)
{
    switch (fault->kind) {
    case FAULT_ANSWER:
        message_of_code(fault->value, ret_answer);
        return true;
    case FAULT_DROP:
        return false;
    case FAULT_LOSE:
        (void)pass_on(connection->proxy, command, ret_answer);
        return false;
    case FAULT_DELAY:
        wait_until_us(now_us() + (uint64_t)fault->value * 1000);
        break;
    case FAULT_HANG:
        hang(connection, fault);
        break;
    case FAULT_NONE:
        break;
    }
    return pass_on(connection->proxy, command, ret_answer);
}

static bool serve_command(const struct connection *connection)
{
    struct message command;
    struct message answer;
    struct proxy *proxy = connection->proxy;
    if (!message_read(connection->descriptor, &command)) {
        return false;
    }
    uint64_t arrived_us = now_us();
    (void)pthread_mutex_lock(&proxy->tpm_lock);
    uint64_t began_us = now_us();
    struct fault fault = begin(proxy, message_code(&command), arrived_us);
    bool is_answered = answer_command(connection, &fault, &command, &answer);
    end(proxy, began_us);
    (void)pthread_mutex_unlock(&proxy->tpm_lock);
    return is_answered && message_write(connection->descriptor, &answer);
}

static void *serve(void *argument)
{
    struct connection *connection = argument;
    struct proxy *proxy = connection->proxy;
    while (serve_command(connection)) {
    }
    (void)close(connection->descriptor);
    free(connection);
    (void)pthread_mutex_lock(&proxy->lock);
    proxy->connections--;
    (void)pthread_mutex_unlock(&proxy->lock);
    return NULL;
}

static void accept_client(struct proxy *proxy, int listener)
{
    pthread_t thread;
    pthread_attr_t detached;
    struct connection *connection = NEW(struct connection);
    *connection = (struct connection){proxy, accept4(listener, NULL, NULL, SOCK_CLOEXEC)};
    (void)pthread_mutex_lock(&proxy->lock);
    bool has_room = connection->descriptor >= 0 && proxy->connections < CONNECTIONS_MAX;
    proxy->connections += has_room ? 1 : 0;
    (void)pthread_mutex_unlock(&proxy->lock);
    (void)pthread_attr_init(&detached);
    (void)pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    if (has_room && pthread_create(&thread, &detached, serve, connection) != 0) {
        (void)pthread_mutex_lock(&proxy->lock);
        proxy->connections--;
        (void)pthread_mutex_unlock(&proxy->lock);
        has_room = false;
    }
    (void)pthread_attr_destroy(&detached);
    if (!has_room) {
        if (connection->descriptor >= 0) {
            (void)close(connection->descriptor);
        }
        free(connection);
    }
}

/* One line in, the answer out. */
static void accept_control(struct proxy *proxy, int listener)
{
    static const struct timeval limit = {.tv_sec = CONTROL_LIMIT_S};
    char line[LINE_MAX_BYTES + 1] = {0};
    _cleanup_(buffer_clear) struct buffer answer = {0};
    int descriptor = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (descriptor < 0) {
        return;
    }
    (void)setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    (void)setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    if (recv(descriptor, line, LINE_MAX_BYTES, 0) > 0) {
        control_obey(proxy, line, &answer);
        (void)send(descriptor, answer.data, answer.size, MSG_NOSIGNAL);
    }
    (void)close(descriptor);
}

/* Clients of the TCTI reach the swtpm's own control channel beside the socket. */
static int link_control_channel(const char *listen, const char *tpm, struct error *err)
{
    _cleanup_(free_cleanup) char *from = text_format("%s.ctrl", listen);
    _cleanup_(free_cleanup) char *to = text_format("%s.ctrl", tpm);
    (void)unlink(from);
    return symlink(to, from) == 0 ? 0 : error_set_errno(err, errno, "linking %s to %s", from, to);
}

static int run(const char *listen, const char *tpm, const char *control, struct error *err)
{
    _cleanup_(free_cleanup) struct proxy *proxy = NEW(struct proxy);
    (void)pthread_mutex_init(&proxy->tpm_lock, NULL);
    (void)pthread_mutex_init(&proxy->lock, NULL);
    proxy->tpm_path = tpm;
    TRY(link_control_channel(listen, tpm, err));
    struct pollfd polled[] = {
        {.fd = message_listen(listen), .events = POLLIN},
        {.fd = message_listen(control), .events = POLLIN},
    };
    if (polled[0].fd < 0 || polled[1].fd < 0) {
        return error_set_errno(err, errno, "listening at %s", polled[0].fd < 0 ? listen : control);
    }
    for (;;) {
        if (poll(polled, ARRAY_SIZE(polled), -1) < 0) {
            continue;
        }
        if (polled[0].revents) {
            accept_client(proxy, polled[0].fd);
        }
        if (polled[1].revents) {
            accept_control(proxy, polled[1].fd);
        }
    }
}

static int tell(const char *control, char *const words[], int count, bool *ret_is_obeyed,
                struct error *err)
{
    _cleanup_(buffer_clear) struct buffer line = {0};
    _cleanup_(buffer_clear) struct buffer answer = {0};
    for (int i = 0; i < count; i++) {
        buffer_append_text(&line, words[i]);
        buffer_append_text(&line, " ");
    }
    int descriptor = message_connect(control);
    if (descriptor < 0 ||
        send(descriptor, line.data, line.size, MSG_NOSIGNAL) != (ssize_t)line.size) {
        return error_set_errno(err, errno, "telling the proxy at %s", control);
    }
    int result = buffer_read_descriptor(descriptor, control, 65536, &answer, err);
    (void)close(descriptor);
    TRY(result);
    (void)fwrite(answer.data, 1, answer.size, stdout);
    *ret_is_obeyed = answer.size >= 3 && memcmp(answer.data + answer.size - 3, "ok\n", 3) == 0;
    return 0;
}

static int fail(const struct error *err)
{
    (void)fprintf(stderr, "tpm-proxy: %s\n", err->text);
    return EXIT_FAILURE;
}

int main(int argc, char *argv[])
{
    static const struct option options[] = {
        {"listen", required_argument, NULL, 'l'},
        {"tpm", required_argument, NULL, 't'},
        {"control", required_argument, NULL, 'c'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    const char *paths[128] = {NULL};
    struct error err = {0};
    bool is_obeyed = false;
    int option = 0;
    while ((option = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
        if (option == 'h' || option == '?') {
            (void)fputs(usage, option == 'h' ? stdout : stderr);
            return option == 'h' ? EXIT_SUCCESS : 2;
        }
        paths[option] = optarg;
    }
    if (paths['c'] && optind < argc && !paths['l'] && !paths['t']) {
        if (tell(paths['c'], argv + optind, argc - optind, &is_obeyed, &err) < 0) {
            return fail(&err);
        }
        return is_obeyed ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    if (!paths['c'] || !paths['l'] || !paths['t'] || optind < argc) {
        (void)fputs(usage, stderr);
        return 2;
    }
    return run(paths['l'], paths['t'], paths['c'], &err) < 0 ? fail(&err) : EXIT_SUCCESS;
}
