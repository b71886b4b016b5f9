#include "lib/base/memory.h"
#include "lib/base/secret.h"
#include "lib/rpc/framing.h"
#include "lib/rpc/server_internal.h"

/* The bytes as they go into DATA frames: prefix and message. They follow this struct, or lie in
 * guarded memory. */
struct rpc_message {
    size_t references;
    struct bytes framed;
    struct secret secret;
    uint8_t bytes[];
};

static void pack(const ProtobufCMessage *message, uint8_t *to, size_t size)
{
    rpc_framing_write_prefix(to, (uint32_t)(size - RPC_FRAMING_PREFIX_BYTES));
    (void)protobuf_c_message_pack(message, to + RPC_FRAMING_PREFIX_BYTES);
}

static size_t framed_size(const ProtobufCMessage *message)
{
    return RPC_FRAMING_PREFIX_BYTES + protobuf_c_message_get_packed_size(message);
}

struct rpc_message *rpc_message_new(const ProtobufCMessage *message)
{
    size_t size = framed_size(message);
    struct rpc_message *framed = memory_new(sizeof(*framed) + size);
    framed->references = 1;
    framed->framed = (struct bytes){framed->bytes, size};
    pack(message, framed->bytes, size);
    return framed;
}

int rpc_message_new_secret(const ProtobufCMessage *message, struct rpc_message **ret_message,
                           struct error *err)
{
    struct secret secret;
    size_t size = framed_size(message);
    TRY(secret_new(size, &secret, err));
    pack(message, secret.data, size);
    struct rpc_message *framed = NEW(struct rpc_message);
    framed->references = 1;
    framed->framed = secret_bytes(&secret);
    framed->secret = secret;
    *ret_message = framed;
    return 0;
}

struct rpc_message *rpc_message_ref(struct rpc_message *message)
{
    message->references++;
    return message;
}

void rpc_message_unref(struct rpc_message *message)
{
    if (--message->references > 0) {
        return;
    }
    if (message->secret.data) {
        secret_clear(&message->secret);
    }
    free(message);
}

struct bytes message_framed(const struct rpc_message *message)
{
    return message->framed;
}
