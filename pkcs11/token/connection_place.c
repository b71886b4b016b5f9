#include "lib/base/log.h"
#include "pkcs11/token/connection_state.h"

static void end_stalled(uv_timer_t *timer)
{
    struct connection_place *place = container_of(timer, struct connection_place, stall_timer);
    uint64_t now = uv_now(&place->loop);
    struct token_connection *connection;
    while ((connection = TAILQ_FIRST(&place->stalled)) && connection->stalls_at_ms <= now) {
        log_debug("ending a PKCS#11 connection whose peer stopped in the middle of a call pid=%d",
                  (int)connection->pid);
        connection_over(connection);
    }
    if (connection) {
        (void)uv_timer_start(timer, end_stalled, connection->stalls_at_ms - now, 0);
    }
}

void connection_set_stalled(struct token_connection *connection, bool is_stalled)
{
    struct connection_place *place = connection->place;
    if (connection->is_stalled) {
        TAILQ_REMOVE(&place->stalled, connection, stalled);
    }
    connection->is_stalled = is_stalled;
    if (!is_stalled) {
        return;
    }
    connection->stalls_at_ms = uv_now(&place->loop) + place->stall_ms;
    TAILQ_INSERT_TAIL(&place->stalled, connection, stalled);
    if (!uv_is_active((uv_handle_t *)&place->stall_timer)) {
        (void)uv_timer_start(&place->stall_timer, end_stalled, place->stall_ms, 0);
    }
}

/* Those that become ready meanwhile wait for the next turn, after the loop has looked at the
 * sockets of the others. */
static void take_turns(uv_idle_t *turn)
{
    struct connection_place *place = container_of(turn, struct connection_place, turn);
    place->catch_up(place);
    struct token_connection *last = TAILQ_LAST(&place->ready, connection_list);
    for (bool is_last = !last; !is_last;) {
        struct token_connection *connection = TAILQ_FIRST(&place->ready);
        is_last = connection == last;
        connection_set_ready(connection, false);
        connection_take_turn(connection);
    }
}

void connection_set_ready(struct token_connection *connection, bool is_ready)
{
    struct connection_place *place = connection->place;
    if (connection->is_ready == is_ready) {
        return;
    }
    connection->is_ready = is_ready;
    if (is_ready) {
        TAILQ_INSERT_TAIL(&place->ready, connection, ready);
        (void)uv_idle_start(&place->turn, take_turns);
        return;
    }
    TAILQ_REMOVE(&place->ready, connection, ready);
    if (TAILQ_EMPTY(&place->ready)) {
        (void)uv_idle_stop(&place->turn);
    }
}

void connection_place_init(struct connection_place *place)
{
    place->stall_ms = place->stall_ms > 0 ? place->stall_ms : CONNECTION_STALL_MS;
    TAILQ_INIT(&place->ready);
    TAILQ_INIT(&place->stalled);
    (void)uv_timer_init(&place->loop, &place->stall_timer);
    (void)uv_timer_init(&place->loop, &place->save_timer);
    (void)uv_idle_init(&place->loop, &place->turn);
}

void connection_place_close(struct connection_place *place)
{
    uv_close((uv_handle_t *)&place->stall_timer, NULL);
    uv_close((uv_handle_t *)&place->save_timer, NULL);
    uv_close((uv_handle_t *)&place->turn, NULL);
}
