#include "pkcs11/token/connection.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "pkcs11/token/connection_state.h"

static void on_poll(uv_poll_t *poll, int status, int events);

static void poll_for(struct token_connection *connection, int events)
{
    if (events == connection->polled || connection->is_ending) {
        return;
    }
    connection->polled = events;
    if (events == 0) {
        (void)uv_poll_stop(&connection->poll);
    } else {
        (void)uv_poll_start(&connection->poll, events, on_poll);
    }
}

/* While a signature is made, reading goes on until the peer really sends more, which serial clients
 * never do: that saves them system calls. */
void connection_poll(struct token_connection *connection)
{
    if (connection->output.size > 0) {
        poll_for(connection, UV_WRITABLE);
    } else {
        poll_for(connection, connection->is_ready ? 0 : UV_READABLE);
    }
}

/* The number of bytes that the socket took; -1: the connection is broken. */
static ssize_t send_bytes(int descriptor, struct bytes bytes)
{
    ssize_t count;
    do {
        count = send(descriptor, bytes.data, bytes.size, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (count < 0 && errno == EINTR);
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        return 0;
    }
    return count;
}

void connection_send_output(struct token_connection *connection)
{
    struct bytes bytes = buffer_bytes(&connection->place->output);
    if (bytes.size == 0 || connection->is_ending) {
        return;
    }
    ssize_t sent = connection->output.size > 0 ? 0 : send_bytes(connection->descriptor, bytes);
    if (sent < 0) {
        connection_over(connection);
        return;
    }
    if ((size_t)sent < bytes.size) {
        buffer_append(&connection->output, bytes.data + sent, bytes.size - (size_t)sent);
        connection_set_stalled(connection, true);
    }
}

static void send_rest(struct token_connection *connection)
{
    ssize_t sent = send_bytes(connection->descriptor, buffer_bytes(&connection->output));
    if (sent < 0) {
        connection_over(connection);
        return;
    }
    buffer_consume(&connection->output, (size_t)sent);
    if (connection->output.size > 0) {
        if (sent > 0) {
            connection_set_stalled(connection, true);
        }
        return;
    }
    buffer_clear(&connection->output);
    connection_set_stalled(connection, false);
    if (!connection->is_waiting && connection->input.size > 0) {
        connection_set_ready(connection, true);
    }
    connection_poll(connection);
}

/* Who wrote what has just been received; all zero where the kernel does not say. */
static struct ucred writer_of(struct msghdr *message)
{
    struct cmsghdr *control = CMSG_FIRSTHDR(message);
    struct ucred credentials = {0};
    if (control && control->cmsg_level == SOL_SOCKET && control->cmsg_type == SCM_CREDENTIALS &&
        control->cmsg_len == CMSG_LEN(sizeof(credentials))) {
        memcpy(&credentials, CMSG_DATA(control), sizeof(credentials));
    }
    return credentials;
}

/* What was written before the server asked for credentials carries none: only the first byte,
 * which decides nothing, may have come so early. */
static bool may_write(const struct token_connection *connection, pid_t writer, size_t size)
{
    if (writer == 0) {
        return !connection->has_version && size == 1;
    }
    return writer == connection->pid;
}

/* Receives from one writer at most: the kernel does not join what different processes wrote. -1
 * with EAGAIN: nothing there. */
static ssize_t receive(struct token_connection *connection, size_t limit, struct ucred *ret_writer)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(struct ucred))];
    } control;
    struct iovec vector = {connection->place->input, limit};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    ssize_t count;
    do {
        message.msg_control = &control;
        message.msg_controllen = sizeof(control);
        count = recvmsg(connection->descriptor, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (count < 0 && errno == EINTR);
    *ret_writer = count > 0 ? writer_of(&message) : (struct ucred){0};
    return count;
}

static void on_readable(struct token_connection *connection)
{
    if (connection->is_waiting || connection->is_ready) {
        poll_for(connection, 0);
        return;
    }
    size_t limit = MESSAGE_FRAME_MAX - connection->input.size;
    struct ucred writer;
    ssize_t count = receive(connection, limit, &writer);
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        return;
    }
    if (count > 0 && !may_write(connection, writer.pid, (size_t)count)) {
        log_info("ending a PKCS#11 connection into which another process wrote pid=%d writer=%d",
                 (int)connection->pid, (int)writer.pid);
        token_caller_trespassed(connection->dispatch.caller, writer.pid, writer.uid, writer.gid);
        count = 0;
    }
    if (count <= 0) {
        connection_over(connection);
        return;
    }
    struct bytes received = {connection->place->input, (size_t)count};
    if (connection->input.size == 0) {
        connection_process(connection, received, false);
        return;
    }
    buffer_append(&connection->input, received.data, received.size);
    connection_process(connection, buffer_bytes(&connection->input), true);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct token_connection *connection = container_of(poll, struct token_connection, poll);
    connection->place->catch_up(connection->place);
    if (connection->is_ending) {
        return;
    }
    if (status < 0) {
        connection_over(connection);
    } else if (connection->output.size > 0) {
        send_rest(connection);
    } else if (events != 0) {
        on_readable(connection);
    }
}

