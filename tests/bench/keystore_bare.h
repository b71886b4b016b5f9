/* What a keystore is compared with: the same hardware, driven by the shortest loop there is. */
#pragma once

#include <stdint.h>

#include "lib/base/error.h"
#include "pkcs11/keystore.h"

enum { BARE_DIGEST_BYTES = 32 };

/* One way to sign and to make keys. The functions end the program on failure. */
struct bare {
    const char *name;
    /* arguments: those of the command line after the kind. A key of EC P-256 is ready to sign. */
    void *(*open)(char *const arguments[]);
    void (*sign)(void *state, const uint8_t digest[BARE_DIGEST_BYTES]);
    /* Makes a key, ready to sign, and drops it. */
    void (*generate)(void *state, enum key_type type);
    void (*close)(void *state);
};

extern const struct bare bare_memory;  /* the driver's functions, called directly */
extern const struct bare bare_module;  /* C_SignInit and C_Sign in one session */
extern const struct bare bare_session; /* ESAPI, salted HMAC session with parameter encryption */
extern const struct bare bare_plain;   /* ESAPI, authorized by the (empty) password */

_Noreturn void bare_die(const char *what, const char *why);
