#include "pkcs11/tpm/tpm_session.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <string.h>

enum { NONCE_BYTES = 32, NONCE_BYTES_MIN = 16, SESSION_COMMANDS_MAX = 16384 };

struct session_secrets {
    uint8_t salt[TPM_HASH_BYTES];
    uint8_t shared[TPM_HASH_BYTES];
    uint8_t session_key[TPM_HASH_BYTES];
    uint8_t cipher_key[TPM_CIPHER_KEY_BYTES + TPM_CIPHER_IV_BYTES];
};
_Static_assert(TPM_CIPHER_KEY_BYTES + TPM_CIPHER_IV_BYTES == TPM_HASH_BYTES,
               "one block of KDFa is key and IV");

static struct session_secrets *secrets_of(const struct tpm_session *session)
{
    return (struct session_secrets *)session->secrets.data;
}

static struct bytes nonce_bytes(const TPM2B_NONCE *nonce)
{
    return (struct bytes){nonce->buffer, nonce->size};
}

static bool renew_nonce(TPM2B_NONCE *nonce)
{
    nonce->size = NONCE_BYTES;
    return RAND_bytes(nonce->buffer, NONCE_BYTES) == 1;
}

int tpm_session_open(struct tpm_session *session, struct tpm_transport *transport,
                     const struct tpm_crypto *crypto, struct error *err)
{
    *session = (struct tpm_session){.transport = transport, .crypto = crypto};
    return secret_new(sizeof(struct session_secrets), &session->secrets, err);
}

void tpm_session_close(struct tpm_session *session)
{
    tpm_session_end(session, false);
    secret_clear(&session->secrets);
}

bool tpm_session_is_usable(const struct tpm_session *session)
{
    return session->handle != 0 && session->commands < SESSION_COMMANDS_MAX;
}

/* Part 1 19.6.8. */
static bool derive_session_key(struct tpm_session *session)
{
    struct session_secrets *secrets = secrets_of(session);
    EVP_MAC_CTX *mac =
        tpm_crypto_mac_new(session->crypto, (struct bytes){secrets->salt, sizeof(secrets->salt)});
    bool is_derived =
        mac && tpm_crypto_kdfa(mac, "ATH", nonce_bytes(&session->nonce_tpm),
                               nonce_bytes(&session->nonce_caller), secrets->session_key);
    EVP_MAC_CTX_free(mac);
    if (is_derived) {
        session->mac = tpm_crypto_mac_new(
            session->crypto, (struct bytes){secrets->session_key, sizeof(secrets->session_key)});
    }
    OPENSSL_cleanse(secrets->salt, sizeof(secrets->salt));
    OPENSSL_cleanse(secrets->session_key, sizeof(secrets->session_key));
    return session->mac != NULL;
}

static TSS2_RC send_start(struct tpm_session *session, TPM2_HANDLE primary,
                          const TPM2B_ENCRYPTED_SECRET *salt)
{
    const TPMT_SYM_DEF aes = {
        .algorithm = TPM2_ALG_AES, .keyBits.aes = 128, .mode.aes = TPM2_ALG_CFB};
    struct tpm_transport *transport = session->transport;
    session->nonce_tpm.size = 0;
    TSS2_RC rc = Tss2_Sys_StartAuthSession_Prepare(transport->sys, primary, TPM2_RH_NULL,
                                                   &session->nonce_caller, salt, TPM2_SE_HMAC, &aes,
                                                   TPM2_ALG_SHA256);
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_transport_execute(transport, "TPM2_StartAuthSession");
    }
    if (rc == TSS2_RC_SUCCESS) {
        rc = Tss2_Sys_StartAuthSession_Complete(transport->sys, &session->handle,
                                                &session->nonce_tpm);
    }
    return rc;
}

