#include "agent/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/service_manager.h"
#include "agent/state.h"
#include "agent/svid/record.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

#define STATE_NAME SERVICE_MANAGER_STORED "state"
#define CONNECTION_NAME SERVICE_MANAGER_STORED "connection"

enum { VERSION = 2, STATE_BYTES_MAX = 64 << 20 };

/* The same for a socket in every process that has it. */
static uint64_t cookie_of(int descriptor)
{
    uint64_t cookie = 0;
    socklen_t size = sizeof(cookie);
    return getsockopt(descriptor, SOL_SOCKET, SO_COOKIE, &cookie, &size) < 0 ? 0 : cookie;
}

static void append_svid(void *user, struct svid_x509 *svid)
{
    record_append(svid, user);
}

static void append_sized(struct buffer *to, struct bytes bytes)
{
    buffer_append_u32(to, (uint32_t)bytes.size);
    buffer_append(to, bytes.data, bytes.size);
}

struct leaving {
    struct buffer connections;
    size_t count, failures;
};

static void leave_connection(void *user, int descriptor, const struct peer *peer,
                             struct bytes state)
{
    struct leaving *leaving = user;
    struct error err;
    if (service_manager_store(CONNECTION_NAME, descriptor, &err) < 0) {
        leaving->failures++;
        return;
    }
    buffer_append_u64(&leaving->connections, cookie_of(descriptor));
    buffer_append_u32(&leaving->connections, (uint32_t)peer->pid);
    buffer_append_u64(&leaving->connections, peer->start_time);
    append_sized(&leaving->connections, state);
    leaving->count++;
}

/* Memory that the service manager holds: it has no name in any folder. */
static int leave_state(struct bytes state, struct error *err)
{
    _cleanup_(file_close_cleanup) int memory =
        memfd_create("signet-handover", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (memory < 0) {
        return error_set_errno(err, errno, "making memory for what the next process needs");
    }
    if (write(memory, state.data, state.size) != (ssize_t)state.size) {
        return error_set_errno(err, errno, "writing down what the next process needs");
    }
    (void)fcntl(memory, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    return service_manager_store(STATE_NAME, memory, err);
}

void handover_leave(struct agent *agent)
{
    struct error err;
    struct leaving leaving = {0};
    _cleanup_(buffer_clear) struct buffer records = {0};
    _cleanup_(buffer_clear) struct buffer limits = {0};
    _cleanup_(buffer_clear) struct buffer state = {0};
    if (!service_manager_is_there() || !agent->tokens) {
        return;
    }
    manager_each_svid(agent->manager, append_svid, &records);
    tokens_save(agent->tokens, leave_connection, &leaving);
    buffer_append_u8(&state, VERSION);
    append_sized(&state, buffer_bytes(&records));
    access_save(agent->access, &limits); /* nobody uses a key any more */
    append_sized(&state, buffer_bytes(&limits));
    buffer_append(&state, leaving.connections.data, leaving.connections.size);
    buffer_clear(&leaving.connections);
    if (leaving.failures > 0 || leave_state(buffer_bytes(&state), &err) < 0) {
        log_warning("not all connections to PKCS#11 tokens outlive a restart: %zu were "
                    "left with "
                    "the service manager, %zu were not; see FileDescriptorStoreMax=",
                    leaving.count, leaving.failures);
    } else if (leaving.count > 0) {
        log_info("left connections to PKCS#11 tokens with the service manager count=%zu",
                 leaving.count);
    }
}

static struct stored_descriptor *find_stored(struct passed_descriptors *passed, const char *name,
                                             uint64_t cookie)
{
    for (size_t i = 0; i < passed->stored_count; i++) {
        struct stored_descriptor *stored = &passed->stored[i];
        if (stored->descriptor >= 0 && strcmp(stored->name, name) == 0 &&
            (cookie == 0 || cookie_of(stored->descriptor) == cookie)) {
            return stored;
        }
    }
    return NULL;
}

static int take_connections(struct agent *agent, struct reader *reader, size_t *ret_count,
                            struct error *err)
{
    while (!reader_is_done(reader)) {
        uint64_t cookie = reader_u64(reader);
        pid_t pid = (pid_t)reader_u32(reader);
        uint64_t start_time = reader_u64(reader);
        size_t size = reader_u32(reader);
        struct bytes state = reader_bytes(reader, size);
        if (reader->is_bad) {
            return error_set(err, ERROR_DATA_LOSS, "it is damaged");
        }
        struct stored_descriptor *stored =
            cookie != 0 ? find_stored(&agent->passed, CONNECTION_NAME, cookie) : NULL;
        if (stored) {
            tokens_restore(agent->tokens, file_take(&stored->descriptor), pid, start_time, state);
            ++*ret_count;
        }
    }
    return 0;
}

static int take_state(struct agent *agent, int memory, struct error *err)
{
    size_t count = 0;
    _cleanup_(buffer_clear) struct buffer state = {0};
    if (lseek(memory, 0, SEEK_SET) < 0) {
        return error_set_errno(err, errno, "reading it");
    }
    TRY(buffer_read_descriptor(memory, "the handover", STATE_BYTES_MAX, &state, err));
    struct reader reader = reader_of(buffer_bytes(&state));
    if (reader_u8(&reader) != VERSION) {
        return error_set(err, ERROR_FAILED_PRECONDITION, "it was left by another version");
    }
    size_t size = reader_u32(&reader);
    manager_restore(agent->manager, reader_bytes(&reader, size));
    size = reader_u32(&reader);
    TRY(access_restore(agent->access, reader_bytes(&reader, size), err));
    TRY(take_connections(agent, &reader, &count, err));
    log_info("connections to PKCS#11 tokens of before the restart go on count=%zu", count);
    return 0;
}

void handover_take(struct agent *agent)
{
    struct error err;
    struct stored_descriptor *stored = find_stored(&agent->passed, STATE_NAME, 0);
    if (stored && take_state(agent, stored->descriptor, &err) < 0) {
        log_warning("processes lose their connection to their PKCS#11 token: what "
                    "was left before "
                    "the restart cannot be used: %s",
                    err.text);
    }
    if (agent->passed.stored_count > 0) {
        service_manager_forget(STATE_NAME);
        service_manager_forget(CONNECTION_NAME);
    }
    passed_descriptors_clear(&agent->passed);
}
