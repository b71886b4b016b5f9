#include <string.h>

#include "lib/base/memory.h"
#include "pkcs11/key_type.h"
#include "pkcs11/token/session.h"

void sign_operation_free(struct sign_operation *operation)
{
    EVP_MD_CTX_free(operation->hash);
    buffer_clear(&operation->data);
    free(operation);
}

DEFINE_CLEANUP(struct sign_operation, sign_operation, sign_operation_free);

void sign_operation_end(struct session *session)
{
    if (session->operation) {
        sign_operation_free(take_ptr(session->operation));
    }
}

static CK_RV begin(const struct token_caller *caller, const CK_MECHANISM *mechanism,
                   CK_OBJECT_HANDLE key, struct sign_operation **ret_operation)
{
    const struct token_generation *found = NULL;
    struct sign_operation begun = {.key = key};
    CK_RV rv = caller_key(caller, key, &found);
    if (rv != CKR_OK) {
        return rv;
    }
    begun.algorithm = sign_algorithm_find(mechanism->mechanism);
    if (!begun.algorithm) {
        return CKR_MECHANISM_INVALID;
    }
    rv = sign_algorithm_check(begun.algorithm, mechanism, &begun.digest);
    if (rv != CKR_OK) {
        return rv;
    }
    begun.key_type = key_type(found->key);
    if (!sign_algorithm_fits(begun.algorithm, begun.key_type)) {
        return CKR_KEY_TYPE_INCONSISTENT;
    }
    *ret_operation = NEW(struct sign_operation);
    **ret_operation = begun;
    return CKR_OK;
}

CK_RV token_sign_init(struct token_caller *caller, CK_SESSION_HANDLE session,
                      const CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    struct session *found = session_find(caller, session);
    if (!found) {
        return CKR_SESSION_HANDLE_INVALID;
    }
    /* PKCS#11 v3.0 5.13.1: no mechanism cancels. */
    if (!mechanism && !found->is_signing) {
        sign_operation_end(found);
        return CKR_OK;
    }
    if (found->operation || found->is_signing) {
        return CKR_OPERATION_ACTIVE;
    }
    return begin(caller, mechanism, key, &found->operation);
}

/* The session with an operation that goes on. */
static CK_RV find_operation(struct token_caller *caller, CK_SESSION_HANDLE handle,
                            struct session **ret_session)
{
    *ret_session = session_find(caller, handle);
    if (!*ret_session) {
        return CKR_SESSION_HANDLE_INVALID;
    }
    if ((*ret_session)->is_signing) {
        return CKR_OPERATION_ACTIVE;
    }
    return (*ret_session)->operation ? CKR_OK : CKR_OPERATION_NOT_INITIALIZED;
}

static const EVP_MD *hash_of(enum sign_digest digest)
{
    switch (digest) {
    case SIGN_DIGEST_SHA256:
        return EVP_sha256();
    case SIGN_DIGEST_SHA384:
        return EVP_sha384();
    case SIGN_DIGEST_SHA512:
        return EVP_sha512();
    }
    return NULL;
}

static CK_RV begin_hash(struct sign_operation *operation)
{
    operation->hash = EVP_MD_CTX_new();
    bool is_begun =
        operation->hash &&
        EVP_DigestInit_ex(operation->hash, hash_of(operation->digest), NULL) == 1 &&
        EVP_DigestUpdate(operation->hash, operation->data.data, operation->data.size) == 1;
    buffer_clear(&operation->data);
    return is_begun ? CKR_OK : CKR_HOST_MEMORY;
}

/* What is short is kept as it is, so that it can outlive a restart of the agent. */
static CK_RV add_part(struct sign_operation *operation, struct bytes part)
{
    if (!operation->hash && part.size <= TOKEN_SIGN_DATA_MAX - operation->data.size) {
        buffer_append(&operation->data, part.data, part.size);
        return CKR_OK;
    }
    if (!operation->algorithm->is_hashing) {
        return CKR_DATA_LEN_RANGE;
    }
    CK_RV rv = operation->hash ? CKR_OK : begin_hash(operation);
    if (rv == CKR_OK && EVP_DigestUpdate(operation->hash, part.data, part.size) != 1) {
        rv = CKR_HOST_MEMORY;
    }
    return rv;
}

