#include "lib/base/ecdsa.h"

#include <openssl/ecdsa.h>

DEFINE_CLEANUP(ECDSA_SIG, ecdsa_sig, ECDSA_SIG_free);

bool ecdsa_encode(struct bytes r, struct bytes s, struct buffer *ret_der)
{
    _cleanup_(ecdsa_sig_cleanup) ECDSA_SIG *numbers = ECDSA_SIG_new();
    BIGNUM *first = BN_bin2bn(r.data, (int)r.size, NULL);
    BIGNUM *second = BN_bin2bn(s.data, (int)s.size, NULL);
    unsigned char *der = NULL;
    if (!numbers || !first || !second || ECDSA_SIG_set0(numbers, first, second) != 1) {
        BN_free(first);
        BN_free(second);
        return false;
    }
    int size = i2d_ECDSA_SIG(numbers, &der);
    if (size > 0) {
        buffer_append(ret_der, der, (size_t)size);
    }
    OPENSSL_free(der);
    return size > 0;
}

bool ecdsa_encode_pair(struct bytes pair, struct buffer *ret_der)
{
    size_t half = pair.size / 2;
    return ecdsa_encode((struct bytes){pair.data, half}, (struct bytes){pair.data + half, half},
                        ret_der);
}
