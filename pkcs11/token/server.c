#include "pkcs11/token/server.h"

#include <errno.h>
#include <signal.h>
#include <sys/socket.h>

#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "pkcs11/token/server_thread.h"

static void deliver_command(struct mailbox_message *message)
{
    struct command *command = container_of(message, struct command, message);
    (void)atomic_fetch_sub(&command->server->commands, 1);
    command->act(command);
    free(command);
}

static struct command *new_command(struct token_connection *connection,
                                   void (*act)(struct command *command))
{
    struct command *command = NEW(struct command);
    *command = (struct command){
        .message.deliver = deliver_command,
        .server = connection->server,
        .act = act,
        .connection = connection,
    };
    return command;
}

static void post_command(struct command *command)
{
    struct token_server *server = command->server;
    (void)atomic_fetch_add(&server->commands, 1);
    mailbox_post(server->mailbox, &command->message);
}

static void run_request(struct request *request)
{
    (void)pthread_mutex_init(&request->lock, NULL);
    (void)pthread_cond_init(&request->changed, NULL);
    mailbox_post(request->server->mailbox, &request->message);
    (void)pthread_mutex_lock(&request->lock);
    while (!request->is_done) {
        (void)pthread_cond_wait(&request->changed, &request->lock);
    }
    (void)pthread_mutex_unlock(&request->lock);
    (void)pthread_cond_destroy(&request->changed);
    (void)pthread_mutex_destroy(&request->lock);
}

/* Owner's thread. A callback may close connections and free the server. */
static void tell_owner(struct mailbox_message *message)
{
    struct notice *notice = container_of(message, struct notice, message);
    while (notice->server) {
        struct token_server *server = notice->server;
        (void)pthread_mutex_lock(&server->lock);
        struct token_connection *connection = TAILQ_FIRST(&server->untold);
        if (connection) {
            TAILQ_REMOVE(&server->untold, connection, untold);
            connection->is_untold = false;
        }
        server->is_notice_posted = connection;
        (void)pthread_mutex_unlock(&server->lock);
        if (!connection) {
            return;
        }
        connection->closed(connection->user);
    }
    free(notice);
}

/* Signals are the owner's business. */
static int start_thread(struct token_server *server)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&server->thread, NULL, server_run_thread, server);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

static void free_server(struct token_server *server)
{
    if (server->mailbox) {
        mailbox_free(server->mailbox);
    }
    connection_place_clear(&server->place);
    (void)pthread_mutex_destroy(&server->lock);
    free(server->notice);
    free(server);
}

static int start(struct token_server *server, uint64_t stall_ms, struct error *err)
{
    TRY(mailbox_new(&server->mailbox, err));
    TRY(connection_place_init(&server->place, server->mailbox, stall_ms, err));
    int rc = start_thread(server);
    if (rc != 0) {
        return error_set_errno(err, rc, "starting the thread of the PKCS#11 server");
    }
    return 0;
}

int token_server_new(const struct token_server_config *config, struct token_server **ret_server,
                     struct error *err)
{
    struct token_server *server = NEW(struct token_server);
    server->owner = config->mailbox;
    server->place.gone = server_connection_gone;
    server->place.catch_up = server_catch_up;
    server->place.epoll = -1;
    TAILQ_INIT(&server->all);
    TAILQ_INIT(&server->owned);
    TAILQ_INIT(&server->untold);
    (void)pthread_mutex_init(&server->lock, NULL);
    server->notice = NEW(struct notice);
    *server->notice = (struct notice){.message.deliver = tell_owner, .server = server};
    if (start(server, config->stall_ms, err) < 0) {
        free_server(server);
        return -1;
    }
    *ret_server = server;
    return 0;
}

void token_server_free(struct token_server *server)
{
    struct request request = {.message.deliver = server_deliver_end, .server = server};
    run_request(&request);
    (void)pthread_join(server->thread, NULL);
    struct token_connection *connection;
    while ((connection = TAILQ_FIRST(&server->owned))) {
        TAILQ_REMOVE(&server->owned, connection, owned);
        connection_free(connection);
    }
    if (server->is_notice_posted) {
        take_ptr(server->notice)->server = NULL;
    }
    free_server(server);
}

