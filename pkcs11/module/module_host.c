/* The process of an isolated module. It holds the listening socket on descriptor 3 and the control
 * socket on 4 (host_protocol.h), serves connections of the process that made them and nobody else,
 * and ends with the last connection or with that process. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define P11_KIT_FUTURE_UNSTABLE_API
#include <p11-kit/remote.h>

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "lib/base/secret.h"
#include "pkcs11/module/host_protocol.h"
#include "pkcs11/module/load.h"
#include "pkcs11/module/module.h"

enum { CONNECTIONS_MAX = 32 };

/* One module a process: the functions below have no argument that could lead to it. Written before
 * the first connection is served; connections counts under atomics. */
static struct {
    CK_FUNCTION_LIST *module;
    CK_FUNCTION_LIST served; /* the module's functions but for the three below */
    _Atomic unsigned connections;
} host;

/* Each connection initializes and finalizes once; for the module that is this process's business.
 */
static CK_RV serve_initialize(void *arguments)
{
    (void)arguments;
    return CKR_OK;
}

static CK_RV serve_finalize(void *reserved)
{
    (void)reserved;
    return CKR_OK;
}

/* The PIN was sent ahead on the control socket; of several the last counts. */
static CK_RV serve_login(CK_SESSION_HANDLE session, CK_USER_TYPE user, unsigned char *pin,
                         CK_ULONG pin_size)
{
    (void)pin;
    (void)pin_size;
    _cleanup_(secret_clear) struct secret secret = {0};
    size_t size = 0;
    bool has_pin = false;
    ssize_t count;
    if (secret_new(HOST_PIN_MAX_BYTES, &secret, NULL) < 0) {
        return CKR_HOST_MEMORY;
    }
    while ((count = recv(HOST_DESCRIPTOR_CONTROL, secret.data, secret.size, MSG_DONTWAIT)) > 0) {
        size = (size_t)count;
        has_pin = true;
    }
    return host.module->C_Login(session, user, has_pin ? secret.data : NULL, size);
}

static int listener_owner(pid_t *ret_owner)
{
    struct ucred owner = {0};
    socklen_t size = sizeof(owner);
    int is_listening = 0;
    socklen_t flag_size = sizeof(is_listening);
    if (getsockopt(HOST_DESCRIPTOR_LISTENER, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &flag_size) <
            0 ||
        !is_listening ||
        getsockopt(HOST_DESCRIPTOR_LISTENER, SOL_SOCKET, SO_PEERCRED, &owner, &size) < 0) {
        return -1;
    }
    *ret_owner = owner.pid;
    return 0;
}

/* Ends with the agent, leaves no core, gains no privilege. The agent decides when to stop it, so
 * signals sent to the whole service or terminal are left to the agent. */
static int confine(pid_t owner, struct error *err)
{
    static const int ignored[] = {SIGPIPE, SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < ARRAY_SIZE(ignored); i++) {
        (void)signal(ignored[i], SIG_IGN);
    }
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        close_range(HOST_DESCRIPTOR_END, ~0U, 0) < 0) {
        return error_set_errno(err, errno, "confining the process of a module");
    }
    if (getppid() != owner) {
        return error_set(err, ERROR_CANCELLED, "the agent that started this process is gone");
    }
    return secret_init(err);
}

static int report(const struct error *err)
{
    struct host_report message = {HOST_PROTOCOL_VERSION, *err};
    return send(HOST_DESCRIPTOR_CONTROL, &message, sizeof(message), MSG_NOSIGNAL) ==
                   (ssize_t)sizeof(message)
               ? 0
               : -1;
}

static void *serve(void *argument)
{
    int *connection = argument;
    (void)p11_kit_remote_serve_module(&host.served, *connection, *connection);
    (void)close(*connection);
    free(connection);
    if (atomic_fetch_sub(&host.connections, 1) == 1) {
        /* Wakes the thread that accepts. */
        (void)shutdown(HOST_DESCRIPTOR_LISTENER, SHUT_RDWR);
    }
    return NULL;
}

static void start_serving(int connection, const pthread_attr_t *attributes)
{
    pthread_t thread;
    int *argument = NEW(int);
    *argument = connection;
    (void)atomic_fetch_add(&host.connections, 1);
    if (pthread_create(&thread, attributes, serve, argument) != 0) {
        (void)atomic_fetch_sub(&host.connections, 1);
        (void)close(connection);
        free(argument);
    }
}

static void accept_all(pid_t owner)
{
    pthread_attr_t detached;
    (void)pthread_attr_init(&detached);
    (void)pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    for (;;) {
        int connection = accept4(HOST_DESCRIPTOR_LISTENER, NULL, NULL, SOCK_CLOEXEC);
        if (connection < 0 && (errno == EINTR || errno == ECONNABORTED)) {
            continue;
        }
        if (connection < 0) {
            break;
        }
        struct ucred peer = {0};
        socklen_t size = sizeof(peer);
        if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 ||
            peer.pid != owner || atomic_load(&host.connections) >= CONNECTIONS_MAX) {
            (void)close(connection);
            continue;
        }
        start_serving(connection, &detached);
    }
    (void)pthread_attr_destroy(&detached);
}

int module_host_main(const char *module)
{
    struct error err = {0};
    pid_t owner = 0;
    if (listener_owner(&owner) < 0) {
        log_error("--module-host is for signetd itself, which starts it with a socket on "
                  "descriptor %d",
                  HOST_DESCRIPTOR_LISTENER);
        return 2;
    }
    if (confine(owner, &err) < 0 || module_load(module, &host.module, &err) < 0) {
        (void)report(&err);
        return 1;
    }
    host.served = *host.module;
    /* The copy has the functions of version 2 only. */
    host.served.version = (CK_VERSION){2, 40};
    host.served.C_Initialize = serve_initialize;
    host.served.C_Finalize = serve_finalize;
    host.served.C_Login = serve_login;
    if (report(&err) == 0) {
        accept_all(owner);
    }
    module_unload(host.module);
    return 0;
}
