#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "lib/base/memory.h"
#include "lib/rpc/server_internal.h"

/* A gather that grew beyond this gives its memory back. */
enum { GATHER_KEEP_BYTES = 65536, CHUNKS_PER_WRITE = 64 };

struct chunk {
    STAILQ_ENTRY(chunk) link;
    struct rpc_message *message; /* a reference; NULL: the bytes are here */
    size_t offset;
    size_t size;
    uint8_t bytes[];
};

void gather_add_bytes(struct gather *gather, const uint8_t *data, size_t size)
{
    struct segment *last = gather->count > 0 ? &gather->segments[gather->count - 1] : NULL;
    if (last && !last->message) {
        last->size += size;
    } else {
        gather->segments[gather->count++] = (struct segment){NULL, gather->bytes.size, size};
    }
    buffer_append(&gather->bytes, data, size);
}

void gather_add_message(struct gather *gather, struct rpc_message *message, size_t offset,
                        size_t size)
{
    gather->segments[gather->count++] = (struct segment){rpc_message_ref(message), offset, size};
}

/* A DATA frame takes two segments, and one may follow with frames that are not DATA. */
bool gather_is_full(const struct gather *gather)
{
    return gather->count + 3 > GATHER_SEGMENTS;
}

void gather_clear(struct gather *gather)
{
    for (size_t i = 0; i < gather->count; i++) {
        if (gather->segments[i].message) {
            rpc_message_unref(gather->segments[i].message);
        }
    }
    gather->count = 0;
    if (gather->bytes.capacity > GATHER_KEEP_BYTES) {
        buffer_clear(&gather->bytes);
    }
    buffer_reset(&gather->bytes);
}

void outbound_init(struct outbound *outbound)
{
    STAILQ_INIT(&outbound->chunks);
    outbound->size_bytes = 0;
}

static void drop_first_chunk(struct outbound *outbound)
{
    struct chunk *chunk = STAILQ_FIRST(&outbound->chunks);
    STAILQ_REMOVE_HEAD(&outbound->chunks, link);
    if (chunk->message) {
        rpc_message_unref(chunk->message);
    }
    free(chunk);
}

void outbound_clear(struct outbound *outbound)
{
    while (!STAILQ_EMPTY(&outbound->chunks)) {
        drop_first_chunk(outbound);
    }
    outbound->size_bytes = 0;
}

/* sendmsg and not writev: a peer that is gone must not raise SIGPIPE in the program. */
static ssize_t send_vector(int descriptor, struct iovec *vector, size_t count)
{
    const struct msghdr header = {.msg_iov = vector, .msg_iovlen = count};
    ssize_t sent;
    do {
        sent = sendmsg(descriptor, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? 0 : sent;
}

static const uint8_t *chunk_data(const struct chunk *chunk)
{
    return (chunk->message ? message_framed(chunk->message).data : chunk->bytes) + chunk->offset;
}

static void outbound_consume(struct outbound *outbound, size_t size)
{
    outbound->size_bytes -= size;
    while (size > 0) {
        struct chunk *chunk = STAILQ_FIRST(&outbound->chunks);
        size_t taken = MIN(size, chunk->size);
        chunk->offset += taken;
        chunk->size -= taken;
        size -= taken;
        if (chunk->size == 0) {
            drop_first_chunk(outbound);
        }
    }
}

ssize_t outbound_write(struct outbound *outbound, int descriptor)
{
    ssize_t total = 0;
    while (outbound->size_bytes > 0) {
        struct iovec vector[CHUNKS_PER_WRITE];
        size_t count = 0;
        struct chunk *chunk;
        STAILQ_FOREACH (chunk, &outbound->chunks, link) {
            vector[count++] = (struct iovec){(void *)chunk_data(chunk), chunk->size};
            if (count == CHUNKS_PER_WRITE) {
                break;
            }
        }
        ssize_t sent = send_vector(descriptor, vector, count);
        if (sent < 0) {
            return -1;
        }
        if (sent == 0) {
            break;
        }
        outbound_consume(outbound, (size_t)sent);
        total += sent;
    }
    return total;
}

/* Messages are kept by reference: a secret is not copied. */
static void outbound_keep(struct outbound *outbound, const struct gather *gather,
                          const struct segment *segment)
{
    size_t copied = segment->message ? 0 : segment->size;
    struct chunk *chunk = memory_new(sizeof(*chunk) + copied);
    chunk->size = segment->size;
    if (segment->message) {
        chunk->message = rpc_message_ref(segment->message);
        chunk->offset = segment->offset;
    } else {
        memcpy(chunk->bytes, gather->bytes.data + segment->offset, copied);
    }
    STAILQ_INSERT_TAIL(&outbound->chunks, chunk, link);
    outbound->size_bytes += segment->size;
}

static void outbound_keep_rest(struct outbound *outbound, const struct gather *gather, size_t sent)
{
    for (size_t i = 0; i < gather->count; i++) {
        struct segment segment = gather->segments[i];
        size_t taken = MIN(sent, segment.size);
        sent -= taken;
        segment.offset += taken;
        segment.size -= taken;
        if (segment.size > 0) {
            outbound_keep(outbound, gather, &segment);
        }
    }
}

ssize_t outbound_write_gathered(struct outbound *outbound, int descriptor, struct gather *gather)
{
    struct iovec vector[GATHER_SEGMENTS];
    for (size_t i = 0; i < gather->count; i++) {
        const struct segment *segment = &gather->segments[i];
        const uint8_t *base =
            segment->message ? message_framed(segment->message).data : gather->bytes.data;
        vector[i] = (struct iovec){(void *)(base + segment->offset), segment->size};
    }
    ssize_t sent = send_vector(descriptor, vector, gather->count);
    if (sent >= 0) {
        outbound_keep_rest(outbound, gather, (size_t)sent);
    }
    gather_clear(gather);
    return sent;
}