/* From now on the kernel says for each message which process wrote it. */
static int ask_for_credentials(int descriptor, struct error *err)
{
    const int on = 1;
    if (setsockopt(descriptor, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0) {
        return error_set_errno(err, errno, "asking for the credentials of a PKCS#11 client");
    }
    return 0;
}

static int make_connection(struct token_server *server,
                           const struct token_connection_config *config, int *descriptor,
                           struct token_connection **ret_connection, struct error *err)
{
    if (config->pid <= 0) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "serving a PKCS#11 connection: its process is not known");
    }
    TRY(ask_for_credentials(*descriptor, err));
    const struct token_caller_config caller_config = {
        .mailbox = server->mailbox,
        .flow = config->flow,
        .under_way = &server->place.under_way,
    };
    struct token_caller *caller = token_caller_new(&caller_config);
    token_caller_set_view(caller, config->view, config->guard);
    struct token_connection *connection =
        connection_new(&server->place, file_take(descriptor), config->pid, caller);
    connection->server = server;
    connection->closed = config->closed;
    connection->user = config->user;
    if (config->saved.size > 0 && connection_restore(connection, config->saved, err) < 0) {
        connection_free(connection);
        return -1;
    }
    *ret_connection = connection;
    return 0;
}

int token_server_adopt(struct token_server *server, const struct token_connection_config *config,
                       struct token_connection **ret_connection, struct error *err)
{
    _cleanup_(file_close_cleanup) int descriptor = config->descriptor;
    struct token_connection *connection = NULL;
    TRY(make_connection(server, config, &descriptor, &connection, err));
    TAILQ_INSERT_TAIL(&server->owned, connection, owned);
    (void)atomic_fetch_add(&server->connections, 1);
    /* The connection may be over, but not freed, before this returns. */
    *ret_connection = connection;
    post_command(new_command(connection, server_act_adopt));
    return 0;
}

void token_connection_publish(struct token_connection *connection, struct token_view *view,
                              struct token_guard *guard)
{
    struct command *command = new_command(connection, server_act_publish);
    command->view = view ? token_view_ref(view) : NULL;
    command->guard = guard ? token_guard_ref(guard) : NULL;
    post_command(command);
}

/* The owner gives the connection up: it is not told any more that it is over. */
static void release(struct token_connection *connection)
{
    struct token_server *server = connection->server;
    TAILQ_REMOVE(&server->owned, connection, owned);
    (void)pthread_mutex_lock(&server->lock);
    connection->is_released = true;
    if (connection->is_untold) {
        TAILQ_REMOVE(&server->untold, connection, untold);
        connection->is_untold = false;
    }
    (void)pthread_mutex_unlock(&server->lock);
}

int token_connection_save(struct token_connection *connection, int *ret_descriptor,
                          struct buffer *ret_state, struct error *err)
{
    struct request request = {
        .message.deliver = server_deliver_save,
        .server = connection->server,
        .connection = connection,
        .save.descriptor = -1,
    };
    release(connection);
    run_request(&request);
    _cleanup_(buffer_clear) struct buffer state = request.save.state;
    if (request.save.descriptor < 0) {
        return error_set(err, ERROR_NOT_FOUND,
                         "saving a PKCS#11 connection: its process has closed it");
    }
    buffer_append(ret_state, state.data, state.size);
    *ret_descriptor = request.save.descriptor;
    return 0;
}

void token_connection_close(struct token_connection *connection)
{
    release(connection);
    post_command(new_command(connection, server_act_close));
}

void token_server_counters(struct token_server *server, struct token_counters *ret_counters)
{
    struct connection_place *place = &server->place;
    *ret_counters = (struct token_counters){
        .connections = atomic_load(&server->connections),
        .sessions = atomic_load(&place->sessions),
        .calls = atomic_load(&place->counters.calls),
        .signatures = atomic_load(&place->counters.signatures),
        .refusals = atomic_load(&place->counters.refusals),
    };
}