TSS2_RC tpm_session_start(struct tpm_session *session, TPM2_HANDLE primary,
                          const TPM2B_PUBLIC *public)
{
    TPM2B_ENCRYPTED_SECRET salt = {0};
    struct session_secrets *secrets = secrets_of(session);
    session->commands = 0;
    if (!renew_nonce(&session->nonce_caller)) {
        return TPM_RC_CRYPTO;
    }
    TSS2_RC rc = tpm_salt_make(session->crypto, public, secrets->salt, secrets->shared, &salt);
    if (rc == TSS2_RC_SUCCESS) {
        rc = send_start(session, primary, &salt);
    }
    if (rc == TSS2_RC_SUCCESS && session->nonce_tpm.size < NONCE_BYTES_MIN) {
        rc = TPM_RC_TAMPERED;
    }
    if (rc == TSS2_RC_SUCCESS && !derive_session_key(session)) {
        rc = TPM_RC_CRYPTO;
    }
    if (rc != TSS2_RC_SUCCESS) {
        tpm_session_end(session, true);
    }
    return rc;
}

/* Whether the TPM no longer holds the session. */
static bool flush(struct tpm_session *session, TPM2_HANDLE handle)
{
    struct tpm_transport *transport = session->transport;
    TSS2_RC rc = Tss2_Sys_FlushContext_Prepare(transport->sys, handle);
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_transport_execute(transport, NULL);
    }
    return rc == TSS2_RC_SUCCESS || tpm_rc_is_handle(rc) || tpm_rc_is_parameter(rc);
}

static void flush_ended(struct tpm_session *session)
{
    for (size_t i = 0; i < ARRAY_SIZE(session->ended); i++) {
        if (session->ended[i] != 0 && flush(session, session->ended[i])) {
            session->ended[i] = 0;
        }
    }
}

void tpm_session_end(struct tpm_session *session, bool may_flush)
{
    size_t free_slot = 0;
    while (free_slot + 1 < ARRAY_SIZE(session->ended) && session->ended[free_slot] != 0) {
        free_slot++;
    }
    if (session->handle != 0) {
        session->ended[free_slot] = session->handle;
    }
    if (may_flush) {
        flush_ended(session);
    } else {
        memset(session->ended, 0, sizeof(session->ended));
    }
    session->handle = 0;
    EVP_MAC_CTX_free(session->mac);
    session->mac = NULL;
}

/* En- or decrypts a parameter in place; the session's own HMAC key is the KDF's (Part 1 21.3). */
static bool cipher(struct tpm_session *session, const TPM2B_NONCE *newer, const TPM2B_NONCE *older,
                   bool encrypt, uint8_t *data, size_t size)
{
    struct session_secrets *secrets = secrets_of(session);
    bool is_done = tpm_crypto_kdfa(session->mac, "CFB", nonce_bytes(newer), nonce_bytes(older),
                                   secrets->cipher_key) &&
                   tpm_crypto_cfb(session->crypto, secrets->cipher_key, encrypt, data, size);
    OPENSSL_cleanse(secrets->cipher_key, sizeof(secrets->cipher_key));
    return is_done;
}

static TSS2_RC encrypt_command(struct tpm_session *session)
{
    uint8_t data[TPM2_MAX_COMMAND_SIZE];
    const uint8_t *parameter = NULL;
    size_t size = 0;
    TSS2_SYS_CONTEXT *sys = session->transport->sys;
    TSS2_RC rc = Tss2_Sys_GetDecryptParam(sys, &size, &parameter);
    if (rc != TSS2_RC_SUCCESS || size == 0 || size > sizeof(data)) {
        return rc;
    }
    memcpy(data, parameter, size);
    if (!cipher(session, &session->nonce_caller, &session->nonce_tpm, true, data, size)) {
        return TPM_RC_CRYPTO;
    }
    return Tss2_Sys_SetDecryptParam(sys, size, data);
}

/* HMAC over a hash of the parameters, the nonces and the attributes (Part 1 19.6.5). */
static bool authenticate(struct tpm_session *session, const uint8_t hash[TPM_HASH_BYTES],
                         const TPM2B_NONCE *newer, const TPM2B_NONCE *older,
                         TPMA_SESSION attributes, uint8_t ret_mac[TPM_HASH_BYTES])
{
    const struct bytes parts[] = {
        {hash, TPM_HASH_BYTES},
        nonce_bytes(newer),
        nonce_bytes(older),
        {&attributes, sizeof(attributes)},
    };
    return tpm_crypto_mac(session->mac, parts, ARRAY_SIZE(parts), ret_mac);
}

static void put_u32(uint32_t value, uint8_t ret_bytes[4])
{
    for (size_t i = 0; i < 4; i++) {
        ret_bytes[i] = (uint8_t)(value >> (24 - 8 * i));
    }
}

