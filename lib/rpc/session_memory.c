#include <string.h>

#include "lib/base/memory.h"
#include "lib/rpc/server_internal.h"

/* nghttp2 gives each session a buffer of 16 KiB and a bit in which it writes frames. Between two
 * calls that buffer holds nothing when the first has taken all frames out (gather_frames does), so
 * all sessions of a server use the same one: an idle connection costs 4 KiB less resident memory
 * and 16 KiB less address space. DATA never passes through it (NGHTTP2_DATA_FLAG_NO_COPY).
 *
 * Only what nghttp2 asks for while it makes a session is looked at, so no peer can choose a size
 * that gets the buffer. */
enum { FRAME_BYTES_LEAST = 16384, FRAME_BYTES_MOST = 16384 + 64 };

static void *allocate(size_t size, void *user)
{
    (void)user;
    return malloc(size);
}

static void *allocate_zeroed(size_t count, size_t size, void *user)
{
    (void)user;
    return calloc(count, size);
}

static void release(void *memory, void *user)
{
    const struct session_memory *session_memory = user;
    if (memory != session_memory->frame) {
        free(memory);
    }
}

static void *resize(void *memory, size_t size, void *user)
{
    struct session_memory *session_memory = user;
    if (!memory && session_memory->is_opening && size >= FRAME_BYTES_LEAST &&
        size <= FRAME_BYTES_MOST) {
        session_memory->is_opening = false; /* there is one */
        return session_memory->frame;
    }
    if (memory && memory == session_memory->frame) {
        void *own = malloc(size);
        if (own) {
            memcpy(own, memory, MIN(size, (size_t)FRAME_BYTES_MOST));
        }
        return own;
    }
    return realloc(memory, size);
}

void session_memory_init(struct session_memory *session_memory)
{
    session_memory->frame = memory_new(FRAME_BYTES_MOST);
    session_memory->mem = (nghttp2_mem){session_memory, allocate, release, allocate_zeroed, resize};
}

void session_memory_clear(struct session_memory *session_memory)
{
    free(session_memory->frame);
}

int session_memory_open(struct session_memory *session_memory,
                        const nghttp2_session_callbacks *callbacks, const nghttp2_option *options,
                        void *user, nghttp2_session **ret_session)
{
    session_memory->is_opening = true;
    int code =
        nghttp2_session_server_new3(ret_session, callbacks, user, options, &session_memory->mem);
    session_memory->is_opening = false;
    return code;
}
