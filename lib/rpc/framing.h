/* gRPC's length-prefixed messages inside DATA frames (grpc/doc/PROTOCOL-HTTP2.md,
 * Length-Prefixed-Message): one byte whether it is compressed, four bytes of length, the message.
 * Both halves. */
#pragma once

#include "lib/base/bytes.h"

enum { RPC_FRAMING_PREFIX_BYTES = 5 };

/* Writes the prefix of a message of size bytes, not compressed. */
void rpc_framing_write_prefix(uint8_t *to, uint32_t size);

/* Puts one message together from pieces. All zero is ready for the first. */
struct rpc_framing {
    uint8_t prefix[RPC_FRAMING_PREFIX_BYTES];
    uint8_t prefix_size;
    struct buffer message; /* grows as bytes come, not as the prefix promises */
};

/* Takes from *input what belongs to the message. Returns 1 when it is complete, 0 when more is
 * needed (then *input is empty), -1 for a message that is compressed (Unimplemented) or has more
 * than limit_bytes (ResourceExhausted). */
int rpc_framing_feed(struct rpc_framing *framing, struct bytes *input, size_t limit_bytes,
                     struct error *err);
/* Whether a message is begun and not complete. */
bool rpc_framing_is_partial(const struct rpc_framing *framing);
/* Ready for the next message; keeps nothing. */
void rpc_framing_clear(struct rpc_framing *framing);
