/* An application that signs with a key that it finds on a PKCS#11 token, as the programs of system
 * tests and benches have it. What fails ends the process with a message. */
#pragma once

#include <p11-kit/pkcs11.h>
#include <stdint.h>

enum { SIGNER_DIGEST_BYTES = 32 };

struct signer {
    CK_FUNCTION_LIST *p11;
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE key;
    CK_KEY_TYPE type;
};

_Noreturn void signer_die(const char *what, CK_RV rv);
void signer_check(const char *what, CK_RV rv);

/* Loads the module and opens a session on the first slot that has a token. */
void signer_open(struct signer *signer, const char *module);
/* The PIN is what that file has. */
void signer_login(struct signer *signer, const char *pin_path);
/* The one private key of that label. */
void signer_find_key(struct signer *signer, const char *label);
/* ECDSA or RSA PKCS#1 v1.5 over a digest. */
CK_RV signer_sign(const struct signer *signer);