/* A command under way: its handles, and where in the authorization area the HMAC session is. */
struct exchange {
    const struct tpm_command *command;
    const struct tpm_operand *operands;
    size_t count;
    TSS2L_SYS_AUTH_COMMAND auths;
    size_t place;
};

/* The area without the HMAC session's own HMAC. Others need neither nonce nor HMAC: a password is
 * empty, and so is the HMAC of a policy session that is bound to nothing (Part 1 19.6.5). */
static bool list_auths(const struct tpm_session *session, struct exchange *exchange)
{
    TSS2L_SYS_AUTH_COMMAND *list = &exchange->auths;
    bool is_listed = false;
    for (size_t i = 0; i < exchange->count; i++) {
        TPM2_HANDLE handle = exchange->operands[i].authorization;
        if (handle == TPM2_RH_NULL) {
            continue;
        }
        if (list->count == ARRAY_SIZE(list->auths) || (handle == 0 && is_listed)) {
            return false;
        }
        if (handle == 0) {
            is_listed = true;
            exchange->place = list->count;
        }
        list->auths[list->count++].sessionHandle = handle;
    }
    if (!is_listed) {
        if (list->count == ARRAY_SIZE(list->auths)) {
            return false;
        }
        exchange->place = list->count++;
    }
    TPMS_AUTH_COMMAND *auth = &list->auths[exchange->place];
    auth->sessionHandle = session->handle;
    auth->nonce = session->nonce_caller;
    auth->sessionAttributes = TPMA_SESSION_CONTINUESESSION | exchange->command->attributes;
    auth->hmac.size = TPM_HASH_BYTES;
    return true;
}

/* Over code, names and parameters (Part 1 16.7). */
static bool hash_command(const struct tpm_session *session, const struct exchange *exchange,
                         struct bytes parameters, uint8_t ret_hash[TPM_HASH_BYTES])
{
    uint8_t code[4];
    struct bytes parts[1 + TPM_OPERANDS_MAX + 1] = {{code, sizeof(code)}};
    size_t count = 1;
    put_u32(exchange->command->code, code);
    for (size_t i = 0; i < exchange->count; i++) {
        parts[count++] = exchange->operands[i].name;
    }
    parts[count++] = parameters;
    return tpm_crypto_hash(session->crypto, parts, count, ret_hash);
}

/* cpHash, HMAC, and the authorization area that carries it (Part 1 18.7). */
static TSS2_RC authorize_command(struct tpm_session *session, struct exchange *exchange)
{
    uint8_t hash[TPM_HASH_BYTES];
    struct bytes parameters = {0};
    TSS2_SYS_CONTEXT *sys = session->transport->sys;
    TSS2_RC rc = Tss2_Sys_GetCpBuffer(sys, &parameters.size, &parameters.data);
    if (rc != TSS2_RC_SUCCESS) {
        return rc;
    }
    if (!list_auths(session, exchange)) {
        return TPM_RC_BAD_REQUEST;
    }
    TPMS_AUTH_COMMAND *auth = &exchange->auths.auths[exchange->place];
    if (!hash_command(session, exchange, parameters, hash) ||
        !authenticate(session, hash, &session->nonce_caller, &session->nonce_tpm,
                      auth->sessionAttributes, auth->hmac.buffer)) {
        return TPM_RC_CRYPTO;
    }
    return Tss2_Sys_SetCmdAuths(sys, &exchange->auths);
}

/* rpHash and HMAC of the answer; its new nonce is taken over when they are right. The library's
 * GetRspAuths has checked that the parameters lie within the answer, so it comes first. */
