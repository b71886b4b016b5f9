#include "tests/signer/signer.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/macro.h"

_Noreturn void signer_die(const char *what, CK_RV rv)
{
    (void)fprintf(stderr, "%s: %s: 0x%lx\n", program_invocation_short_name, what, rv);
    exit(1);
}

void signer_check(const char *what, CK_RV rv)
{
    if (rv != CKR_OK) {
        signer_die(what, rv);
    }
}

static CK_FUNCTION_LIST *load(const char *path)
{
    CK_FUNCTION_LIST *p11 = NULL;
    CK_C_GetFunctionList get_list = NULL;
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (module) {
        *(void **)&get_list = dlsym(module, "C_GetFunctionList");
    }
    if (!get_list) {
        signer_die(path, CKR_GENERAL_ERROR);
    }
    signer_check("C_GetFunctionList", get_list(&p11));
    return p11;
}

void signer_open(struct signer *signer, const char *module)
{
    CK_SLOT_ID slots[16];
    CK_ULONG count = ARRAY_SIZE(slots);
    CK_FUNCTION_LIST *p11 = signer->p11 = load(module);
    signer_check("C_Initialize", p11->C_Initialize(NULL));
    signer_check("C_GetSlotList", p11->C_GetSlotList(CK_TRUE, slots, &count));
    if (count == 0) {
        signer_die("C_GetSlotList: no token", CKR_TOKEN_NOT_PRESENT);
    }
    signer_check("C_OpenSession",
                 p11->C_OpenSession(slots[0], CKF_SERIAL_SESSION, NULL, NULL, &signer->session));
}

void signer_login(struct signer *signer, const char *pin_path)
{
    CK_UTF8CHAR pin[64];
    FILE *file = fopen(pin_path, "r");
    size_t size = file ? fread(pin, 1, sizeof(pin), file) : 0;
    if (file) {
        (void)fclose(file);
    }
    CK_RV rv = signer->p11->C_Login(signer->session, CKU_USER, pin, size);
    if (rv != CKR_USER_ALREADY_LOGGED_IN) {
        signer_check("C_Login", rv);
    }
}

void signer_find_key(struct signer *signer, const char *label)
{
    CK_FUNCTION_LIST *p11 = signer->p11;
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_ATTRIBUTE wanted[] = {{CKA_CLASS, &class, sizeof(class)},
                             {CKA_LABEL, (void *)label, strlen(label)}};
    CK_ATTRIBUTE type = {CKA_KEY_TYPE, &signer->type, sizeof(signer->type)};
    CK_ULONG count = 0;
    signer_check("C_FindObjectsInit", p11->C_FindObjectsInit(signer->session, wanted, 2));
    signer_check("C_FindObjects", p11->C_FindObjects(signer->session, &signer->key, 1, &count));
    signer_check("C_FindObjectsFinal", p11->C_FindObjectsFinal(signer->session));
    if (count != 1) {
        signer_die(label, CKR_KEY_HANDLE_INVALID);
    }
    signer_check("C_GetAttributeValue",
                 p11->C_GetAttributeValue(signer->session, signer->key, &type, 1));
}

CK_RV signer_sign(const struct signer *signer)
{
    static const uint8_t digest_info[] = {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60,
                                          0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
                                          0x01, 0x05, 0x00, 0x04, 0x20};
    uint8_t data[sizeof(digest_info) + SIGNER_DIGEST_BYTES] = {0};
    uint8_t signature[512];
    CK_ULONG size = sizeof(signature);
    bool is_ec = signer->type == CKK_EC;
    CK_MECHANISM mechanism = {is_ec ? CKM_ECDSA : CKM_RSA_PKCS, NULL, 0};
    memcpy(data, digest_info, sizeof(digest_info));
    CK_BYTE *input = is_ec ? data + sizeof(digest_info) : data;
    CK_ULONG input_size = is_ec ? SIGNER_DIGEST_BYTES : sizeof(data);
    CK_RV rv = signer->p11->C_SignInit(signer->session, &mechanism, signer->key);
    return rv == CKR_OK ? signer->p11->C_Sign(signer->session, input, input_size, signature, &size)
                        : rv;
}
