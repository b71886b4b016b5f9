#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/memory.h"
#include "pkcs11/token/session.h"

static const struct token_clock system_clock = {clock_monotonic_ms, clock_now_s};

struct token_caller *token_caller_new(const struct token_caller_config *config)
{
    struct token_caller *caller = NEW(struct token_caller);
    caller->config = *config;
    caller->clock = &system_clock;
    LIST_INIT(&caller->jobs);
    return caller;
}

void caller_set_clock(struct token_caller *caller, const struct token_clock *clock)
{
    caller->clock = clock;
}

void token_caller_free(struct token_caller *caller)
{
    sign_job_abandon_all(caller);
    (void)token_close_all_sessions(caller, TOKEN_SLOT_ID);
    if (caller->shown) {
        token_view_unref(caller->shown);
    }
    if (caller->view) {
        token_view_unref(caller->view);
    }
    if (caller->guard) {
        token_guard_unref(caller->guard);
    }
    withdrawn_clear(&caller->withdrawn);
    free(caller);
}

/* What is pinned must not keep alive, or show, what was withdrawn. */
static void update_shown(struct token_caller *caller)
{
    struct token_view *before = take_ptr(caller->shown);
    if (before && caller->view && caller->clock->monotonic_ms() < caller->pinned_until_ms) {
        caller->shown = view_pin(caller->view, before, caller->clock->now_s());
    }
    if (before) {
        token_view_unref(before);
    }
}

void token_caller_trespassed(struct token_caller *caller, pid_t pid, uid_t uid, gid_t gid)
{
    if (caller->guard && caller->guard->operations->trespassed) {
        caller->guard->operations->trespassed(caller->guard, pid, uid, gid);
    }
}

static void set_guard(struct token_caller *caller, struct token_guard *guard)
{
    struct token_guard *before = caller->guard;
    caller->guard = guard ? token_guard_ref(guard) : NULL;
    if (before) {
        token_guard_unref(before);
    }
}

void token_caller_set_view(struct token_caller *caller, struct token_view *view,
                           struct token_guard *guard)
{
    struct token_view *before = caller->view;
    set_guard(caller, guard);
    caller->view = view ? token_view_ref(view) : NULL;
    update_shown(caller);
    sign_job_withdraw_all(caller);
    withdrawn_update(&caller->withdrawn, before, caller->view);
    if (before) {
        token_view_unref(before);
    }
}

bool caller_is_over(const struct token_caller *caller, const struct token_object *object)
{
    return object->generation && generation_is_over(object->generation, caller->clock->now_s());
}

const struct token_object *caller_object(const struct token_caller *caller, CK_OBJECT_HANDLE handle)
{
    const struct token_object *object = view_find(caller->view, handle);
    return object && !caller_is_over(caller, object) ? object : NULL;
}

static void tell_refused(const struct token_caller *caller, CK_OBJECT_HANDLE key)
{
    if (caller->guard && caller->guard->operations->refused) {
        caller->guard->operations->refused(caller->guard, key);
    }
}

CK_RV caller_key(const struct token_caller *caller, CK_OBJECT_HANDLE handle,
                 const struct token_generation **ret_generation)
{
    const struct token_object *object = view_find(caller->view, handle);
    if (object && object->class == &object_class_private_key && !caller_is_over(caller, object)) {
        *ret_generation = object->generation;
        return CKR_OK;
    }
    if (!object && withdrawn_has(&caller->withdrawn, handle)) {
        tell_refused(caller, handle);
        return CKR_KEY_FUNCTION_NOT_PERMITTED;
    }
    /* What can be seen and is a key, but does not sign. */
    bool is_key = object && object->generation && object->class != &object_class_leaf;
    return is_key ? CKR_KEY_FUNCTION_NOT_PERMITTED : CKR_KEY_HANDLE_INVALID;
}

CK_RV token_get_attributes(struct token_caller *caller, CK_SESSION_HANDLE session,
                           CK_OBJECT_HANDLE object, CK_ATTRIBUTE *attributes, size_t count)
{
    if (!session_find(caller, session)) {
        return CKR_SESSION_HANDLE_INVALID;
    }
    const struct token_object *found = caller_object(caller, object);
    if (!found) {
        return CKR_OBJECT_HANDLE_INVALID;
    }
    CK_RV result = CKR_OK;
    for (size_t i = 0; i < count; i++) {
        struct bytes value = {0};
        CK_RV rv = object_attribute(found, attributes[i].type, &value);
        attributes[i].pValue = rv == CKR_OK ? (void *)value.data : NULL;
        attributes[i].ulValueLen = rv == CKR_OK ? value.size : CK_UNAVAILABLE_INFORMATION;
        result = rv == CKR_OK ? result : rv;
    }
    return result;
}
