/* For the files of the connection alone. */
#pragma once

#include "pkcs11/token/connection.h"

/* Whether the connection has whole calls that wait for its next turn. */
void connection_set_ready(struct token_connection *connection, bool is_ready);
/* Whether the peer owes something, from now on, that must come in time. */
void connection_set_stalled(struct token_connection *connection, bool is_stalled);
/* Acts on calls that were received before. */
void connection_take_turn(struct token_connection *connection);
/* What connection_restore reads. */
void connection_write_state(const struct token_connection *connection, struct buffer *ret_state);
