#include "pkcs11/module/host.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "pkcs11/module/host_process.h"
#include "pkcs11/module/host_protocol.h"
#include "pkcs11/module/host_socket.h"
#include "pkcs11/module/status.h"

enum { LANES_MAX = 32, END_GRACE_MS = 2000 };

static const char address_variable[] = "P11_KIT_SERVER_ADDRESS";

struct module_host {
    const struct module_config *config;
    struct host_process *process;
    struct host_socket socket;
    int control; /* -1: no process */
    unsigned lane_count;
    CK_FUNCTION_LIST *lanes[LANES_MAX];
    bool is_connected[LANES_MAX];
};

/* p11-kit-client.so takes its address from the environment each time it hands out functions. The
 * variable is added once and then only changed in place, so that a getenv on another thread never
 * meets an environment that moves a second time. */
static int load_lanes(struct module_host *host, unsigned lanes, struct error *err)
{
    static pthread_mutex_t environment = PTHREAD_MUTEX_INITIALIZER;
    int result = 0;
    (void)pthread_mutex_lock(&environment);
    (void)setenv(address_variable, host->socket.address, 1);
    const char *seen = secure_getenv(address_variable);
    if (!seen || strcmp(seen, host->socket.address) != 0) {
        result = error_set(err, ERROR_FAILED_PRECONDITION,
                           "isolating the module %s: p11-kit-client.so ignores %s in a program "
                           "with file capabilities or set-user-ID; start it without, or set "
                           "isolate = false",
                           host->config->module, address_variable);
    }
    for (unsigned i = 0; i < lanes && result == 0; i++) {
        host->lanes[i] = p11_kit_module_load("p11-kit-client.so", P11_KIT_MODULE_UNMANAGED);
        if (!host->lanes[i]) {
            const char *message = p11_kit_message();
            result = error_set(err, ERROR_FAILED_PRECONDITION,
                               "isolating the module %s: loading p11-kit-client.so: %s; install "
                               "the package p11-kit-modules",
                               host->config->module, message ? message : "no reason given");
        } else {
            host->lane_count = i + 1;
        }
    }
    (void)setenv(address_variable, "", 1);
    (void)pthread_mutex_unlock(&environment);
    return result;
}

/* Waits for what the new process says of the module. */
static int read_report(const struct module_host *host, struct error *err)
{
    struct host_report report = {0};
    struct pollfd wait = {.fd = host->control, .events = POLLIN};
    const char *module = host->config->module;
    int timeout_ms = (int)host_process_timeout_ms(host->process);
    int ready;
    do {
        ready = poll(&wait, 1, timeout_ms);
    } while (ready < 0 && errno == EINTR);
    if (ready == 0) {
        return error_set(err, ERROR_UNAVAILABLE,
                         "loading the module %s in a process of its own: no answer in %d ms",
                         module, timeout_ms);
    }
    ssize_t count = recv(host->control, &report, sizeof(report), 0);
    if (count != sizeof(report) || report.version != HOST_PROTOCOL_VERSION) {
        return error_set(err, ERROR_UNAVAILABLE,
                         "loading the module %s in a process of its own: %s", module,
                         count == 0 ? "the process ended; the module or the program crashed"
                                    : "the program started is not this version of signetd");
    }
    report.error.text[sizeof(report.error.text) - 1] = '\0';
    return report.error.code == ERROR_OK
               ? 0
               : error_set(err, report.error.code, "in a process of its own: %s",
                           report.error.text);
}

/* Their end of the control socket is only theirs from then on; else its end would not be seen. */
static int start_process(struct module_host *host, struct error *err)
{
    int pair[2];
    _cleanup_(file_close_cleanup) int listener = -1;
    TRY(host_socket_listen(&host->socket, LANES_MAX, &listener, err));
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        return error_set_errno(err, errno, "preparing to isolate the module %s",
                               host->config->module);
    }
    host->control = pair[0];
    _cleanup_(file_close_cleanup) int theirs = pair[1];
    return host_process_start(host->process, listener, theirs, err);
}