/* Once the loop has no hand on it any more. A signature under way is abandoned. */
static void let_go(struct token_connection *connection)
{
    token_caller_free(take_ptr(connection->dispatch.caller));
    size_t sessions = connection->dispatch.sessions;
    connection->dispatch.sessions = 0;
    connection_count_sessions(connection, sessions);
    buffer_clear(&connection->input);
    buffer_clear(&connection->output);
    buffer_clear(&connection->undecided);
    connection->place->gone(connection);
}

static void stop_saving(struct token_connection *connection)
{
    struct connection_place *place = connection->place;
    if (place->saving == connection) {
        place->saving = NULL;
        (void)uv_timer_stop(&place->save_timer);
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
        connection_set_ready(connection, true);
    }
    connection_poll(connection);
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
    if (connection->dispatch.caller) {
        token_caller_free(connection->dispatch.caller);
    }
    file_close_cleanup(&connection->descriptor);
    buffer_clear(&connection->input);
    buffer_clear(&connection->output);
    buffer_clear(&connection->undecided);
    free(connection);
}

void connection_start(struct token_connection *connection)
{
    connection_count_sessions(connection, 0);
    int rc = uv_poll_init(&connection->place->loop, &connection->poll, connection->descriptor);
    if (rc != 0) {
        log_warning("serving a PKCS#11 connection: polling it failed pid=%d error=%s",
                    (int)connection->pid, uv_strerror(rc));
        connection->is_ending = true;
        let_go(connection);
        return;
    }
    if (connection->output.size > 0 || connection->input.size > 0) {
        connection_set_stalled(connection, true);
    }
    if (connection->output.size == 0 && connection->input.size > 0) {
        connection_set_ready(connection, true);
    }
    connection_poll(connection);
}

static void on_unpolled(uv_handle_t *handle)
{
    let_go(container_of((uv_poll_t *)handle, struct token_connection, poll));
}

void connection_over(struct token_connection *connection)
{
    if (connection->is_ending) {
        return;
    }
    connection->is_ending = true;
    stop_saving(connection);
    connection_set_ready(connection, false);
    connection_set_stalled(connection, false);
    uv_close((uv_handle_t *)&connection->poll, on_unpolled);
    file_close_cleanup(&connection->descriptor);
    connection->descriptor = -1;
}

static void give_up_signature(uv_timer_t *timer)
{
    struct connection_place *place = container_of(timer, struct connection_place, save_timer);
    on_signed(place->saving, CKR_DEVICE_ERROR, (struct bytes){0});
}

/* A key that hangs must not hang the restart. */
static void save_once_signed(struct token_connection *connection)
{
    struct connection_place *place = connection->place;
    uint64_t now = uv_now(&place->loop);
    if (place->saves_end_at_ms == 0) {
        place->saves_end_at_ms = now + place->stall_ms / CONNECTION_SAVES_PER_STALL;
    }
    place->saving = connection;
    (void)uv_timer_start(&place->save_timer, give_up_signature,
                         MAX(place->saves_end_at_ms, now) - now, 0);
    poll_for(connection, 0);
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
    save->descriptor = file_take(&connection->descriptor);
    connection_over(connection);
}
