#include "pkcs11/token/connection_state.h"
#include "pkcs11/token/dispatch_long.h"

enum { STATE_VERSION = 1 };
enum {
    FLAG_HAS_VERSION = 1,
    FLAG_IS_INITIALIZED = 2,
    FLAG_IS_MODERN = 4,
    FLAG_HAS_LONG_CALL = 8,
};
/* A turn's replies and what is read behind them. */
enum { STATE_BYTES_MAX = 4 * MESSAGE_FRAME_MAX };

void connection_write_state(struct token_connection *connection, struct buffer *ret_state)
{
    struct dispatch *dispatch = &connection->dispatch;
    int flags = (connection->has_version ? FLAG_HAS_VERSION : 0) |
                (dispatch->is_initialized ? FLAG_IS_INITIALIZED : 0) |
                (dispatch->is_modern ? FLAG_IS_MODERN : 0) |
                (dispatch->long_call ? FLAG_HAS_LONG_CALL : 0);
    buffer_append_u8(ret_state, STATE_VERSION);
    buffer_append_u8(ret_state, (uint8_t)flags);
    buffer_append_sized(ret_state, buffer_bytes(&connection->input));
    buffer_append_sized(ret_state, buffer_bytes(&connection->output));
    if (dispatch->long_call) {
        dispatch_long_save(dispatch, ret_state);
    }
    token_caller_save(dispatch->caller, ret_state);
}

static void read_sized(struct reader *reader, size_t limit, struct buffer *ret_bytes)
{
    struct bytes bytes = reader_sized(reader);
    reader->is_bad |= bytes.size > limit;
    if (!reader->is_bad) {
        buffer_append(ret_bytes, bytes.data, bytes.size);
    }
}

int connection_restore(struct token_connection *connection, struct bytes state, struct error *err)
{
    struct reader reader = reader_of(state);
    uint8_t version = reader_u8(&reader);
    uint8_t flags = reader_u8(&reader);
    read_sized(&reader, MESSAGE_FRAME_MAX, &connection->input);
    read_sized(&reader, STATE_BYTES_MAX, &connection->output);
    if (flags & FLAG_HAS_LONG_CALL) {
        dispatch_long_restore(&connection->dispatch, &reader);
    }
    if (reader.is_bad || version != STATE_VERSION) {
        return error_set(err, ERROR_DATA_LOSS,
                         "restoring a PKCS#11 connection: its saved state cannot be read");
    }
    connection->has_version = flags & FLAG_HAS_VERSION;
    connection->dispatch.is_initialized = flags & FLAG_IS_INITIALIZED;
    connection->dispatch.is_modern = flags & FLAG_IS_MODERN;
    TRY(token_caller_restore(connection->dispatch.caller, reader.rest, err));
    dispatch_count_sessions(&connection->dispatch);
    return 0;
}