static TSS2_RC check_answer(struct tpm_session *session, const struct exchange *exchange,
                            struct bytes *ret_parameters)
{
    const struct tpm_command *command = exchange->command;
    uint8_t head[8] = {0};
    uint8_t hash[TPM_HASH_BYTES];
    uint8_t mac[TPM_HASH_BYTES];
    TSS2_SYS_CONTEXT *sys = session->transport->sys;
    TSS2L_SYS_AUTH_RESPONSE list = {0};
    const TPMS_AUTH_RESPONSE *auth = &list.auths[exchange->place];
    if (Tss2_Sys_GetRspAuths(sys, &list) != TSS2_RC_SUCCESS ||
        list.count != exchange->auths.count || auth->nonce.size < NONCE_BYTES_MIN ||
        auth->hmac.size != TPM_HASH_BYTES ||
        Tss2_Sys_GetRpBuffer(sys, &ret_parameters->size, &ret_parameters->data) !=
            TSS2_RC_SUCCESS) {
        return TPM_RC_TAMPERED;
    }
    put_u32(command->code, head + 4);
    const struct bytes parts[] = {{head, sizeof(head)}, *ret_parameters};
    if (!tpm_crypto_hash(session->crypto, parts, ARRAY_SIZE(parts), hash) ||
        !authenticate(session, hash, &auth->nonce, &session->nonce_caller, auth->sessionAttributes,
                      mac)) {
        return TPM_RC_CRYPTO;
    }
    TPMA_SESSION required =
        TPMA_SESSION_CONTINUESESSION | (command->attributes & TPMA_SESSION_ENCRYPT);
    if (CRYPTO_memcmp(mac, auth->hmac.buffer, sizeof(mac)) != 0 ||
        (auth->sessionAttributes & required) != required) {
        return TPM_RC_TAMPERED;
    }
    session->nonce_tpm = auth->nonce;
    return TSS2_RC_SUCCESS;
}

static TSS2_RC decrypt_answer(struct tpm_session *session, struct bytes parameters)
{
    uint8_t data[TPM2_MAX_COMMAND_SIZE];
    struct reader reader = reader_of(parameters);
    struct bytes parameter = reader_bytes(&reader, reader_u16(&reader));
    if (reader.is_bad || parameter.size > sizeof(data)) {
        return TPM_RC_BAD_ANSWER;
    }
    if (parameter.size == 0) {
        return TSS2_RC_SUCCESS;
    }
    memcpy(data, parameter.data, parameter.size);
    TSS2_RC rc = TPM_RC_CRYPTO;
    if (cipher(session, &session->nonce_tpm, &session->nonce_caller, false, data, parameter.size)) {
        rc = Tss2_Sys_SetEncryptParam(session->transport->sys, parameter.size, data);
    }
    OPENSSL_cleanse(data, parameter.size);
    return rc;
}

static TSS2_RC seal_command(struct tpm_session *session, struct exchange *exchange)
{
    TSS2_RC rc = renew_nonce(&session->nonce_caller) ? TSS2_RC_SUCCESS : TPM_RC_CRYPTO;
    if (rc == TSS2_RC_SUCCESS && (exchange->command->attributes & TPMA_SESSION_DECRYPT)) {
        rc = encrypt_command(session);
    }
    return rc == TSS2_RC_SUCCESS ? authorize_command(session, exchange) : rc;
}

static TSS2_RC unseal_answer(struct tpm_session *session, const struct exchange *exchange)
{
    struct bytes parameters = {0};
    TSS2_RC rc = check_answer(session, exchange, &parameters);
    if (rc == TSS2_RC_SUCCESS && (exchange->command->attributes & TPMA_SESSION_ENCRYPT)) {
        rc = decrypt_answer(session, parameters);
    }
    return rc;
}

TSS2_RC tpm_session_execute_on(struct tpm_session *session, const struct tpm_command *command,
                               const struct tpm_operand *operands, size_t count)
{
    struct exchange exchange = {.command = command, .operands = operands, .count = count};
    if (count > TPM_OPERANDS_MAX) {
        return TPM_RC_BAD_REQUEST;
    }
    TSS2_RC rc = seal_command(session, &exchange);
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_transport_execute(session->transport, command->name);
    }
    if (rc != TSS2_RC_SUCCESS) {
        return rc;
    }
    session->commands++;
    rc = unseal_answer(session, &exchange);
    if (rc != TSS2_RC_SUCCESS) {
        /* The TPM's nonce moved on and ours did not. */
        tpm_session_end(session, true);
    }
    return rc;
}

TSS2_RC tpm_session_execute(struct tpm_session *session, const struct tpm_command *command,
                            const struct tpm_name *name)
{
    const struct tpm_operand operand = {.name = tpm_name_bytes(name)};
    return tpm_session_execute_on(session, command, &operand, 1);
}
