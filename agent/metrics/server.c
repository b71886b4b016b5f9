#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "agent/listener.h"
#include "agent/metrics/metrics.h"
#include "agent/metrics/scrape.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "lib/base/text.h"

/* How long nobody is accepted where there is no descriptor for it. */
enum { PAUSE_MS = 100, SOCKET_MODE = 0660, BACKLOG = 64 };

struct metrics_server {
    uv_loop_t *loop;
    void (*collect)(void *user, struct buffer *ret_text);
    void *user;
    struct listener listener;
    uv_poll_t poll;
    uv_timer_t pause;
    struct scrapes scrapes;
    unsigned open_handles;
    void (*stopped)(void *user);
    void *stopped_user;
    bool is_stopping;
};

static void watch_listener(struct metrics_server *server);

static void end_if_over(struct metrics_server *server)
{
    if (server->is_stopping && server->open_handles == 0 && server->scrapes.count == 0) {
        void (*stopped)(void *user) = server->stopped;
        void *user = server->stopped_user;
        free(server);
        stopped(user);
    }
}

static void collect(void *user, struct buffer *ret_text)
{
    struct metrics_server *server = user;
    server->collect(server->user, ret_text);
}

static void scrape_over(void *user)
{
    struct metrics_server *server = user;
    if (server->is_stopping) {
        end_if_over(server);
    } else if (!uv_is_active((uv_handle_t *)&server->pause)) {
        watch_listener(server);
    }
}

static void pause_ended(uv_timer_t *timer)
{
    watch_listener(timer->data);
}

/* Who comes while all places are taken waits in the listener's queue. */
static void on_connect(uv_poll_t *poll, int status, int events)
{
    struct metrics_server *server = poll->data;
    (void)status;
    (void)events;
    while (server->scrapes.count < METRICS_CONNECTIONS_MAX) {
        int descriptor =
            accept4(server->listener.descriptor, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (descriptor >= 0) {
            scrape_open(&server->scrapes, descriptor);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        } else if (errno != ECONNABORTED && errno != EINTR && errno != EPROTO) {
            (void)uv_timer_start(&server->pause, pause_ended, PAUSE_MS, 0);
            break;
        }
    }
    (void)uv_poll_stop(&server->poll);
}

static void watch_listener(struct metrics_server *server)
{
    (void)uv_poll_start(&server->poll, UV_READABLE, on_connect);
}

/* Where to listen. */

struct place {
    const char *path; /* of a unix socket; NULL: address */
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address;
    socklen_t address_size;
};

static int port_of(const char *text, in_port_t *ret_port)
{
    uint64_t port = 0;
    TRY(text_parse_u64(text, 1, UINT16_MAX, &port, NULL));
    *ret_port = htons((uint16_t)port);
    return 0;
}

static int read_unix(const char *rest, struct place *place)
{
    place->path = rest;
    return rest[0] == '/' && rest[1] != '\0' ? 0 : -1;
}

static int read_v4(const char *rest, struct place *place)
{
    place->address.v4 =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    place->address_size = sizeof(place->address.v4);
    return port_of(rest, &place->address.v4.sin_port);
}

static int read_v6(const char *rest, struct place *place)
{
    place->address.v6 =
        (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    place->address_size = sizeof(place->address.v6);
    return port_of(rest, &place->address.v6.sin6_port);
}

static const struct {
    const char *prefix;
    int (*read)(const char *rest, struct place *place);
} places[] = {{"unix:", read_unix}, {"127.0.0.1:", read_v4}, {"[::1]:", read_v6}};

static int place_of(const char *listen_text, struct place *ret_place, struct error *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        size_t size = strlen(places[i].prefix);
        *ret_place = (struct place){0};
        if (strncmp(listen_text, places[i].prefix, size) == 0 &&
            places[i].read(listen_text + size, ret_place) == 0) {
            return 0;
        }
    }
    return error_set(
        err, ERROR_INVALID_ARGUMENT,
        "metrics cannot listen on \"%s\"; expected \"unix:\" and an absolute path, such "
        "as \"unix:/run/signet/metrics.sock\", \"127.0.0.1:PORT\" or \"[::1]:PORT\"",
        listen_text);
}

int metrics_listen_check(const char *listen_text, struct error *err)
{
    struct place place;
    return place_of(listen_text, &place, err);
}

static int open_port(const struct place *place, const char *listen_text,
                     struct listener *ret_listener, struct error *err)
{
    static const int on = 1;
    _cleanup_(file_close_cleanup) int descriptor =
        socket(place->address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* So that an agent can start again while the last one's connections fade. */
    if (descriptor < 0 || setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(descriptor, &place->address.any, place->address_size) < 0 ||
        listen(descriptor, BACKLOG) < 0) {
        return error_set_errno(err, errno, "listening on %s for metrics", listen_text);
    }
    *ret_listener = (struct listener){.descriptor = file_take(&descriptor)};
    return 0;
}

static int open_place(const char *listen_text, struct listener *ret_listener, struct error *err)
{
    struct place place;
    TRY(place_of(listen_text, &place, err));
    if (!place.path) {
        return open_port(&place, listen_text, ret_listener, err);
    }
    if (listener_open(place.path, SOCKET_MODE, ret_listener, err) < 0) {
        return error_prepend(err, "listening on %s for metrics", listen_text);
    }
    return 0;
}

/* Life. */

int metrics_server_new(uv_loop_t *loop, const char *listen_text,
                       void (*collect_text)(void *user, struct buffer *ret_text), void *user,
                       struct metrics_server **ret_server, struct error *err)
{
    struct listener listener = {.descriptor = -1};
    TRY(open_place(listen_text, &listener, err));
    struct metrics_server *server = NEW(struct metrics_server);
    *server = (struct metrics_server){.loop = loop,
                                      .collect = collect_text,
                                      .user = user,
                                      .listener = listener,
                                      .open_handles = 2};
    scrapes_init(&server->scrapes, loop, collect, scrape_over, server);
    (void)uv_timer_init(loop, &server->pause);
    (void)uv_poll_init(loop, &server->poll, listener.descriptor);
    server->pause.data = server->poll.data = server;
    watch_listener(server);
    *ret_server = server;
    return 0;
}

static void handle_closed(uv_handle_t *handle)
{
    struct metrics_server *server = handle->data;
    server->open_handles--;
    end_if_over(server);
}

void metrics_server_stop(struct metrics_server *server, void (*stopped)(void *user), void *user)
{
    server->is_stopping = true;
    server->stopped = stopped;
    server->stopped_user = user;
    uv_close((uv_handle_t *)&server->poll, handle_closed);
    uv_close((uv_handle_t *)&server->pause, handle_closed);
    listener_close(&server->listener);
    scrapes_close(&server->scrapes);
}
