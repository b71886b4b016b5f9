#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/rpc/server_internal.h"

/* Connections accepted before those that are open get their turn again. */
enum { ACCEPTS_PER_TURN = 16 };
/* Without a free descriptor the listener would be readable without end: it is not watched for a
 * while. */
enum { PAUSE_MS = 100, COMPLAINT_INTERVAL_MS = 60000 };

static void complain(struct rpc_server *server, const char *reason)
{
    uint64_t now_ms = uv_now(server->loop);
    if (server->complained_ms == 0 || now_ms - server->complained_ms >= COMPLAINT_INTERVAL_MS) {
        server->complained_ms = now_ms;
        log_warning("cannot accept a connection: %s connections=%zu", reason,
                    server->connection_count);
    }
}

static void watch(struct rpc_server *server, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = server};
    (void)epoll_ctl(server->epoll, EPOLL_CTL_MOD, server->listener, &event);
}

static void pause_accepting(struct rpc_server *server, int errno_value)
{
    char reason[128];
    complain(server, strerror_r(errno_value, reason, sizeof(reason)));
    server->accept_again_ms = uv_now(server->loop) + PAUSE_MS;
    watch(server, 0);
}

void listener_resume(struct rpc_server *server)
{
    server->accept_again_ms = 0;
    watch(server, EPOLLIN);
}

static bool is_about_one_connection(int errno_value)
{
    return errno_value == ECONNABORTED || errno_value == EINTR || errno_value == EPROTO;
}

void listener_accept(struct rpc_server *server)
{
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        int descriptor = accept4(server->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (descriptor >= 0) {
            if (server->connection_count >= server->config.limits.connections) {
                complain(server, "the limit of connections is reached");
                (void)close(descriptor);
                continue;
            }
            server_open_connection(server, descriptor);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        } else if (!is_about_one_connection(errno)) {
            pause_accepting(server, errno);
            return;
        }
    }
}
