#include <stdatomic.h>
#include <string.h>

#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "pkcs11/token/question.h"
#include "pkcs11/token/session.h"

/* Owns all that it needs, so that it may come back to a caller or a session that is gone. The guard
 * has it while it is parked, the worker from submit to the delivery, but for is_withdrawn. */
struct sign_job {
    struct keystore_job job;
    struct token_question question;
    LIST_ENTRY(sign_job) link;
    struct token_caller *caller; /* NULL: freed */
    size_t *under_way;
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE handle; /* of the key */
    token_signed *done;
    void *user;
    struct token_guard *guard; /* that was asked; NULL: none */
    uint64_t tag;
    bool is_parked;                   /* the guard has not decided yet */
    struct sign_operation *operation; /* NULL unless it is parked */
    bool is_admitted;
    struct key *key; /* NULL once it was used */
    enum sign_scheme scheme;
    struct sign_value value;
    atomic_bool is_withdrawn;
    CK_RV rv;
    uint8_t signature[SIGNATURE_MAX_BYTES];
    size_t signature_size;
};

/* What clients understand: not permitted means that asking again is of no use. */
static const CK_RV rv_of_code[] = {
    [ERROR_CANCELLED] = CKR_DEVICE_ERROR,
    [ERROR_INVALID_ARGUMENT] = CKR_DATA_INVALID,
    [ERROR_DEADLINE_EXCEEDED] = CKR_DEVICE_ERROR,
    [ERROR_NOT_FOUND] = CKR_KEY_FUNCTION_NOT_PERMITTED,
    [ERROR_PERMISSION_DENIED] = CKR_KEY_FUNCTION_NOT_PERMITTED,
    [ERROR_RESOURCE_EXHAUSTED] = CKR_DEVICE_MEMORY,
    [ERROR_UNAVAILABLE] = CKR_DEVICE_ERROR,
    [ERROR_DATA_LOSS] = CKR_KEY_FUNCTION_NOT_PERMITTED,
};

static CK_RV rv_of_error(const struct error *err)
{
    CK_RV rv = (size_t)err->code < ARRAY_SIZE(rv_of_code) ? rv_of_code[err->code] : CKR_OK;
    if (rv == CKR_OK) {
        log_warning("a signature for a workload failed: %s", err->text);
    }
    return rv == CKR_OK ? CKR_DEVICE_ERROR : rv;
}

static void sign(struct sign_job *job)
{
    struct error err;
    const struct sign_request request = {
        .scheme = job->scheme,
        .digest = job->value.digest,
        .value = {job->value.bytes, sign_digest_size(job->value.digest)},
    };
    bool is_signed = key_sign(job->key, &request, job->job.priority, job->job.flow, job->signature,
                              &job->signature_size, &err) == 0;
    job->rv = is_signed ? CKR_OK : rv_of_error(&err);
}

static void run(struct keystore_job *keystore_job)
{
    struct sign_job *job = container_of(keystore_job, struct sign_job, job);
    if (atomic_load(&job->is_withdrawn)) {
        job->rv = CKR_KEY_FUNCTION_NOT_PERMITTED;
    } else {
        sign(job);
    }
    key_unref(take_ptr(job->key));
}

/* Any thread. */
static void free_job(struct sign_job *job)
{
    if (job->operation) {
        sign_operation_free(job->operation);
    }
    if (job->key) {
        key_unref(job->key);
    }
    if (job->guard) {
        token_guard_unref(job->guard);
    }
    free(job);
}

static void forget(struct token_question *question)
{
    free_job(container_of(question, struct sign_job, question));
}

static void tell_guard(const struct sign_job *job, CK_RV rv)
{
    if (job->guard && job->is_admitted) {
        job->guard->operations->used(job->guard, job->tag, rv);
    }
}

/* What the client gets. */
static CK_RV result_of(const struct sign_job *job, const struct session *session)
{
    if (!session) {
        return CKR_SESSION_CLOSED;
    }
    return atomic_load(&job->is_withdrawn) ? CKR_KEY_FUNCTION_NOT_PERMITTED : job->rv;
}

/* Frees the job after done, which may free the caller. */
static void finish(struct sign_job *job)
{
    struct session *session = job->caller ? session_find(job->caller, job->session) : NULL;
    CK_RV rv = result_of(job, session);
    if (session) {
        session->is_signing = false;
    }
    if (job->under_way) {
        (*job->under_way)--;
    }
    tell_guard(job, rv);
    if (job->caller) {
        struct bytes signature = {job->signature, job->signature_size};
        LIST_REMOVE(job, link);
        job->done(job->user, rv, rv == CKR_OK ? signature : (struct bytes){0});
    }
    free_job(job);
}

static void deliver(struct mailbox_message *message)
{
    finish(container_of(message, struct sign_job, job.message));
}

static CK_RV submit(struct sign_job *job)
{
    struct error err;
    bool is_queued = keystore_submit(key_keystore(job->key), &job->job, &err) == 0;
    return is_queued ? CKR_OK : rv_of_error(&err);
}

/* Whether somebody still waits for a signature with a key that may still sign. */
static CK_RV check_again(const struct sign_job *job)
{
    const struct token_generation *ignored;
    if (!job->caller || !session_find(job->caller, job->session)) {
        return CKR_SESSION_CLOSED;
    }
    return atomic_load(&job->is_withdrawn) ||
                   caller_key(job->caller, job->handle, &ignored) != CKR_OK
               ? CKR_KEY_FUNCTION_NOT_PERMITTED
               : CKR_OK;
}

