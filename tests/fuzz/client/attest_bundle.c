/* A trust bundle for `signet attest verify`: what is accepted has certificates, as many as allowed,
 * and what is refused leaves nothing behind. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

#include "client/attest_issuers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(attest_issuers_clear) struct attest_issuers issuers = {0};
    struct error error = {0};
    if (attest_issuers_parse((struct bytes){data, size}, &issuers, &error) < 0) {
        if (error.code != ERROR_INVALID_ARGUMENT || !error.text[0] || issuers.certificates) {
            abort();
        }
    } else if (sk_X509_num(issuers.certificates) < 1 ||
               sk_X509_num(issuers.certificates) > ATTEST_ISSUERS_MAX) {
        abort();
    }
    return 0;
}
