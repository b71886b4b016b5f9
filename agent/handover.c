#include "agent/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/service_manager.h"
#include "agent/state.h"
#include "agent/stored_sockets.h"
#include "agent/svid/record.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

/* Two, so that nothing of what processes have in hand can be in the way of what they may do. */
#define STATE_NAME SERVICE_MANAGER_STORED "state"
#define SESSIONS_NAME SERVICE_MANAGER_STORED "sessions"
#define CONNECTION_NAME SERVICE_MANAGER_STORED "peer"

enum {
    VERSION = 3,
    PART_BYTES_MAX = 64 << 20,
    CONNECTION_BYTES_MAX = 128 << 10,
    /* All names are passed in one environment variable, for which Linux has 128 KiB. */
    CONNECTIONS_MAX = 8000,
};

static void append_svid(void *user, struct svid_x509 *svid)
{
    record_append(svid, user);
}

/* A connection to leave behind. */
struct left {
    int descriptor;
    pid_t pid;
    uint64_t start_time;
    size_t offset, size; /* of its state in leaving's */
};

struct leaving {
    struct buffer connections; /* of struct left */
    struct buffer states;
    struct buffer part;
    size_t count, failures, heavy;
};

static void note_connection(void *user, int descriptor, const struct peer *peer, struct bytes state)
{
    struct leaving *leaving = user;
    const struct left left = {descriptor, peer->pid, peer->start_time, leaving->states.size,
                              state.size};
    if (state.size > CONNECTION_BYTES_MAX) {
        leaving->heavy++;
        file_close_cleanup(&descriptor);
        return;
    }
    buffer_append(&leaving->connections, &left, sizeof(left));
    buffer_append(&leaving->states, state.data, state.size);
}

static int compare_size(const void *a, const void *b)
{
    const struct left *x = a;
    const struct left *y = b;
    return x->size < y->size ? -1 : x->size > y->size;
}

static void leave_connection(struct leaving *leaving, const struct left *left)
{
    struct error err;
    if (service_manager_store(CONNECTION_NAME, left->descriptor, &err) < 0) {
        leaving->failures++;
        return;
    }
    buffer_append_u64(&leaving->part, socket_cookie(left->descriptor));
    buffer_append_u32(&leaving->part, (uint32_t)left->pid);
    buffer_append_u64(&leaving->part, left->start_time);
    buffer_append_sized(&leaving->part,
                        (struct bytes){leaving->states.data + left->offset, left->size});
    leaving->count++;
}

/* Where all together have too much in hand, those go that have most: nobody loses a connection by
 * what others do. */
static void leave_connections(struct leaving *leaving)
{
    enum { HEADER_BYTES = 24 };
    struct left *all = (struct left *)leaving->connections.data;
    size_t count = leaving->connections.size / sizeof(*all);
    if (count > 0) {
        qsort(all, count, sizeof(*all), compare_size);
    }
    buffer_append_u8(&leaving->part, VERSION);
    for (size_t i = 0; i < count; i++) {
        if (leaving->part.size + HEADER_BYTES + all[i].size <= PART_BYTES_MAX &&
            leaving->count < CONNECTIONS_MAX) {
            leave_connection(leaving, &all[i]);
        } else {
            leaving->heavy++;
        }
        file_close_cleanup(&all[i].descriptor);
    }
}

