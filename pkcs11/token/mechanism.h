/* CK_MECHANISM in p11-kit's RPC. Its encoding changed in p11-kit 0.25.6 without a word in the
 * protocol, so both forms are told apart by their lengths:
 *
 *                     up to 0.25.5          from 0.25.6
 *   no parameters     type ffffffff         type
 *   PSS               type, 3 numbers       type, 01, 3 numbers
 *   PSS without       -                     type, 00
 *   NULL              -                     ffffffff (from 0.25.1)
 *
 * Every thread. */
#pragma once

#include <p11-kit/pkcs11.h>

#include "lib/base/bytes.h"

enum mechanism_encoding {
    MECHANISM_ENCODING_UNKNOWN, /* the form does not tell */
    MECHANISM_ENCODING_CLASSIC, /* up to 0.25.5 */
    MECHANISM_ENCODING_MODERN,
};

struct mechanism {
    CK_MECHANISM value; /* pParameter points into this struct */
    bool is_null;       /* the caller gave no mechanism */
    CK_RSA_PKCS_PSS_PARAMS pss;
    enum mechanism_encoding encoding;
};

/* encoded: type and parameters, and nothing else. CKR_MECHANISM_INVALID: its parameters are in no
 * form that is known here, as no mechanism of ours has them. CKR_MECHANISM_PARAM_INVALID: it is
 * one of ours with other parameters. */
CK_RV mechanism_read(struct bytes encoded, struct mechanism *ret_mechanism);
