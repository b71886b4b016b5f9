/* The mechanisms that sign: what they do, and what they take. For the files of this folder. */
#pragma once

#include <p11-kit/pkcs11.h>

#include "pkcs11/keystore.h"

struct sign_algorithm {
    CK_MECHANISM_TYPE type;
    enum sign_scheme scheme;
    bool is_hashing;         /* of the data itself; else the data is a digest, in some form */
    enum sign_digest digest; /* of those that hash */
};

/* NULL: there is none. */
const struct sign_algorithm *sign_algorithm_find(CK_MECHANISM_TYPE type);
bool sign_algorithm_fits(const struct sign_algorithm *algorithm, enum key_type type);
/* Checks the parameters. ret_digest is left alone where only the data will tell. */
CK_RV sign_algorithm_check(const struct sign_algorithm *algorithm, const CK_MECHANISM *mechanism,
                           enum sign_digest *ret_digest);

/* What the keystore is to sign, with its bytes. */
struct sign_value {
    enum sign_digest digest;
    uint8_t bytes[64];
};

/* From the data of the operation (hashed already where the mechanism hashes) and the digest of
 * sign_algorithm_check. CKR_DATA_INVALID, CKR_DATA_LEN_RANGE. */
CK_RV sign_algorithm_value(const struct sign_algorithm *algorithm, enum sign_digest digest,
                           enum key_type type, struct bytes data, struct sign_value *ret_value);
