#include "agent/token/tokens.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/token/state.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

/* Connections accepted before others get their turn; how long to wait without a descriptor. */
enum { ACCEPTS_PER_TURN = 16, PAUSE_MS = 100 };

static void watch_listener(struct tokens *tokens);

static void pause_ended(uv_timer_t *timer)
{
    watch_listener(timer->data);
}

/* Without a free descriptor the listener would be readable without end. */
static void pause_accepting(struct tokens *tokens, int errno_value)
{
    char reason[128];
    uint64_t unlogged = 0;
    if (log_gate_opens(&tokens->complaints, &unlogged)) {
        log_warning("cannot accept a connection to the PKCS#11 socket: %s (%llu more such failures "
                    "not logged)",
                    strerror_r(errno_value, reason, sizeof(reason)), (unsigned long long)unlogged);
    }
    (void)uv_poll_stop(&tokens->listener_poll);
    (void)uv_timer_start(&tokens->pause, pause_ended, PAUSE_MS, 0);
}

static void on_connect(uv_poll_t *poll, int status, int events)
{
    struct tokens *tokens = poll->data;
    (void)status;
    (void)events;
    for (int i = 0; i < ACCEPTS_PER_TURN && !tokens->stopped; i++) {
        int descriptor = accept4(tokens->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (descriptor >= 0) {
            holder_open(tokens, descriptor);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        } else if (errno != ECONNABORTED && errno != EINTR && errno != EPROTO) {
            pause_accepting(tokens, errno);
            return;
        }
    }
}

static void watch_listener(struct tokens *tokens)
{
    (void)uv_poll_start(&tokens->listener_poll, UV_READABLE, on_connect);
}

static void on_mail(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    mailbox_deliver(((struct tokens *)poll->data)->mailbox);
}

static void tokens_free(struct tokens *tokens)
{
    void (*stopped)(void *) = tokens->stopped;
    void *user = tokens->stopped_user;
    if (tokens->server) {
        token_server_free(tokens->server);
    }
    if (tokens->mailbox) {
        mailbox_deliver(tokens->mailbox); /* what the server has posted at last frees itself */
        mailbox_free(tokens->mailbox);
    }
    contents_clear(tokens);
    file_close_cleanup(&tokens->listener);
    free(tokens);
    if (stopped) {
        stopped(user);
    }
}

static void handle_closed(uv_handle_t *handle)
{
    struct tokens *tokens = handle->data;
    if (--tokens->open_handles == 0) {
        tokens_free(tokens);
    }
}

static void close_handles(struct tokens *tokens)
{
    uv_handle_t *handles[] = {(uv_handle_t *)&tokens->listener_poll,
                              (uv_handle_t *)&tokens->mailbox_poll, (uv_handle_t *)&tokens->pause};
    for (size_t i = 0; i < ARRAY_SIZE(handles); i++) {
        uv_close(handles[i], handle_closed);
    }
}

static int open_handles(struct tokens *tokens, struct error *err)
{
    /* Connections inherit it: the kernel then says who wrote also what comes before they are
     * served.
     */
    const int is_wanted = 1;
    if (setsockopt(tokens->listener, SOL_SOCKET, SO_PASSCRED, &is_wanted, sizeof(is_wanted)) < 0) {
        return error_set_errno(err, errno, "asking for credentials on the PKCS#11 socket");
    }
    TRY(mailbox_new(&tokens->mailbox, err));
    const struct token_server_config config = {.mailbox = tokens->mailbox};
    TRY(token_server_new(&config, &tokens->server, err));
    int status = uv_poll_init(tokens->loop, &tokens->listener_poll, tokens->listener);
    if (status < 0) {
        return error_set(err, ERROR_INTERNAL, "watching the PKCS#11 socket: %s",
                         uv_strerror(status));
    }
    /* Its descriptor is an eventfd, which epoll takes. */
    (void)uv_poll_init(tokens->loop, &tokens->mailbox_poll, mailbox_descriptor(tokens->mailbox));
    (void)uv_timer_init(tokens->loop, &tokens->pause);
    tokens->listener_poll.data = tokens->mailbox_poll.data = tokens->pause.data = tokens;
    tokens->open_handles = 3;
    (void)uv_poll_start(&tokens->mailbox_poll, UV_READABLE, on_mail);
    watch_listener(tokens);
    return 0;
}

int tokens_new(uv_loop_t *loop, const struct tokens_config *config, int listener,
               struct tokens **ret_tokens, struct error *err)
{
    struct tokens *tokens = NEW(struct tokens);
    tokens->config = *config;
    tokens->loop = loop;
    tokens->listener = listener;
    LIST_INIT(&tokens->holders);
    if (open_handles(tokens, err) < 0) {
        tokens_free(tokens);
        return -1;
    }
    *ret_tokens = tokens;
    return 0;
}

void tokens_holder_gone(struct tokens *tokens)
{
    if (tokens->stopped && LIST_EMPTY(&tokens->holders)) {
        close_handles(tokens);
    }
}

void tokens_stop(struct tokens *tokens, void (*stopped)(void *user), void *user)
{
    tokens->stopped = stopped;
    tokens->stopped_user = user;
    (void)uv_poll_stop(&tokens->listener_poll);
    if (LIST_EMPTY(&tokens->holders)) {
        close_handles(tokens);
        return;
    }
    holders_close(tokens);
}

void tokens_counters(struct tokens *tokens, struct token_counters *ret_counters)
{
    token_server_counters(tokens->server, ret_counters);
}
