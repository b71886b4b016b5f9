#include "lib/base/pem.h"

#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "lib/base/macro.h"

DEFINE_CLEANUP(BIO, pem_bio, BIO_free_all);

int pem_no_password(char *password, int size, int is_writing, void *user)
{
    (void)password;
    (void)size;
    (void)is_writing;
    (void)user;
    return -1;
}

static int why_none(void)
{
    const unsigned long reason = ERR_peek_last_error();
    const bool is_at_end =
        ERR_GET_LIB(reason) == ERR_LIB_PEM && ERR_GET_REASON(reason) == PEM_R_NO_START_LINE;
    return is_at_end ? 0 : -1;
}

int pem_certificate_next(struct reader *reader, X509 **ret_certificate)
{
    ERR_clear_error();
    if (reader_is_done(reader)) {
        return 0;
    }
    const struct bytes rest = reader->rest;
    _cleanup_(pem_bio_cleanup) BIO *bio =
        rest.size <= INT_MAX ? BIO_new_mem_buf(rest.data, (int)rest.size) : NULL;
    X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, pem_no_password, NULL) : NULL;
    if (!certificate) {
        return why_none();
    }
    (void)reader_bytes(reader, rest.size - BIO_ctrl_pending(bio));
    *ret_certificate = certificate;
    return 1;
}