/* The guard has decided what it had left open. */
static void deliver_answer(struct mailbox_message *message)
{
    struct sign_job *job = container_of(message, struct sign_job, question.message);
    CK_RV rv = job->question.rv;
    job->is_parked = false;
    if (job->operation) {
        sign_operation_free(take_ptr(job->operation));
    }
    job->is_admitted = rv == CKR_OK;
    if (job->caller) {
        job->caller->question_count--;
    }
    if (rv == CKR_OK) {
        rv = check_again(job);
    }
    if (rv == CKR_OK) {
        rv = submit(job);
    }
    if (rv != CKR_OK) {
        job->rv = rv;
        finish(job);
    }
}

static struct sign_job *new_job(struct token_caller *caller, const struct session *session,
                                const struct sign_operation *operation,
                                const struct token_generation *generation)
{
    struct sign_job *job = NEW(struct sign_job);
    job->job = (struct keystore_job){.run = run,
                                     .mailbox = caller->config.mailbox,
                                     .message.deliver = deliver,
                                     .priority = KEYSTORE_PRIORITY_USE,
                                     .flow = caller->config.flow};
    job->caller = caller;
    job->under_way = caller->config.under_way;
    job->session = session->handle;
    job->handle = operation->key;
    job->guard = caller->guard ? token_guard_ref(caller->guard) : NULL;
    job->tag = generation->tag;
    job->key = key_ref(generation->key);
    job->scheme = operation->algorithm->scheme;
    /* For a keystore that closes before it comes to this. */
    job->rv = CKR_DEVICE_ERROR;
    atomic_init(&job->is_withdrawn, false);
    return job;
}

static CK_RV ask_guard(struct sign_job *job)
{
    if (!job->guard) {
        return CKR_OK;
    }
    if (job->caller->question_count == TOKEN_QUESTIONS_MAX) {
        return CKR_DEVICE_MEMORY;
    }
    question_init(&job->question, job->caller->config.mailbox, deliver_answer, forget);
    CK_RV rv = job->guard->operations->admit(job->guard, job->tag, &job->question, &job->is_parked);
    job->is_admitted = rv == CKR_OK && !job->is_parked;
    return job->is_parked ? CKR_OK : rv;
}

static CK_RV start(struct sign_job *job)
{
    CK_RV rv = ask_guard(job);
    if (job->is_parked) {
        job->caller->question_count++;
        return CKR_OK;
    }
    if (rv == CKR_OK) {
        rv = submit(job);
        if (rv != CKR_OK) {
            tell_guard(job, rv);
        }
    }
    return rv;
}

CK_RV sign_job_start(struct token_caller *caller, struct session *session,
                     struct sign_operation **operation, const struct token_generation *generation,
                     const struct sign_value *value, token_signed *done, void *user)
{
    struct sign_job *job = new_job(caller, session, *operation, generation);
    job->value = *value;
    job->done = done;
    job->user = user;
    CK_RV rv = start(job);
    if (rv != CKR_OK) {
        free_job(job);
        return rv;
    }
    if (job->under_way) {
        (*job->under_way)++;
    }
    if (job->is_parked) {
        job->operation = take_ptr(*operation);
    }
    LIST_INSERT_HEAD(&caller->jobs, job, link);
    session->is_signing = true;
    return CKR_OK;
}

void sign_job_withdraw_all(struct token_caller *caller)
{
    struct sign_job *job = NULL;
    LIST_FOREACH (job, &caller->jobs, link) {
        if (!view_find(caller->view, job->handle)) {
            atomic_store(&job->is_withdrawn, true);
        }
    }
}

/* A guard may take for ever: neither the caller's mailbox nor its keystore are to wait for that.
 * The job is the guard's then, and what is left of it is the operation. NULL: it has answered. */
static struct sign_operation *abandon_parked(struct sign_job *job)
{
    size_t *under_way = job->under_way;
    struct key *key = take_ptr(job->key);
    struct sign_operation *operation = take_ptr(job->operation);
    if (!question_abandon(&job->question)) {
        job->key = key;
        job->operation = operation;
        return NULL;
    }
    key_unref(key);
    if (under_way) {
        (*under_way)--;
    }
    return operation;
}

bool token_caller_is_asking(const struct token_caller *caller)
{
    return caller->question_count > 0;
}

bool token_caller_take_back(struct token_caller *caller)
{
    struct sign_job *job = LIST_FIRST(&caller->jobs);
    struct session *session = job ? session_find(caller, job->session) : NULL;
    if (!session || LIST_NEXT(job, link) || !job->is_parked || job->operation->hash) {
        return false;
    }
    LIST_REMOVE(job, link);
    session->operation = abandon_parked(job);
    if (!session->operation) {
        LIST_INSERT_HEAD(&caller->jobs, job, link);
        return false;
    }
    session->is_signing = false;
    caller->question_count--;
    return true;
}

void sign_job_abandon_all(struct token_caller *caller)
{
    struct sign_job *job;
    while ((job = LIST_FIRST(&caller->jobs))) {
        LIST_REMOVE(job, link);
        /* Nobody waits: the hardware need not be asked. */
        atomic_store(&job->is_withdrawn, true);
        job->caller = NULL;
        struct sign_operation *operation = job->is_parked ? abandon_parked(job) : NULL;
        if (operation) {
            sign_operation_free(operation);
        }
    }
}