/* Memory that the service manager holds: it has no name in any folder. */
static int leave_part(const char *name, struct bytes part, struct error *err)
{
    _cleanup_(file_close_cleanup) int memory =
        memfd_create("signet-handover", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (part.size > PART_BYTES_MAX) {
        return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                         "what the next process needs has %zu bytes, more than %d", part.size,
                         PART_BYTES_MAX);
    }
    if (memory < 0) {
        return error_set_errno(err, errno, "making memory for what the next process needs");
    }
    if (write(memory, part.data, part.size) != (ssize_t)part.size) {
        return error_set_errno(err, errno, "writing down what the next process needs");
    }
    (void)fcntl(memory, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    return service_manager_store(name, memory, err);
}

static int leave_state(struct agent *agent, struct error *err)
{
    _cleanup_(buffer_clear) struct buffer records = {0};
    _cleanup_(buffer_clear) struct buffer limits = {0};
    _cleanup_(buffer_clear) struct buffer state = {0};
    manager_each_svid(agent->manager, append_svid, &records);
    access_save(agent->access, &limits); /* nobody uses a key any more */
    buffer_append_u8(&state, VERSION);
    buffer_append_sized(&state, buffer_bytes(&records));
    buffer_append_sized(&state, buffer_bytes(&limits));
    return leave_part(STATE_NAME, buffer_bytes(&state), err);
}

static void tell(const struct leaving *leaving)
{
    if (leaving->failures > 0) {
        log_warning("not all connections to PKCS#11 tokens outlive a restart: %zu were left with "
                    "the service manager, %zu were not; see FileDescriptorStoreMax=",
                    leaving->count, leaving->failures);
    }
    if (leaving->heavy > 0) {
        log_warning("%zu connections to PKCS#11 tokens do not outlive the restart: they have the "
                    "most in hand, and %d connections with %d bytes, none with more than %d, are "
                    "what can go on",
                    leaving->heavy, CONNECTIONS_MAX, PART_BYTES_MAX, CONNECTION_BYTES_MAX);
    }
    if (leaving->count > 0) {
        log_info("left connections to PKCS#11 tokens with the service manager count=%zu",
                 leaving->count);
    }
}

void handover_leave(struct agent *agent)
{
    struct error err;
    struct leaving leaving = {0};
    if (!service_manager_is_there() || !agent->tokens) {
        return;
    }
    tokens_save(agent->tokens, note_connection, &leaving);
    leave_connections(&leaving);
    if (leave_state(agent, &err) < 0 ||
        leave_part(SESSIONS_NAME, buffer_bytes(&leaving.part), &err) < 0) {
        log_warning("connections to PKCS#11 tokens do not outlive the restart: %s", err.text);
    } else {
        tell(&leaving);
    }
    buffer_clear(&leaving.connections);
    buffer_clear(&leaving.states);
    buffer_clear(&leaving.part);
}

static struct stored_descriptor *find_stored(struct passed_descriptors *passed, const char *name)
{
    for (size_t i = 0; i < passed->stored_count; i++) {
        struct stored_descriptor *stored = &passed->stored[i];
        if (stored->descriptor >= 0 && strcmp(stored->name, name) == 0) {
            return stored;
        }
    }
    return NULL;
}

static int take_connections(struct agent *agent, struct reader *reader, size_t *ret_count,
                            struct error *err)
{
    _cleanup_(stored_sockets_cleanup) struct stored_sockets *sockets =
        stored_sockets_new(&agent->passed, CONNECTION_NAME, socket_cookie);
    while (!reader_is_done(reader)) {
        uint64_t cookie = reader_u64(reader);
        pid_t pid = (pid_t)reader_u32(reader);
        uint64_t start_time = reader_u64(reader);
        struct bytes state = reader_sized(reader);
        if (reader->is_bad) {
            return error_set(err, ERROR_DATA_LOSS, "it is damaged");
        }
        struct stored_descriptor *stored = stored_sockets_find(sockets, cookie);
        if (stored) {
            tokens_restore(agent->tokens, file_take(&stored->descriptor), pid, start_time, state);
            ++*ret_count;
        }
    }
    return 0;
}

static int read_part(struct agent *agent, const char *name, struct buffer *ret_part,
                     struct reader *ret_reader, struct error *err)
{
    struct stored_descriptor *stored = find_stored(&agent->passed, name);
    if (!stored) {
        return error_set(err, ERROR_NOT_FOUND, "a part of it is missing");
    }
    if (lseek(stored->descriptor, 0, SEEK_SET) < 0) {
        return error_set_errno(err, errno, "reading it");
    }
    TRY(buffer_read_descriptor(stored->descriptor, "the handover", PART_BYTES_MAX, ret_part, err));
    *ret_reader = reader_of(buffer_bytes(ret_part));
    if (reader_u8(ret_reader) != VERSION) {
        return error_set(err, ERROR_FAILED_PRECONDITION, "it was left by another version");
    }
    return 0;
}

static int take_all(struct agent *agent, struct error *err)
{
    size_t count = 0;
    _cleanup_(buffer_clear) struct buffer state = {0};
    _cleanup_(buffer_clear) struct buffer sessions = {0};
    struct reader reader;
    TRY(read_part(agent, STATE_NAME, &state, &reader, err));
    manager_restore(agent->manager, reader_sized(&reader));
    TRY(access_restore(agent->access, reader_sized(&reader), err));
    TRY(read_part(agent, SESSIONS_NAME, &sessions, &reader, err));
    TRY(take_connections(agent, &reader, &count, err));
    log_info("connections to PKCS#11 tokens of before the restart go on count=%zu", count);
    return 0;
}

void handover_take(struct agent *agent)
{
    struct error err;
    if (agent->passed.stored_count > 0 && take_all(agent, &err) < 0) {
        log_warning("processes lose their connection to their PKCS#11 token: what was left before "
                    "the restart cannot be used: %s",
                    err.text);
    }
    if (agent->passed.stored_count > 0) {
        service_manager_forget(STATE_NAME);
        service_manager_forget(SESSIONS_NAME);
        service_manager_forget(CONNECTION_NAME);
    }
    passed_descriptors_clear(&agent->passed);
}
