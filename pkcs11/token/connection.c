#include "pkcs11/token/connection.h"

#include <errno.h>
#include <sys/epoll.h>

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "pkcs11/token/connection_state.h"
#include "pkcs11/token/dispatch_long.h"

static void clear(struct token_connection *connection)
{
    if (connection->dispatch.caller) {
        token_caller_free(take_ptr(connection->dispatch.caller));
    }
    dispatch_long_end(&connection->dispatch);
    buffer_clear(&connection->input);
    buffer_clear(&connection->output);
    buffer_clear(&connection->undecided);
}

void connection_let_go(struct token_connection *connection)
{
    size_t sessions = connection->dispatch.sessions;
    clear(connection);
    connection->dispatch.sessions = 0;
    connection_count_sessions(connection, sessions);
    connection->place->gone(connection);
}

static void stop_saving(struct token_connection *connection)
{
    struct connection_place *place = connection->place;
    if (place->saving == connection) {
        place->saving = NULL;
    }
}

static void on_signed(void *user, CK_RV rv, struct bytes signature)
{
    struct token_connection *connection = user;
    connection->is_waiting = false;
    buffer_clear(&connection->undecided);
    stop_saving(connection);
    if (connection->is_ending) {
        return;
    }
    buffer_reset(&connection->place->output);
    dispatch_finish(&connection->dispatch, rv, signature, &connection->place->output);
    connection_send_output(connection);
    if (connection->is_ending) {
        return;
    }
    if (connection->save) {
        connection_save(connection, connection->save);
        return;
    }
    if (connection->output.size == 0 && connection->input.size > 0) {
        connection_queue_up(connection);
    }
    connection_watch(connection);
}

struct token_connection *connection_new(struct connection_place *place, int descriptor, pid_t pid,
                                        struct token_caller *caller)
{
    struct token_connection *connection = NEW(struct token_connection);
    connection->place = place;
    connection->descriptor = descriptor;
    connection->pid = pid;
    connection->dispatch = (struct dispatch){
        .caller = caller,
        .counters = &place->counters,
        .is_signed = on_signed,
        .user = connection,
    };
    return connection;
}

void connection_free(struct token_connection *connection)
{
    clear(connection);
    file_close_cleanup(&connection->descriptor);
    free(connection);
}

void connection_start(struct token_connection *connection)
{
    connection_count_sessions(connection, 0);
    struct epoll_event event = {.events = EPOLLONESHOT, .data.ptr = connection};
    if (epoll_ctl(connection->place->epoll, EPOLL_CTL_ADD, connection->descriptor, &event) < 0) {
        log_warning("serving a PKCS#11 connection: watching it failed pid=%d errno=%d",
                    (int)connection->pid, errno);
        connection_over(connection);
        return;
    }
    if (connection->output.size > 0 || connection->input.size > 0 ||
        connection->dispatch.long_call) {
        connection_set_stalled(connection, true);
    }
    if (connection->output.size == 0 && connection->input.size > 0) {
        connection_queue_up(connection);
    }
    connection_watch(connection);
}

void connection_over(struct token_connection *connection)
{
    if (connection->is_ending) {
        return;
    }
    connection->is_ending = true;
    stop_saving(connection);
    rounds_remove(&connection->place->turns, &connection->turn);
    connection_set_stalled(connection, false);
    connection_unwatch(connection);
    file_close_cleanup(&connection->descriptor);
    connection->descriptor = -1;
    TAILQ_INSERT_TAIL(&connection->place->over, connection, over);
}

void connection_give_up_signature(struct token_connection *connection)
{
    on_signed(connection, CKR_DEVICE_ERROR, (struct bytes){0});
}

/* A key that hangs must not hang the restart. */
static void save_once_signed(struct token_connection *connection)
{
    struct connection_place *place = connection->place;
    if (place->saves_end_at_ms == 0) {
        place->saves_end_at_ms = place->now_ms + place->stall_ms / CONNECTION_SAVES_PER_STALL;
    }
    place->saving = connection;
}

/* The guard of the next process decides about the call. Who answers may be the one who waits for
 * this save. */
static bool take_back(struct token_connection *connection)
{
    if (!token_caller_take_back(connection->dispatch.caller)) {
        return false;
    }
    buffer_append(&connection->undecided, connection->input.data, connection->input.size);
    buffer_clear(&connection->input);
    connection->input = connection->undecided;
    connection->undecided = (struct buffer){0};
    connection->is_waiting = false;
    return true;
}

void connection_save(struct token_connection *connection, struct connection_save *save)
{
    connection->save = save;
    if (connection->is_ending) {
        return;
    }
    if (connection->is_waiting && !take_back(connection)) {
        save_once_signed(connection);
        return;
    }
    connection_write_state(connection, &save->state);
    connection_unwatch(connection);
    save->descriptor = file_take(&connection->descriptor);
    connection_over(connection);
}
