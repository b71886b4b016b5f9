#include "lib/base/log.h"
#include "pkcs11/token/connection_state.h"

/* The protocol's version, which answers the version that a client offers. */
enum { PROTOCOL_VERSION = 0 };

void connection_count_sessions(struct token_connection *connection, size_t before)
{
    size_t now = connection->dispatch.sessions;
    if (now != before) {
        (void)atomic_fetch_add_explicit(&connection->place->sessions, now - before,
                                        memory_order_relaxed);
    }
}

/* How one turn of a connection ended. */
enum turn_end { TURN_NEEDS_BYTES, TURN_NEEDS_TURN, TURN_NEEDS_SIGNATURE, TURN_MALFORMED };

/* The client's version says which p11-kit it is of: 0 until 0.24, 1 in 0.25, 2 from 0.25.6. */
static void greet(struct token_connection *connection, uint8_t version)
{
    connection->has_version = true;
    connection->dispatch.is_modern = version > 0;
    buffer_append_u8(&connection->place->output, PROTOCOL_VERSION);
}

static enum turn_end run_frame(struct token_connection *connection, struct reader *input)
{
    static const enum turn_end ends[] = {
        [DISPATCH_REPLIED] = TURN_NEEDS_TURN,
        [DISPATCH_WAITS] = TURN_NEEDS_SIGNATURE,
        [DISPATCH_NEEDS_BYTES] = TURN_NEEDS_BYTES,
        [DISPATCH_MALFORMED] = TURN_MALFORMED,
    };
    const uint8_t *call = input->rest.data;
    size_t sessions = connection->dispatch.sessions;
    enum dispatch_result result =
        dispatch_next(&connection->dispatch, input, &connection->place->output);
    connection_count_sessions(connection, sessions);
    connection->is_waiting = result == DISPATCH_WAITS;
    if (connection->is_waiting && token_caller_is_asking(connection->dispatch.caller)) {
        buffer_append(&connection->undecided, call, (size_t)(input->rest.data - call));
    }
    return ends[result];
}

/* Acts on the calls in input until there is none, one waits, or it was enough for this turn; what
 * is left stays in the reader. */
static enum turn_end run_turn(struct token_connection *connection, struct reader *input)
{
    if (!connection->has_version && input->rest.size > 0) {
        greet(connection, reader_u8(input));
    }
    enum turn_end end = TURN_NEEDS_TURN;
    for (int calls = 0; end == TURN_NEEDS_TURN && calls < CONNECTION_CALLS_PER_TURN &&
                        connection->place->output.size < MESSAGE_BODY_MAX;
         calls++) {
        end = run_frame(connection, input);
    }
    return end;
}

static void keep_rest(struct token_connection *connection, const struct reader *rest,
                      bool is_in_input)
{
    if (is_in_input) {
        buffer_consume(&connection->input, connection->input.size - rest->rest.size);
    } else {
        buffer_append(&connection->input, rest->rest.data, rest->rest.size);
    }
    if (connection->input.size == 0) {
        buffer_clear(&connection->input);
    }
}

void connection_process(struct token_connection *connection, struct bytes bytes, bool is_in_input)
{
    struct reader input = reader_of(bytes);
    buffer_reset(&connection->place->output);
    enum turn_end end = run_turn(connection, &input);
    bool has_read = input.rest.size < bytes.size;
    keep_rest(connection, &input, is_in_input);
    connection_send_output(connection);
    if (end == TURN_MALFORMED) {
        log_debug("ending a PKCS#11 connection that sent a malformed message pid=%d",
                  (int)connection->pid);
        connection_over(connection);
    }
    if (connection->is_ending) {
        return;
    }
    bool is_partial =
        end == TURN_NEEDS_BYTES && (connection->input.size > 0 || connection->dispatch.long_call);
    if (connection->output.size == 0 && (has_read || is_partial != connection->is_stalled)) {
        connection_set_stalled(connection, is_partial);
    }
    if (end == TURN_NEEDS_TURN && connection->output.size == 0 && connection->input.size > 0) {
        connection_queue_up(connection);
    }
    connection_watch(connection);
}

/* Whether what was received before is enough to go on with. */
static bool has_call(const struct token_connection *connection)
{
    struct message_frame ignored;
    struct bytes input = buffer_bytes(&connection->input);
    return input.size > 0 && (!connection->has_version || connection->dispatch.long_call ||
                              message_read_frame(input, &ignored) != MESSAGE_FRAME_PARTIAL);
}

void connection_take_turn(struct token_connection *connection)
{
    connection->place->catch_up(connection->place);
    if (connection->is_ending) {
        return;
    }
    if (connection->output.size > 0) {
        connection_send_rest(connection);
    } else if (has_call(connection)) {
        connection_process(connection, buffer_bytes(&connection->input), true);
    } else {
        connection_receive(connection);
    }
}
