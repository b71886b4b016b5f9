/* For the files of the connection alone. */
#pragma once

#include "pkcs11/token/connection.h"

/* Whether the connection has whole calls that wait for its next turn. */
void connection_set_ready(struct token_connection *connection, bool is_ready);
/* Whether the peer owes something, from now on, that must come in time. */
void connection_set_stalled(struct token_connection *connection, bool is_stalled);
/* Polls for what the connection waits for now: that the peer takes the reply, its turn, or the next
 * call. */
void connection_poll(struct token_connection *connection);
/* Sends what the shared buffer has, in one call; keeps what the peer does not take. */
void connection_send_output(struct token_connection *connection);
/* Tells the server's counter of a change. */
void connection_count_sessions(struct token_connection *connection, size_t before);
/* One turn: acts on the calls in bytes, which are the connection's input (is_in_input) or, where
 * that is empty, were just received. */
void connection_process(struct token_connection *connection, struct bytes bytes, bool is_in_input);
/* One turn with calls that were received before. */
void connection_take_turn(struct token_connection *connection);
/* What connection_restore reads. */
void connection_write_state(const struct token_connection *connection, struct buffer *ret_state);
