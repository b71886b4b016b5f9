#include <stdatomic.h>
#include <string.h>

#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "pkcs11/token/session.h"

/* Owns all that it needs, so that it may come back to a caller or a session that is gone. The
 * worker has it from keystore_submit to the delivery, but for is_withdrawn. */
struct sign_job {
    struct keystore_job job;
    LIST_ENTRY(sign_job) link;
    struct token_caller *caller; /* NULL: freed */
    size_t *under_way;
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE handle; /* of the key */
    token_signed *done;
    void *user;
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

static void free_job(struct sign_job *job)
{
    if (job->key) {
        key_unref(job->key);
    }
    free(job);
}

/* Frees the job after done, which may free the caller. */
static void finish(struct sign_job *job)
{
    struct session *session = session_find(job->caller, job->session);
    CK_RV rv = job->rv;
    if (atomic_load(&job->is_withdrawn)) {
        rv = CKR_KEY_FUNCTION_NOT_PERMITTED;
    }
    if (session) {
        session->is_signing = false;
    } else {
        rv = CKR_SESSION_CLOSED;
    }
    struct bytes signature = {job->signature, job->signature_size};
    LIST_REMOVE(job, link);
    job->done(job->user, rv, rv == CKR_OK ? signature : (struct bytes){0});
}

static void deliver(struct mailbox_message *message)
{
    struct sign_job *job = container_of(message, struct sign_job, job.message);
    if (job->under_way) {
        (*job->under_way)--;
    }
    if (job->caller) {
        finish(job);
    }
    free_job(job);
}

static struct sign_job *new_job(struct token_caller *caller, const struct session *session,
                                const struct sign_operation *operation, struct key *key)
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
    job->key = key_ref(key);
    job->scheme = operation->algorithm->scheme;
    /* For a keystore that closes before it comes to this. */
    job->rv = CKR_DEVICE_ERROR;
    atomic_init(&job->is_withdrawn, false);
    return job;
}

CK_RV sign_job_submit(struct token_caller *caller, struct session *session,
                      const struct sign_operation *operation, struct key *key,
                      const struct sign_value *value, token_signed *done, void *user)
{
    struct error err;
    struct sign_job *job = new_job(caller, session, operation, key);
    job->value = *value;
    job->done = done;
    job->user = user;
    if (keystore_submit(key_keystore(key), &job->job, &err) < 0) {
        free_job(job);
        return rv_of_error(&err);
    }
    if (job->under_way) {
        (*job->under_way)++;
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

void sign_job_abandon_all(struct token_caller *caller)
{
    struct sign_job *job = NULL;
    LIST_FOREACH (job, &caller->jobs, link) {
        /* Nobody waits: the hardware need not be asked. */
        atomic_store(&job->is_withdrawn, true);
        job->caller = NULL;
    }
    LIST_INIT(&caller->jobs);
}
