/* What limits have counted goes over a restart of the agent, so that no process gains, or loses, by
 * it. */
#include <string.h>

#include "agent/access/state.h"
#include "lib/base/memory.h"

static size_t count_limited(const struct subject *subject)
{
    size_t count = 0;
    const struct holding *holding;
    LIST_FOREACH (holding, &subject->holdings, link) {
        count += holding->has_limits;
    }
    return count;
}

static void save_subject(const struct subject *subject, struct buffer *state)
{
    const struct holding *holding;
    buffer_append_u64(state, subject->key.pid);
    buffer_append_u64(state, subject->start_time);
    buffer_append_u32(state, (uint32_t)count_limited(subject));
    LIST_FOREACH (holding, &subject->holdings, link) {
        if (holding->has_limits) {
            buffer_append_u16(state, (uint16_t)strlen(holding->spiffe_id));
            buffer_append_text(state, holding->spiffe_id);
            buffer_append_u64(state, (uint64_t)holding->first_use_s);
            buffer_append_u64(state, atomic_load(&holding->uses));
        }
    }
}

void access_save(struct access *access, struct buffer *ret_state)
{
    struct subject *subject;
    struct subject *next;
    HASH_ITER (hh, access->subjects.by_process, subject, next) {
        if (count_limited(subject) > 0) {
            save_subject(subject, ret_state);
        }
    }
}

static void restore_holding(struct subject *subject, struct reader *reader)
{
    struct bytes spiffe_id = reader_bytes(reader, reader_u16(reader));
    int64_t first_use_s = (int64_t)reader_u64(reader);
    uint64_t uses = reader_u64(reader);
    if (reader->is_bad || !subject) {
        return;
    }
    _cleanup_(free_cleanup) char *text =
        text_format("%.*s", (int)spiffe_id.size, (const char *)spiffe_id.data);
    struct holding *holding = subject_holding(subject, text);
    holding->first_use_s = first_use_s;
    holding->has_limits = true;
    atomic_store(&holding->uses, uses);
}

/* NULL: the process is gone. */
static struct subject *find_process(struct access *access, uint64_t pid, uint64_t start_time)
{
    struct peer *peer = NULL;
    struct subject *subject = NULL;
    if (pid > INT32_MAX || peer_of_pid((pid_t)pid, &peer, NULL) < 0) {
        return NULL;
    }
    if (peer->start_time == start_time) {
        subject = subject_get(access, peer);
    }
    peer_unref(peer);
    return subject;
}

int access_restore(struct access *access, struct bytes state, struct error *err)
{
    struct reader reader = reader_of(state);
    while (!reader_is_done(&reader)) {
        uint64_t pid = reader_u64(&reader);
        uint64_t start_time = reader_u64(&reader);
        uint32_t count = reader_u32(&reader);
        struct subject *subject = reader.is_bad ? NULL : find_process(access, pid, start_time);
        for (uint32_t i = 0; i < count && !reader.is_bad; i++) {
            restore_holding(subject, &reader);
        }
        if (subject) {
            subject_unref(subject);
        }
        if (reader.is_bad) {
            return error_set(err, ERROR_DATA_LOSS, "what limits had counted is damaged");
        }
    }
    return 0;
}
