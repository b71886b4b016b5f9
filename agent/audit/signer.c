#include "agent/audit/signer.h"

#include <openssl/sha.h>
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <string.h>

#include "agent/audit/head_key.h"
#include "agent/audit/thread.h"
#include "lib/base/memory.h"

struct audit_signer {
    struct keystore *keystore;
    char *key_path;
    pthread_t thread;
    atomic_uint references;    /* the owner's and the thread's */
    struct audit_head_key key; /* the thread's */
    pthread_mutex_t lock;
    pthread_cond_t wake, over;
    /* Below the lock. */
    void (*ready)(void *user);
    void *user;
    struct audit_link link;
    enum audit_head_reason reason;
    bool is_asked, is_signed, is_stopping, is_over;
    struct audit_signed result;
};

void audit_signed_clear(struct audit_signed *result)
{
    buffer_clear(&result->public_key);
    free(result->notice);
    *result = (struct audit_signed){0};
}

static void signer_unref(struct audit_signer *signer)
{
    if (atomic_fetch_sub(&signer->references, 1) != 1) {
        return;
    }
    audit_signed_clear(&signer->result);
    (void)pthread_cond_destroy(&signer->wake);
    (void)pthread_cond_destroy(&signer->over);
    (void)pthread_mutex_destroy(&signer->lock);
    free(signer->key_path);
    free(signer);
}

static int sign(const struct audit_signer *signer, struct audit_signed *result)
{
    _cleanup_(buffer_clear) struct buffer message = {0};
    uint8_t digest[SHA256_DIGEST_LENGTH];
    uint8_t signature[SIGNATURE_MAX_BYTES];
    size_t size = 0;
    struct key *key = signer->key.key;
    struct audit_head *head = &result->head;
    audit_head_message(&head->link, &message);
    (void)SHA256(message.data, message.size, digest);
    const struct sign_request request = {
        SIGN_SCHEME_ECDSA, SIGN_DIGEST_SHA256, {digest, sizeof(digest)}};
    TRY(key_sign(key, &request, KEYSTORE_PRIORITY_ISSUE, 0, signature, &size, &result->failure));
    if (size != sizeof(head->signature)) {
        return error_set(&result->failure, ERROR_INTERNAL,
                         "signing a head: the keystore made a signature of %zu bytes", size);
    }
    memcpy(head->signature, signature, size);
    (void)sodium_bin2hex(head->key_id, sizeof(head->key_id), key_id(key), KEY_ID_BYTES);
    struct bytes public_key = key_public_der(key);
    buffer_append(&result->public_key, public_key.data, public_key.size);
    /* Better now than when the log is judged. */
    return audit_head_verify(head, public_key, &result->failure);
}

static int open_and_sign(struct audit_signer *signer, struct audit_signed *result)
{
    if (signer->key.key && !key_is_alive(signer->key.key)) {
        audit_head_key_clear(&signer->key);
    }
    if (!signer->key.key) {
        TRY(audit_head_key_open(signer->keystore, signer->key_path, &signer->key, &result->notice,
                                &result->failure));
    }
    TRY(audit_head_key_keep(&signer->key, signer->key_path, &result->failure));
    return sign(signer, result);
}

/* Called and returns with the lock held. */
static void serve(struct audit_signer *signer)
{
    struct audit_signed result = {.head = {.link = signer->link, .reason = signer->reason}};
    (void)pthread_mutex_unlock(&signer->lock);
    result.is_failed = open_and_sign(signer, &result) < 0;
    (void)pthread_mutex_lock(&signer->lock);
    signer->result = result;
    signer->is_asked = false;
    signer->is_signed = true;
    if (!signer->is_stopping) {
        signer->ready(signer->user);
    }
}

static void *signer_main(void *argument)
{
    struct audit_signer *signer = argument;
    (void)pthread_setname_np(pthread_self(), "audit-sign");
    (void)pthread_mutex_lock(&signer->lock);
    while (!signer->is_stopping) {
        if (signer->is_asked) {
            serve(signer);
        } else {
            (void)pthread_cond_wait(&signer->wake, &signer->lock);
        }
    }
    (void)pthread_mutex_unlock(&signer->lock);
    audit_head_key_clear(&signer->key);
    (void)pthread_mutex_lock(&signer->lock);
    signer->is_over = true;
    (void)pthread_cond_signal(&signer->over);
    (void)pthread_mutex_unlock(&signer->lock);
    signer_unref(signer);
    return NULL;
}

int audit_signer_new(const struct audit_signer_config *config, struct audit_signer **ret_signer,
                     struct error *err)
{
    struct audit_signer *signer = NEW(struct audit_signer);
    signer->keystore = config->keystore;
    signer->key_path = memory_copy_text(config->key_path);
    signer->ready = config->ready;
    signer->user = config->user;
    atomic_init(&signer->references, 2);
    audit_thread_init(&signer->lock, (pthread_cond_t *[]){&signer->wake, &signer->over}, 2);
    int failure = audit_thread_start(&signer->thread, signer_main, signer);
    if (failure) {
        atomic_store(&signer->references, 1);
        signer_unref(signer);
        return error_set_errno(err, failure, "starting the thread that signs heads");
    }
    *ret_signer = signer;
    return 0;
}

bool audit_signer_stop(struct audit_signer *signer, uint64_t deadline_ms)
{
    (void)pthread_mutex_lock(&signer->lock);
    signer->is_stopping = true;
    (void)pthread_cond_signal(&signer->wake);
    while (!signer->is_over && audit_thread_wait(&signer->over, &signer->lock, deadline_ms)) {
    }
    bool is_over = signer->is_over;
    (void)pthread_mutex_unlock(&signer->lock);
    if (is_over) {
        (void)pthread_join(signer->thread, NULL);
    } else {
        (void)pthread_detach(signer->thread);
    }
    signer_unref(signer);
    return is_over;
}

void audit_signer_ask(struct audit_signer *signer, const struct audit_link *link,
                      enum audit_head_reason reason)
{
    (void)pthread_mutex_lock(&signer->lock);
    signer->link = *link;
    signer->reason = reason;
    signer->is_asked = true;
    (void)pthread_cond_signal(&signer->wake);
    (void)pthread_mutex_unlock(&signer->lock);
}

bool audit_signer_take(struct audit_signer *signer, struct audit_signed *ret_signed)
{
    (void)pthread_mutex_lock(&signer->lock);
    bool is_signed = signer->is_signed;
    if (is_signed) {
        *ret_signed = signer->result;
        signer->result = (struct audit_signed){0};
        signer->is_signed = false;
    }
    (void)pthread_mutex_unlock(&signer->lock);
    return is_signed;
}
