#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "lib/base/log.h"
#include "pkcs11/token/connection_state.h"

static void watch_for(struct token_connection *connection, uint32_t events)
{
    if (connection->watched == events || connection->is_ending) {
        return;
    }
    /* Without an event it is still told once of a hang-up, but not again and again. */
    struct epoll_event event = {.events = events ? events : EPOLLONESHOT, .data.ptr = connection};
    (void)epoll_ctl(connection->place->epoll, EPOLL_CTL_MOD, connection->descriptor, &event);
    connection->watched = events;
}

void connection_watch(struct token_connection *connection)
{
    if (connection->output.size > 0) {
        watch_for(connection, EPOLLOUT);
    } else if (!connection->turn.is_waiting && !connection->is_waiting) {
        watch_for(connection, EPOLLIN);
    }
}

void connection_notice(struct token_connection *connection)
{
    bool has_reply = connection->output.size > 0;
    if (connection->turn.is_waiting || (connection->is_waiting && !has_reply)) {
        watch_for(connection, 0);
    } else {
        connection_queue_up(connection);
    }
}

/* Closing the descriptor is not enough where another process has it too. */
void connection_unwatch(struct token_connection *connection)
{
    (void)epoll_ctl(connection->place->epoll, EPOLL_CTL_DEL, connection->descriptor, NULL);
    connection->watched = 0;
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

void connection_send_rest(struct token_connection *connection)
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
        connection_watch(connection);
        return;
    }
    buffer_clear(&connection->output);
    connection_set_stalled(connection, false);
    if (!connection->is_waiting && connection->input.size > 0) {
        connection_queue_up(connection);
    }
    connection_watch(connection);
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

void connection_receive(struct token_connection *connection)
{
    size_t limit = MESSAGE_FRAME_MAX - connection->input.size;
    struct ucred writer;
    ssize_t count = receive(connection, limit, &writer);
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        connection_watch(connection);
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
