/* What a PKCS#11 module returned (CK_RV), as an error for people. For the files of this folder. */
#pragma once

#include <p11-kit/p11-kit.h>
#include <stdbool.h>

#include "lib/base/error.h"

/* Who was asked: named in each error text. */
struct module_where {
    const char *module; /* path or p11-kit name; borrowed */
    char token[33];     /* label, printable; empty until a token was chosen */
};

/* "FUNCTION of module M on token "T": TEXT (0x30)", with advice where there is some. The code says
 * what kind of trouble it is; a lost session or device is Unavailable. Returns -1. */
int module_status_set(struct error *err, CK_RV rv, const char *function,
                      const struct module_where *where);

/* Whether the value may mean that sessions, the login or the device are gone: worth looking at them
 * and trying again. */
bool module_status_is_lost(CK_RV rv);
/* Whether the object that was named does not exist any more. */
bool module_status_is_object_gone(CK_RV rv);
