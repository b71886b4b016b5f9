#include <errno.h>
#include <limits.h>
#include <sys/epoll.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "pkcs11/token/connection_state.h"

enum { EVENTS_PER_LOOK = 256 };

void connection_queue_up(struct token_connection *connection)
{
    rounds_add(&connection->place->turns, &connection->turn);
}

void connection_set_stalled(struct token_connection *connection, bool is_stalled)
{
    struct connection_place *place = connection->place;
    if (connection->is_stalled) {
        TAILQ_REMOVE(&place->stalled, connection, stalled);
    }
    connection->is_stalled = is_stalled;
    connection->was_late = false;
    if (is_stalled) {
        connection->stalls_at_ms = place->now_ms + place->stall_ms;
        TAILQ_INSERT_TAIL(&place->stalled, connection, stalled);
    }
}

static bool is_late(const struct token_connection *connection)
{
    return connection->is_stalled && connection->stalls_at_ms <= connection->place->now_ms;
}

/* It may be this process that did not run: the turn of a peer that is late and waits for one comes
 * first, once. */
static void end_stalled(struct connection_place *place)
{
    struct token_connection *next;
    for (struct token_connection *connection = TAILQ_FIRST(&place->stalled);
         connection && is_late(connection); connection = next) {
        next = TAILQ_NEXT(connection, stalled);
        if (connection->turn.is_waiting && !connection->was_late) {
            continue;
        }
        log_debug("ending a PKCS#11 connection whose peer stopped in the middle of a call pid=%d",
                  (int)connection->pid);
        connection_over(connection);
    }
}

/* How long epoll_wait may wait: until the next turn, save or stalled peer; -1: for ever. */
static int time_left_ms(const struct connection_place *place)
{
    const struct token_connection *oldest = TAILQ_FIRST(&place->stalled);
    if (place->turns.waiting > 0) {
        return 0;
    }
    if (!oldest && !place->saving) {
        return -1;
    }
    uint64_t end_ms = MIN(oldest ? oldest->stalls_at_ms : UINT64_MAX,
                          place->saving ? place->saves_end_at_ms : UINT64_MAX);
    uint64_t now_ms = clock_monotonic_ms();
    return (int)MIN(MAX(end_ms, now_ms) - now_ms, (uint64_t)INT_MAX);
}

bool connection_place_look(struct connection_place *place)
{
    struct epoll_event events[EVENTS_PER_LOOK];
    bool has_messages = false;
    int count = epoll_wait(place->epoll, events, EVENTS_PER_LOOK, time_left_ms(place));
    place->now_ms = clock_monotonic_ms();
    for (int i = 0; i < count; i++) {
        struct token_connection *connection = events[i].data.ptr;
        if (connection) {
            connection_notice(connection);
        } else {
            has_messages = true;
        }
    }
    return has_messages;
}

void connection_place_serve(struct connection_place *place)
{
    end_stalled(place);
    if (place->saving && place->saves_end_at_ms <= place->now_ms) {
        connection_give_up_signature(place->saving);
    }
    struct rounds_turn *turn;
    for (int turns = 0; turns < CONNECTION_TURNS_PER_LOOK && (turn = rounds_next(&place->turns));
         turns++) {
        struct token_connection *connection = container_of(turn, struct token_connection, turn);
        connection->was_late = is_late(connection);
        connection_take_turn(connection);
    }
}

void connection_place_let_go(struct connection_place *place)
{
    struct token_connection *connection;
    while ((connection = TAILQ_FIRST(&place->over))) {
        TAILQ_REMOVE(&place->over, connection, over);
        connection_let_go(connection);
    }
}

int connection_place_init(struct connection_place *place, struct mailbox *mailbox,
                          uint64_t stall_ms, struct error *err)
{
    place->stall_ms = stall_ms > 0 ? stall_ms : CONNECTION_STALL_MS;
    place->now_ms = clock_monotonic_ms();
    rounds_init(&place->turns);
    TAILQ_INIT(&place->stalled);
    TAILQ_INIT(&place->over);
    place->epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN};
    if (place->epoll < 0 ||
        epoll_ctl(place->epoll, EPOLL_CTL_ADD, mailbox_descriptor(mailbox), &event) < 0) {
        return error_set_errno(err, errno, "watching the sockets of the PKCS#11 server");
    }
    return 0;
}

void connection_place_clear(struct connection_place *place)
{
    file_close_cleanup(&place->epoll);
    buffer_clear(&place->output);
}
