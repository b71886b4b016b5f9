/* A caller's sessions as bytes, for the agent's next process: a version, the handle of the last
 * session, the sessions, the keys that it could see. All numbers big endian. */
#include <string.h>

#include "lib/base/memory.h"
#include "pkcs11/token/session.h"

enum { VERSION = 2 };
enum { HAS_SEARCH = 1, HAS_OPERATION = 2, IS_MULTIPART = 4, FLAGS_KNOWN = 7 };

static void save_search(const struct session *session, struct buffer *state)
{
    size_t count = session->found.size / sizeof(CK_OBJECT_HANDLE);
    buffer_append_u32(state, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        CK_OBJECT_HANDLE handle;
        memcpy(&handle, session->found.data + i * sizeof(handle), sizeof(handle));
        buffer_append_u64(state, handle);
    }
}

static void save_operation(const struct sign_operation *operation, struct buffer *state)
{
    buffer_append_u64(state, operation->algorithm->type);
    buffer_append_u8(state, (uint8_t)operation->digest);
    buffer_append_u8(state, (uint8_t)operation->key_type);
    buffer_append_u64(state, operation->key);
    buffer_append_u16(state, (uint16_t)operation->data.size);
    buffer_append(state, operation->data.data, operation->data.size);
}

static void save_session(const struct session *session, struct buffer *state)
{
    /* What was hashed already cannot be taken along: the program starts that signature again. */
    const struct sign_operation *operation =
        session->operation && !session->operation->hash ? session->operation : NULL;
    int flags = (session->is_finding ? HAS_SEARCH : 0) | (operation ? HAS_OPERATION : 0) |
                (operation && operation->is_multipart ? IS_MULTIPART : 0);
    buffer_append_u64(state, session->handle);
    buffer_append_u8(state, (uint8_t)session->flags);
    buffer_append_u8(state, (uint8_t)flags);
    if (session->is_finding) {
        save_search(session, state);
    }
    if (operation) {
        save_operation(operation, state);
    }
}

void token_caller_save(const struct token_caller *caller, struct buffer *ret_state)
{
    buffer_append_u8(ret_state, VERSION);
    buffer_append_u64(ret_state, caller->last_session);
    buffer_append_u16(ret_state, (uint16_t)caller->session_count);
    for (size_t i = 0; i < caller->session_count; i++) {
        save_session(&caller->sessions[i], ret_state);
    }
    withdrawn_save(&caller->withdrawn, caller->view, ret_state);
}

static bool restore_search(struct session *session, struct reader *reader)
{
    uint32_t count = reader_u32(reader);
    session->is_finding = true;
    if (count > TOKEN_FIND_RESULTS_MAX) {
        return false;
    }
    for (uint32_t i = 0; i < count && !reader->is_bad; i++) {
        CK_OBJECT_HANDLE handle = reader_u64(reader);
        buffer_append(&session->found, &handle, sizeof(handle));
    }
    return !reader->is_bad;
}

static bool restore_operation(struct session *session, bool is_multipart, struct reader *reader)
{
    const struct sign_algorithm *algorithm = sign_algorithm_find(reader_u64(reader));
    uint8_t digest = reader_u8(reader);
    uint8_t key_type = reader_u8(reader);
    CK_OBJECT_HANDLE key = reader_u64(reader);
    struct bytes data = reader_bytes(reader, reader_u16(reader));
    if (reader->is_bad || !algorithm || digest > SIGN_DIGEST_SHA512 || key_type >= KEY_TYPE_COUNT ||
        !sign_algorithm_fits(algorithm, (enum key_type)key_type) ||
        (algorithm->is_hashing && algorithm->digest != (enum sign_digest)digest) ||
        data.size > TOKEN_SIGN_DATA_MAX) {
        return false;
    }
    session->operation = NEW(struct sign_operation);
    *session->operation = (struct sign_operation){.algorithm = algorithm,
                                                  .digest = (enum sign_digest)digest,
                                                  .key_type = (enum key_type)key_type,
                                                  .key = key,
                                                  .is_multipart = is_multipart};
    buffer_append(&session->operation->data, data.data, data.size);
    return true;
}

static bool restore_session(struct token_caller *caller, struct reader *reader)
{
    CK_SESSION_HANDLE before =
        caller->session_count > 0 ? caller->sessions[caller->session_count - 1].handle : 0;
    CK_SESSION_HANDLE handle = reader_u64(reader);
    CK_FLAGS flags = reader_u8(reader);
    uint8_t has = reader_u8(reader);
    if (reader->is_bad || handle <= before || handle > caller->last_session ||
        (flags | CKF_RW_SESSION) != (CKF_SERIAL_SESSION | CKF_RW_SESSION) || has > FLAGS_KNOWN) {
        return false;
    }
    struct session *session = session_add(caller, handle, flags);
    return (!(has & HAS_SEARCH) || restore_search(session, reader)) &&
           (!(has & HAS_OPERATION) ||
            restore_operation(session, (has & IS_MULTIPART) != 0, reader));
}

static bool restore_all(struct token_caller *caller, struct reader *reader)
{
    if (reader_u8(reader) != VERSION) {
        return false;
    }
    caller->last_session = reader_u64(reader);
    uint16_t sessions = reader_u16(reader);
    if (sessions > TOKEN_SESSIONS_MAX) {
        return false;
    }
    for (uint16_t i = 0; i < sessions; i++) {
        if (!restore_session(caller, reader)) {
            return false;
        }
    }
    return withdrawn_restore(&caller->withdrawn, reader) && reader_is_done(reader);
}

int token_caller_restore(struct token_caller *caller, struct bytes state, struct error *err)
{
    struct reader reader = reader_of(state);
    if (!restore_all(caller, &reader)) {
        (void)token_close_all_sessions(caller, TOKEN_SLOT_ID);
        return error_set(err, ERROR_DATA_LOSS,
                         "restoring the sessions of a PKCS#11 connection: %zu bytes that are not "
                         "its saved state; the program has to connect again",
                         state.size);
    }
    return 0;
}
