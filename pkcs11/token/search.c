#include <string.h>

#include "pkcs11/token/session.h"

static bool matches(const struct token_object *object, const CK_ATTRIBUTE *wanted, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct bytes value;
        /* The length first, as a peer can give one without a value. */
        if (object_attribute(object, wanted[i].type, &value) != CKR_OK ||
            value.size != wanted[i].ulValueLen || !wanted[i].pValue ||
            memcmp(value.data, wanted[i].pValue, value.size) != 0) {
            return false;
        }
    }
    return true;
}

/* Who asks for exactly one generation gets it, listed or not. */
static bool is_exact(const CK_ATTRIBUTE *wanted, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (wanted[i].type == CKA_ID || wanted[i].type == CKA_SERIAL_NUMBER ||
            wanted[i].type == CKA_VALUE) {
            return true;
        }
    }
    return false;
}

/* A program looks up certificate and key in several searches: all of them see one generation of
 * each identity. */
static const struct token_view *view_of_search(struct token_caller *caller)
{
    uint64_t now_ms = caller->clock->monotonic_ms();
    if (caller->shown && now_ms >= caller->pinned_until_ms) {
        token_view_unref(take_ptr(caller->shown));
    }
    if (!caller->shown && caller->view) {
        caller->shown = token_view_ref(caller->view);
        caller->pinned_until_ms = now_ms + TOKEN_PIN_MS;
    }
    return caller->shown;
}

static void search(const struct token_caller *caller, const struct token_view *view,
                   const CK_ATTRIBUTE *wanted, size_t count, struct buffer *ret_found)
{
    size_t end = is_exact(wanted, count) ? view->object_count : view->listed_object_count;
    for (size_t i = 0; i < end; i++) {
        const struct token_object *object = view->objects[i];
        if (ret_found->size == TOKEN_FIND_RESULTS_MAX * sizeof(object->handle)) {
            return;
        }
        if (matches(object, wanted, count) && !caller_is_over(caller, object)) {
            buffer_append(ret_found, &object->handle, sizeof(object->handle));
        }
    }
}

CK_RV token_find_init(struct token_caller *caller, CK_SESSION_HANDLE session,
                      const CK_ATTRIBUTE *wanted, size_t count)
{
    struct session *found = session_find(caller, session);
    if (!found) {
        return CKR_SESSION_HANDLE_INVALID;
    }
    if (found->is_finding) {
        return CKR_OPERATION_ACTIVE;
    }
    const struct token_view *view = view_of_search(caller);
    if (view) {
        search(caller, view, wanted, count, &found->found);
    }
    found->is_finding = true;
    return CKR_OK;
}

CK_RV token_find(struct token_caller *caller, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *objects,
                 size_t limit, size_t *ret_count)
{
    struct session *found = session_find(caller, session);
    if (!found) {
        return CKR_SESSION_HANDLE_INVALID;
    }
    if (!found->is_finding) {
        return CKR_OPERATION_NOT_INITIALIZED;
    }
    size_t count = MIN(limit, found->found.size / sizeof(*objects));
    if (count > 0) {
        memcpy(objects, found->found.data, count * sizeof(*objects));
        buffer_consume(&found->found, count * sizeof(*objects));
    }
    *ret_count = count;
    return CKR_OK;
}

CK_RV token_find_final(struct token_caller *caller, CK_SESSION_HANDLE session)
{
    struct session *found = session_find(caller, session);
    if (!found) {
        return CKR_SESSION_HANDLE_INVALID;
    }
    if (!found->is_finding) {
        return CKR_OPERATION_NOT_INITIALIZED;
    }
    found->is_finding = false;
    buffer_clear(&found->found);
    return CKR_OK;
}
