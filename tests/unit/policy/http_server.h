/* An HTTP server in threads that misbehaves as it is told, on a unix socket or a loopback port. */
#pragma once

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/memory.h"
#include "lib/base/text.h"

enum { HTTP_CONNECTIONS_MAX = 4096, HTTP_REQUEST_MAX = 65536 };

enum http_manner {
    HTTP_ANSWERS,       /* sends text, and waits for the next request */
    HTTP_ENDS,          /* sends text, and closes */
    HTTP_REPEATS,       /* sends text without end, as fast as it is taken */
    HTTP_DRIPS,         /* sends text without end, a byte each 10 ms */
    HTTP_WAITS,         /* sends text, then nothing, and does not close */
    HTTP_WAITS_SHORTLY, /* as HTTP_ANSWERS after 20 ms */
    HTTP_RESETS,        /* closes before it has read the request */
};

struct http_server {
    int listener;
    pthread_t thread;
    pthread_t threads[HTTP_CONNECTIONS_MAX];
    size_t thread_count;
    atomic_bool is_stopping;
    atomic_int connections, most_at_once, at_once, requests;

    pthread_mutex_t lock; /* for the rest */
    enum http_manner manner;
    const char *text;
    char request[HTTP_REQUEST_MAX]; /* the last one */
};

struct http_connection {
    struct http_server *server;
    int descriptor;
};

static inline bool http_pause(struct http_connection *connection, int ms)
{
    struct pollfd gone = {.fd = connection->descriptor, .events = POLLRDHUP};
    (void)poll(&gone, 1, ms);
    return gone.revents == 0 && !atomic_load(&connection->server->is_stopping);
}

static inline bool http_send(struct http_connection *connection, const char *data, size_t size)
{
    while (size > 0 && !atomic_load(&connection->server->is_stopping)) {
        ssize_t count = send(connection->descriptor, data, size, MSG_NOSIGNAL);
        if (count <= 0) {
            return false;
        }
        data += count;
        size -= (size_t)count;
    }
    return size == 0;
}

/* One whole request, into text; false: the client has closed. */
static inline bool http_read(struct http_connection *connection, char *text)
{
    size_t size = 0;
    size_t wanted = SIZE_MAX;
    while (size < wanted && size < HTTP_REQUEST_MAX - 1) {
        ssize_t count = recv(connection->descriptor, text + size, HTTP_REQUEST_MAX - 1 - size, 0);
        if (count <= 0) {
            return false;
        }
        size += (size_t)count;
        text[size] = '\0';
        const char *end = strstr(text, "\r\n\r\n");
        const char *length = strcasestr(text, "content-length: ");
        if (end && length) {
            wanted = (size_t)(end + 4 - text) + strtoul(length + 16, NULL, 10);
        }
    }
    return true;
}

static inline bool http_act(struct http_connection *connection, enum http_manner manner,
                            const char *text)
{
    size_t size = strlen(text);
    switch (manner) {
    case HTTP_WAITS_SHORTLY:
        return http_pause(connection, 20) && http_send(connection, text, size);
    case HTTP_ANSWERS:
        return http_send(connection, text, size);
    case HTTP_REPEATS:
        while (http_send(connection, text, size)) {
        }
        return false;
    case HTTP_DRIPS:
        for (size_t i = 0; http_send(connection, text + i, 1) && http_pause(connection, 10);) {
            i = (i + 1) % size;
        }
        return false;
    case HTTP_WAITS:
        (void)http_send(connection, text, size);
        while (http_pause(connection, 100)) {
        }
        return false;
    case HTTP_ENDS:
        (void)http_send(connection, text, size);
        return false;
    case HTTP_RESETS:
        break;
    }
    return false;
}

static inline void *http_connection_main(void *user)
{
    _cleanup_(free_cleanup) struct http_connection *connection = user;
    struct http_server *server = connection->server;
    _cleanup_(free_cleanup) char *request = memory_new(HTTP_REQUEST_MAX);
    bool goes_on = true;
    (void)pthread_mutex_lock(&server->lock);
    goes_on = server->manner != HTTP_RESETS;
    (void)pthread_mutex_unlock(&server->lock);
    while (goes_on && http_read(connection, request)) {
        int at_once = atomic_fetch_add(&server->at_once, 1) + 1;
        int most = atomic_load(&server->most_at_once);
        while (at_once > most &&
               !atomic_compare_exchange_weak(&server->most_at_once, &most, at_once)) {
        }
        (void)pthread_mutex_lock(&server->lock);
        memcpy(server->request, request, strlen(request) + 1);
        enum http_manner manner = server->manner;
        _cleanup_(free_cleanup) char *text = memory_copy_text(server->text);
        (void)pthread_mutex_unlock(&server->lock);
        (void)atomic_fetch_add(&server->requests, 1);
        goes_on = http_act(connection, manner, text);
        (void)atomic_fetch_sub(&server->at_once, 1);
    }
    (void)close(connection->descriptor);
    return NULL;
}

static inline void *http_server_main(void *user)
{
    struct http_server *server = user;
    while (!atomic_load(&server->is_stopping)) {
        int descriptor = accept(server->listener, NULL, NULL);
        if (descriptor < 0 || server->thread_count == HTTP_CONNECTIONS_MAX) {
            break;
        }
        /* So that every thread looks now and then whether it has to end. */
        (void)setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){.tv_sec = 10},
                         sizeof(struct timeval));
        (void)setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &(struct timeval){.tv_sec = 1},
                         sizeof(struct timeval));
        struct http_connection *connection = NEW(struct http_connection);
        *connection = (struct http_connection){server, descriptor};
        (void)atomic_fetch_add(&server->connections, 1);
        if (pthread_create(&server->threads[server->thread_count], NULL, http_connection_main,
                           connection) != 0) {
            abort();
        }
        server->thread_count++;
    }
    return NULL;
}

static inline void http_server_begin(struct http_server *server, int listener)
{
    server->listener = listener;
    server->text = "";
    (void)pthread_mutex_init(&server->lock, NULL);
    if (listen(listener, 128) < 0 ||
        pthread_create(&server->thread, NULL, http_server_main, server) != 0) {
        abort();
    }
}

static inline void http_server_on_path(struct http_server *server, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    (void)unlink(path);
    if (bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0) {
        abort();
    }
    http_server_begin(server, listener);
}

/* Returns the port. */
static inline int http_server_on_loopback(struct http_server *server)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) < 0) {
        abort();
    }
    http_server_begin(server, listener);
    return ntohs(address.sin_port);
}

static inline void http_server_set(struct http_server *server, enum http_manner manner,
                                   const char *text)
{
    (void)pthread_mutex_lock(&server->lock);
    server->manner = manner;
    server->text = text;
    (void)pthread_mutex_unlock(&server->lock);
}

/* Its clients must have closed their connections. */
static inline void http_server_end(struct http_server *server)
{
    atomic_store(&server->is_stopping, true);
    (void)shutdown(server->listener, SHUT_RDWR);
    (void)pthread_join(server->thread, NULL);
    for (size_t i = 0; i < server->thread_count; i++) {
        (void)pthread_join(server->threads[i], NULL);
    }
    (void)close(server->listener);
    (void)pthread_mutex_destroy(&server->lock);
}