static CK_RV update(struct session *session, struct bytes part)
{
    CK_RV rv = add_part(session->operation, part);
    if (rv != CKR_OK) {
        sign_operation_end(session);
    }
    return rv;
}

CK_RV token_sign_update(struct token_caller *caller, CK_SESSION_HANDLE session, struct bytes part)
{
    struct session *found = NULL;
    CK_RV rv = find_operation(caller, session, &found);
    if (rv != CKR_OK) {
        return rv;
    }
    found->operation->is_multipart = true;
    return update(found, part);
}

CK_RV token_sign_part(struct token_caller *caller, CK_SESSION_HANDLE session, struct bytes part)
{
    struct session *found = NULL;
    CK_RV rv = find_operation(caller, session, &found);
    if (rv != CKR_OK) {
        return rv;
    }
    if (found->operation->is_multipart) {
        sign_operation_end(found);
        return CKR_OPERATION_NOT_INITIALIZED; /* as in token_sign */
    }
    return update(found, part);
}

void token_sign_forget_parts(struct token_caller *caller, CK_SESSION_HANDLE session)
{
    struct session *found = session_find(caller, session);
    if (found && found->operation) {
        EVP_MD_CTX_free(take_ptr(found->operation->hash));
        buffer_clear(&found->operation->data);
    }
}

CK_RV token_signature_size(struct token_caller *caller, CK_SESSION_HANDLE session,
                           CK_ULONG *ret_size)
{
    struct session *found = NULL;
    CK_RV rv = find_operation(caller, session, &found);
    if (rv != CKR_OK) {
        return rv;
    }
    const struct key_type_info *info = key_type_info(found->operation->key_type);
    *ret_size = info->group ? 2 * info->number_bytes : info->number_bytes;
    return CKR_OK;
}

/* All data, hashed where the mechanism does so. */
static CK_RV make_value(struct sign_operation *operation, struct bytes data,
                        struct sign_value *ret_value)
{
    uint8_t hashed[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    struct bytes input = data;
    if (operation->algorithm->is_hashing) {
        bool is_hashed = operation->hash ? EVP_DigestFinal_ex(operation->hash, hashed, &size) == 1
                                         : EVP_Digest(data.data, data.size, hashed, &size,
                                                      hash_of(operation->digest), NULL) == 1;
        if (!is_hashed) {
            return CKR_HOST_MEMORY;
        }
        input = (struct bytes){hashed, size};
    }
    return sign_algorithm_value(operation->algorithm, operation->digest, operation->key_type, input,
                                ret_value);
}

CK_RV token_sign(struct token_caller *caller, CK_SESSION_HANDLE session, struct bytes data,
                 bool is_final, token_signed *done, void *user)
{
    struct session *found = NULL;
    const struct token_generation *generation = NULL;
    struct sign_value value;
    CK_RV rv = find_operation(caller, session, &found);
    if (rv != CKR_OK) {
        return rv;
    }
    /* Whatever comes of it, this is the end of the operation. */
    _cleanup_(sign_operation_cleanup) struct sign_operation *operation = take_ptr(found->operation);
    if (operation->is_multipart && !is_final) {
        /* PKCS#11 v2.40 5.11: C_Sign cannot end what C_SignUpdate began. */
        return CKR_OPERATION_NOT_INITIALIZED;
    }
    rv = caller_key(caller, operation->key, &generation);
    if (rv != CKR_OK) {
        return CKR_KEY_FUNCTION_NOT_PERMITTED;
    }
    rv = make_value(operation, is_final ? buffer_bytes(&operation->data) : data, &value);
    if (rv != CKR_OK) {
        return rv;
    }
    return sign_job_start(caller, found, &operation, generation, &value, done, user);
}