static int connect_lanes(struct module_host *host, struct error *err)
{
    CK_C_INITIALIZE_ARGS arguments = {.flags = CKF_OS_LOCKING_OK};
    struct module_where where = {host->config->module, ""};
    for (unsigned i = 0; i < host->lane_count; i++) {
        module_host_call_begin(host, i);
        CK_RV rv = host->lanes[i]->C_Initialize(&arguments);
        module_host_call_end(host, i);
        if (rv != CKR_OK) {
            (void)module_status_set(err, rv, "C_Initialize", &where);
            err->code = ERROR_UNAVAILABLE;
            return error_prepend(err, "connecting to the process of an isolated module");
        }
        host->is_connected[i] = true;
    }
    unsigned connected = host_socket_protect(&host->socket);
    if (connected != host->lane_count) {
        return error_set(err, ERROR_UNAVAILABLE,
                         "connecting to the process of the module %s: %u of %u connections were "
                         "made",
                         host->config->module, connected, host->lane_count);
    }
    return 0;
}

static void disconnect_lanes(struct module_host *host)
{
    for (unsigned i = 0; i < host->lane_count; i++) {
        if (host->is_connected[i]) {
            host->is_connected[i] = false;
            module_host_call_begin(host, i);
            (void)host->lanes[i]->C_Finalize(NULL);
            module_host_call_end(host, i);
        }
    }
}

static void stop(struct module_host *host, unsigned grace_ms)
{
    if (grace_ms == 0) {
        host_process_end(host->process, 0);
    }
    disconnect_lanes(host);
    host_process_end(host->process, grace_ms);
    file_close_cleanup(&host->control);
    host->control = -1;
}

static int start(struct module_host *host, struct error *err)
{
    int result = start_process(host, err);
    if (result == 0) {
        result = read_report(host, err);
    }
    if (result == 0) {
        result = connect_lanes(host, err);
    }
    host_socket_hide(&host->socket);
    if (result < 0) {
        stop(host, 0);
    }
    return result;
}

int module_host_open(const struct module_config *config, const char *keystore, unsigned lanes,
                     struct module_host **ret_host, struct error *err)
{
    _cleanup_(module_host_close_cleanup) struct module_host *host = NEW(struct module_host);
    host->config = config;
    host->control = -1;
    host->socket.folder = -1;
    lanes = MIN(lanes, LANES_MAX);
    p11_kit_be_quiet();
    TRY(host_process_new(config, keystore, lanes, &host->process, err));
    TRY(host_socket_init(&host->socket, err));
    TRY(load_lanes(host, lanes, err));
    TRY(start(host, err));
    *ret_host = take_ptr(host);
    return 0;
}

void module_host_close(struct module_host *host)
{
    if (host->process) {
        stop(host, host->control >= 0 ? END_GRACE_MS : 0);
        host_process_free(host->process);
    }
    for (unsigned i = 0; i < host->lane_count; i++) {
        p11_kit_module_release(host->lanes[i]);
    }
    host_socket_clear(&host->socket);
    free(host);
}

CK_FUNCTION_LIST *module_host_lane(const struct module_host *host, unsigned lane)
{
    return host->lanes[lane];
}

void module_host_call_begin(struct module_host *host, unsigned lane)
{
    host_process_timer_start(host->process, lane);
}

void module_host_call_end(struct module_host *host, unsigned lane)
{
    host_process_timer_stop(host->process, lane);
}

CK_RV module_host_login(struct module_host *host, unsigned lane, CK_SESSION_HANDLE session,
                        struct bytes pin)
{
    if (send(host->control, pin.data, pin.size, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)pin.size) {
        return CKR_DEVICE_ERROR;
    }
    return host->lanes[lane]->C_Login(session, CKU_USER, NULL, 0);
}

int module_host_restart(struct module_host *host, struct error *err)
{
    stop(host, 0);
    return start(host, err);
}
