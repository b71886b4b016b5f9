/* For the files of the connection alone. */
#pragma once

#include "pkcs11/token/connection.h"

/* It has something to do and waits for its turn. */
void connection_queue_up(struct token_connection *connection);
/* Whether the peer owes something, from now on, that must come in time. */
void connection_set_stalled(struct token_connection *connection, bool is_stalled);
/* Has the next look tell of what the connection waits for now: that the peer takes the reply or
 * makes the next call. While its turn or a signature is to come, reading is watched until the peer
 * really sends more, which serial clients never do: that saves them system calls. */
void connection_watch(struct token_connection *connection);
/* What was watched for is there. */
void connection_notice(struct token_connection *connection);
void connection_unwatch(struct token_connection *connection);
/* Sends what the shared buffer has, in one call; keeps what the peer does not take. */
void connection_send_output(struct token_connection *connection);
/* Sends more of what was kept. */
void connection_send_rest(struct token_connection *connection);
/* Receives what there is and acts on it. */
void connection_receive(struct token_connection *connection);
/* Tells the server's counter of a change. */
void connection_count_sessions(struct token_connection *connection, size_t before);
/* Acts on the calls in bytes, as many as make a turn; they are the connection's input (is_in_input)
 * or, where that is empty, were just received. */
void connection_process(struct token_connection *connection, struct bytes bytes, bool is_in_input);
/* One turn: with what is left to send, what was received before, or what there is to receive. */
void connection_take_turn(struct token_connection *connection);
/* The client that waits for a signature is told that the device failed. */
void connection_give_up_signature(struct token_connection *connection);
/* What the connection had, when it is over; the end of it is place->gone. */
void connection_let_go(struct token_connection *connection);
/* What connection_restore reads. */
void connection_write_state(struct token_connection *connection, struct buffer *ret_state);
