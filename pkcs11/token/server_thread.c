#include "pkcs11/token/server_thread.h"

#include "lib/base/memory.h"

static void finish_request(struct request *request)
{
    (void)pthread_mutex_lock(&request->lock);
    request->is_done = true;
    (void)pthread_cond_signal(&request->changed);
    (void)pthread_mutex_unlock(&request->lock);
}

void server_connection_gone(struct token_connection *connection)
{
    struct token_server *server = connection->server;
    TAILQ_REMOVE(&server->all, connection, all);
    (void)atomic_fetch_sub(&server->connections, 1);
    connection->is_gone = true;
    (void)pthread_mutex_lock(&server->lock);
    if (!connection->is_released && connection->closed) {
        connection->is_untold = true;
        TAILQ_INSERT_TAIL(&server->untold, connection, untold);
        if (!server->is_notice_posted) {
            server->is_notice_posted = true;
            mailbox_post(server->owner, &server->notice->message);
        }
    }
    (void)pthread_mutex_unlock(&server->lock);
    if (connection->save) {
        struct connection_save *save = connection->save;
        connection_free(connection);
        finish_request(container_of(save, struct request, save));
    } else if (connection->is_close_seen) {
        connection_free(connection);
    }
}

void server_act_adopt(struct command *command)
{
    struct token_connection *connection = command->connection;
    TAILQ_INSERT_TAIL(&connection->server->all, connection, all);
    connection_start(connection);
}

void server_act_publish(struct command *command)
{
    if (!command->connection->is_gone) {
        token_caller_set_view(command->connection->dispatch.caller, command->view, command->guard);
    }
    if (command->view) {
        token_view_unref(command->view);
    }
    if (command->guard) {
        token_guard_unref(command->guard);
    }
}

void server_act_close(struct command *command)
{
    struct token_connection *connection = command->connection;
    if (connection->is_gone) {
        connection_free(connection);
        return;
    }
    connection->is_close_seen = true;
    connection_over(connection);
}

void server_deliver_save(struct mailbox_message *message)
{
    struct request *request = container_of(message, struct request, message);
    if (request->connection->is_gone) {
        connection_free(request->connection);
        finish_request(request);
        return;
    }
    connection_save(request->connection, &request->save);
}

void server_deliver_end(struct mailbox_message *message)
{
    struct request *request = container_of(message, struct request, message);
    struct token_server *server = request->server;
    finish_request(request);
    server->is_ending = true;
    struct token_connection *connection;
    TAILQ_FOREACH (connection, &server->all, all) {
        connection_over(connection);
    }
}

void server_catch_up(struct connection_place *place)
{
    struct token_server *server = container_of(place, struct token_server, place);
    if (atomic_load(&server->commands) > 0) {
        mailbox_deliver(server->mailbox);
    }
}

/* The signatures that are under way will come to the mailbox. */
static bool is_over(const struct token_server *server)
{
    return server->is_ending && TAILQ_EMPTY(&server->all) && server->place.under_way == 0;
}

void *server_run_thread(void *argument)
{
    struct token_server *server = argument;
    struct connection_place *place = &server->place;
    (void)pthread_setname_np(pthread_self(), "pkcs11-token");
    while (!is_over(server)) {
        if (connection_place_look(place)) {
            mailbox_deliver(server->mailbox);
        }
        connection_place_serve(place);
        connection_place_let_go(place);
    }
    return NULL;
}
