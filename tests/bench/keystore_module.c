#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/memory.h"
#include "lib/base/secret.h"
#include "tests/bench/keystore_bare.h"

enum { SLOTS_MAX = 64, PIN_BYTES = 256 };

struct module {
    void *library;
    CK_FUNCTION_LIST *p11;
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE key;
};

static void check(CK_RV rv, const char *what)
{
    if (rv != CKR_OK && rv != CKR_CRYPTOKI_ALREADY_INITIALIZED &&
        rv != CKR_USER_ALREADY_LOGGED_IN) {
        char text[32];
        (void)snprintf(text, sizeof(text), "CKR 0x%lx", rv);
        bare_die(what, text);
    }
}

static void load(struct module *module, const char *path)
{
    module->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!module->library) {
        bare_die("dlopen", dlerror());
    }
    CK_C_GetFunctionList get = (CK_C_GetFunctionList)dlsym(module->library, "C_GetFunctionList");
    CK_C_INITIALIZE_ARGS arguments = {.flags = CKF_OS_LOCKING_OK};
    check(get ? get(&module->p11) : CKR_FUNCTION_NOT_SUPPORTED, "C_GetFunctionList");
    check(module->p11->C_Initialize(&arguments), "C_Initialize");
}

static CK_SLOT_ID find_slot(struct module *module, const char *label)
{
    CK_SLOT_ID slots[SLOTS_MAX];
    CK_ULONG count = SLOTS_MAX;
    check(module->p11->C_GetSlotList(CK_TRUE, slots, &count), "C_GetSlotList");
    for (CK_ULONG i = 0; i < count; i++) {
        CK_TOKEN_INFO info;
        check(module->p11->C_GetTokenInfo(slots[i], &info), "C_GetTokenInfo");
        size_t size = strlen(label);
        if (memcmp(info.label, label, size) == 0 && info.label[size] == ' ') {
            return slots[i];
        }
    }
    bare_die("finding the token", label);
}

static CK_OBJECT_HANDLE make_key(struct module *module, enum key_type type,
                                 CK_OBJECT_HANDLE *ret_public)
{
    static CK_BYTE p256[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
    static CK_BYTE exponent[] = {1, 0, 1};
    CK_BBOOL yes = CK_TRUE;
    CK_BBOOL no = CK_FALSE;
    CK_ULONG bits = 2048;
    bool is_ec = type == KEY_TYPE_EC_P256;
    CK_MECHANISM mechanism = {is_ec ? CKM_EC_KEY_PAIR_GEN : CKM_RSA_PKCS_KEY_PAIR_GEN, NULL, 0};
    CK_ATTRIBUTE ec[] = {{CKA_EC_PARAMS, p256, sizeof(p256)}, {CKA_TOKEN, &no, sizeof(no)}};
    CK_ATTRIBUTE rsa[] = {{CKA_MODULUS_BITS, &bits, sizeof(bits)},
                          {CKA_PUBLIC_EXPONENT, exponent, sizeof(exponent)},
                          {CKA_TOKEN, &no, sizeof(no)}};
    CK_ATTRIBUTE private[] = {{CKA_TOKEN, &no, sizeof(no)},
                              {CKA_SENSITIVE, &yes, sizeof(yes)},
                              {CKA_EXTRACTABLE, &no, sizeof(no)},
                              {CKA_SIGN, &yes, sizeof(yes)}};
    CK_OBJECT_HANDLE key = 0;
    check(module->p11->C_GenerateKeyPair(module->session, &mechanism, is_ec ? ec : rsa,
                                         is_ec ? ARRAY_SIZE(ec) : ARRAY_SIZE(rsa), private,
                                         ARRAY_SIZE(private), ret_public, &key),
          "C_GenerateKeyPair");
    return key;
}

static void login(struct module *module, const char *pin_path)
{
    struct error err;
    _cleanup_(secret_clear) struct secret pin = {0};
    if (secret_read_file(pin_path, PIN_BYTES, &pin, &err) < 0) {
        bare_die("the PIN", err.text);
    }
    check(module->p11->C_Login(module->session, CKU_USER, pin.data, pin.size), "C_Login");
}

/* MODULE TOKEN PINFILE */
static void *module_open(char *const arguments[])
{
    struct module *module = NEW(struct module);
    CK_OBJECT_HANDLE public = 0;
    load(module, arguments[0]);
    CK_SLOT_ID slot = find_slot(module, arguments[1]);
    check(module->p11->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL,
                                     &module->session),
          "C_OpenSession");
    login(module, arguments[2]);
    module->key = make_key(module, KEY_TYPE_EC_P256, &public);
    return module;
}

static void module_sign(void *state, const uint8_t digest[BARE_DIGEST_BYTES])
{
    struct module *module = state;
    CK_MECHANISM mechanism = {CKM_ECDSA, NULL, 0};
    CK_BYTE signature[64];
    CK_ULONG size = sizeof(signature);
    check(module->p11->C_SignInit(module->session, &mechanism, module->key), "C_SignInit");
    check(module->p11->C_Sign(module->session, (CK_BYTE *)digest, BARE_DIGEST_BYTES, signature,
                              &size),
          "C_Sign");
}

static void module_generate(void *state, enum key_type type)
{
    struct module *module = state;
    CK_OBJECT_HANDLE public = 0;
    CK_OBJECT_HANDLE private = make_key(module, type, &public);
    check(module->p11->C_DestroyObject(module->session, private), "C_DestroyObject");
    check(module->p11->C_DestroyObject(module->session, public), "C_DestroyObject");
}

static void module_close(void *state)
{
    struct module *module = state;
    check(module->p11->C_Finalize(NULL), "C_Finalize");
    (void)dlclose(module->library);
    free(module);
}

const struct bare bare_module = {"bare C_SignInit + C_Sign", module_open, module_sign,
                                 module_generate, module_close};
