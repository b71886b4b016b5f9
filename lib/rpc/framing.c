#include "lib/rpc/framing.h"

#include <string.h>

void rpc_framing_write_prefix(uint8_t *to, uint32_t size)
{
    to[0] = 0;
    for (unsigned i = 0; i < 4; i++) {
        to[1 + i] = (uint8_t)(size >> (24 - 8 * i));
    }
}

static size_t message_size(const struct rpc_framing *framing)
{
    struct reader reader =
        reader_of((struct bytes){framing->prefix + 1, RPC_FRAMING_PREFIX_BYTES - 1});
    return reader_u32(&reader);
}

static struct bytes take(struct bytes *input, size_t size_limit)
{
    struct reader reader = reader_of(*input);
    struct bytes taken = reader_bytes(&reader, MIN(input->size, size_limit));
    *input = reader.rest;
    return taken;
}

static bool has_prefix(const struct rpc_framing *framing)
{
    return framing->prefix_size == RPC_FRAMING_PREFIX_BYTES;
}

static int read_prefix(struct rpc_framing *framing, struct bytes *input, size_t limit_bytes,
                       struct error *err)
{
    struct bytes piece = take(input, (size_t)RPC_FRAMING_PREFIX_BYTES - framing->prefix_size);
    if (piece.size > 0) {
        memcpy(framing->prefix + framing->prefix_size, piece.data, piece.size);
        framing->prefix_size = (uint8_t)(framing->prefix_size + piece.size);
    }
    if (!has_prefix(framing)) {
        return 0;
    }
    if (framing->prefix[0] != 0) {
        return error_set(err, ERROR_UNIMPLEMENTED,
                         "reading a message: it is compressed; only grpc-encoding identity is "
                         "supported");
    }
    if (message_size(framing) > limit_bytes) {
        return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                         "reading a message: it has %zu bytes; at most %zu are allowed",
                         message_size(framing), limit_bytes);
    }
    return 0;
}

int rpc_framing_feed(struct rpc_framing *framing, struct bytes *input, size_t limit_bytes,
                     struct error *err)
{
    if (!has_prefix(framing)) {
        TRY(read_prefix(framing, input, limit_bytes, err));
        if (!has_prefix(framing)) {
            return 0;
        }
    }
    struct bytes piece = take(input, message_size(framing) - framing->message.size);
    if (piece.size > 0) {
        buffer_append(&framing->message, piece.data, piece.size);
    }
    return framing->message.size == message_size(framing) ? 1 : 0;
}

bool rpc_framing_is_partial(const struct rpc_framing *framing)
{
    return framing->prefix_size > 0 &&
           (!has_prefix(framing) || framing->message.size < message_size(framing));
}

void rpc_framing_clear(struct rpc_framing *framing)
{
    buffer_clear(&framing->message);
    *framing = (struct rpc_framing){0};
}
