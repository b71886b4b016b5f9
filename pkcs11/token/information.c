#include <stdlib.h>
#include <string.h>

#include "pkcs11/token/algorithm.h"
#include "pkcs11/token/session.h"

#define FLAGS_ECDSA (CKF_SIGN | CKF_EC_F_P | CKF_EC_NAMEDCURVE | CKF_EC_UNCOMPRESS)

/* Clients with the library of p11-kit before 0.25.6 must not even be told of mechanisms that it
 * does not know (it would read behind the caller's array), so those come last. The digests are
 * for Java, which does without RSASSA-PSS where they are not listed; nothing can be done with them.
 */
static const CK_MECHANISM_TYPE mechanisms[] = {
    CKM_ECDSA,
    CKM_RSA_PKCS,
    CKM_SHA256_RSA_PKCS,
    CKM_SHA384_RSA_PKCS,
    CKM_SHA512_RSA_PKCS,
    CKM_RSA_PKCS_PSS,
    CKM_SHA256,
    CKM_SHA384,
    CKM_SHA512,
    CKM_ECDSA_SHA256,
    CKM_ECDSA_SHA384,
    CKM_ECDSA_SHA512,
    CKM_SHA256_RSA_PKCS_PSS,
    CKM_SHA384_RSA_PKCS_PSS,
    CKM_SHA512_RSA_PKCS_PSS,
};
enum { OLD_MECHANISMS = 9 };

/* Texts without a NUL, filled with blanks (PKCS#11 v2.40 3.1). */
static void set_text(CK_UTF8CHAR *field, size_t size, const char *text)
{
    size_t length = strlen(text);
    for (size_t i = 0; i < size; i++) {
        field[i] = i < length ? (CK_UTF8CHAR)text[i] : ' ';
    }
}

#define SET_TEXT(field, text) set_text(field, sizeof(field), text)

CK_RV token_get_info(CK_INFO *ret_info)
{
    char *rest = NULL;
    unsigned long major = strtoul(SIGNET_VERSION, &rest, 10);
    unsigned long minor = *rest == '.' ? strtoul(rest + 1, NULL, 10) : 0;
    *ret_info =
        (CK_INFO){.cryptokiVersion = {2, 40}, .libraryVersion = {(CK_BYTE)major, (CK_BYTE)minor}};
    SET_TEXT(ret_info->manufacturerID, "signet");
    SET_TEXT(ret_info->libraryDescription, "signet token");
    return CKR_OK;
}

CK_RV token_get_slot_info(CK_SLOT_ID slot, CK_SLOT_INFO *ret_info)
{
    if (slot != TOKEN_SLOT_ID) {
        return CKR_SLOT_ID_INVALID;
    }
    *ret_info = (CK_SLOT_INFO){.flags = CKF_TOKEN_PRESENT};
    SET_TEXT(ret_info->slotDescription, "signet");
    SET_TEXT(ret_info->manufacturerID, "signet");
    return CKR_OK;
}

CK_RV token_get_token_info(const struct token_caller *caller, CK_SLOT_ID slot,
                           CK_TOKEN_INFO *ret_info)
{
    if (slot != TOKEN_SLOT_ID) {
        return CKR_SLOT_ID_INVALID;
    }
    /* Without CKF_LOGIN_REQUIRED: nearly every program would prompt for a PIN. */
    *ret_info = (CK_TOKEN_INFO){
        .flags = CKF_RNG | CKF_WRITE_PROTECTED | CKF_TOKEN_INITIALIZED,
        .ulMaxSessionCount = TOKEN_SESSIONS_MAX,
        .ulSessionCount = caller->session_count,
        .ulMaxRwSessionCount = TOKEN_SESSIONS_MAX,
        .ulRwSessionCount = session_count_writing(caller),
        .ulMaxPinLen = 255,
        .ulTotalPublicMemory = CK_UNAVAILABLE_INFORMATION,
        .ulFreePublicMemory = CK_UNAVAILABLE_INFORMATION,
        .ulTotalPrivateMemory = CK_UNAVAILABLE_INFORMATION,
        .ulFreePrivateMemory = CK_UNAVAILABLE_INFORMATION,
    };
    /* All four are part of the URIs that people write down, so they never change. */
    SET_TEXT(ret_info->label, "signet");
    SET_TEXT(ret_info->manufacturerID, "signet");
    SET_TEXT(ret_info->model, "signet");
    SET_TEXT(ret_info->serialNumber, "1");
    SET_TEXT(ret_info->utcTime, "");
    return CKR_OK;
}

const CK_MECHANISM_TYPE *token_mechanisms(bool is_modern, size_t *ret_count)
{
    *ret_count = is_modern ? ARRAY_SIZE(mechanisms) : OLD_MECHANISMS;
    return mechanisms;
}

CK_RV token_get_mechanism_info(CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO *ret_info)
{
    static const CK_MECHANISM_INFO ecdsa = {256, 384, FLAGS_ECDSA};
    static const CK_MECHANISM_INFO rsa = {2048, 2048, CKF_SIGN};
    static const CK_MECHANISM_INFO digest = {0, 0, 0};
    if (slot != TOKEN_SLOT_ID) {
        return CKR_SLOT_ID_INVALID;
    }
    const struct sign_algorithm *algorithm = sign_algorithm_find(type);
    if (algorithm) {
        *ret_info = algorithm->scheme == SIGN_SCHEME_ECDSA ? ecdsa : rsa;
        return CKR_OK;
    }
    for (size_t i = 0; i < ARRAY_SIZE(mechanisms); i++) {
        if (mechanisms[i] == type) {
            *ret_info = digest;
            return CKR_OK;
        }
    }
    return CKR_MECHANISM_INVALID;
}
