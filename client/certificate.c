#include "client/certificate.h"

#include <openssl/crypto.h>
#include <openssl/x509.h>
#include <string.h>
#include <time.h>

#include "lib/base/memory.h"
#include "lib/base/text.h"

enum { PEM_LINE = 64 };

DEFINE_CLEANUP(X509, x509, X509_free);
DEFINE_CLEANUP(BIGNUM, number, BN_free);
DEFINE_CLEANUP(BIO, bio, BIO_free_all);

static int64_t seconds_of(const ASN1_TIME *time)
{
    struct tm utc;
    return ASN1_TIME_to_tm(time, &utc) == 1 ? (int64_t)timegm(&utc) : 0;
}

static char *subject_of(const X509 *x509)
{
    _cleanup_(bio_cleanup) BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    if (!bio || X509_NAME_print_ex(bio, X509_get_subject_name(x509), 0, XN_FLAG_RFC2253) < 0) {
        return memory_copy_text("");
    }
    long size = BIO_get_mem_data(bio, &text);
    return text_format("%.*s", (int)size, text ? text : "");
}

static char *serial_of(const X509 *x509)
{
    uint8_t bytes[32];
    _cleanup_(number_cleanup) BIGNUM *number =
        ASN1_INTEGER_to_BN(X509_get0_serialNumber(x509), NULL);
    if (!number || BN_num_bytes(number) > (int)sizeof(bytes)) {
        return memory_copy_text("");
    }
    int size = BN_bn2bin(number, bytes);
    return text_hex((struct bytes){bytes, (size_t)MAX(size, 0)});
}

static char *key_type_of(X509 *x509)
{
    EVP_PKEY *key = X509_get0_pubkey(x509);
    if (!key) {
        return memory_copy_text("unknown");
    }
    int bits = EVP_PKEY_get_bits(key);
    return EVP_PKEY_is_a(key, "EC")
               ? text_format("ec-p%d", bits)
               : text_format(EVP_PKEY_is_a(key, "RSA") ? "rsa-%d" : "%d bits", bits);
}

static int read_one(struct bytes *rest, struct certificate *ret_item, struct error *err)
{
    const uint8_t *position = rest->data;
    _cleanup_(x509_cleanup) X509 *x509 = d2i_X509(NULL, &position, (long)rest->size);
    if (!x509) {
        return error_set_openssl(err, ERROR_DATA_LOSS, "reading a certificate of the agent");
    }
    size_t size = (size_t)(position - rest->data);
    *ret_item = (struct certificate){
        .der = {rest->data, size},
        .subject = subject_of(x509),
        .serial = serial_of(x509),
        .key_type = key_type_of(x509),
        .not_before_s = seconds_of(X509_get0_notBefore(x509)),
        .expires_at_s = seconds_of(X509_get0_notAfter(x509)),
    };
    *rest = (struct bytes){rest->data + size, rest->size - size};
    return 0;
}

int certificates_read(struct bytes der, struct certificate *ret_items, size_t *ret_count,
                      struct error *err)
{
    size_t count = 0;
    while (der.size > 0) {
        if (count == CERTIFICATES_MAX) {
            (void)error_set(err, ERROR_DATA_LOSS,
                            "reading the certificates of the agent: there are more than %d",
                            CERTIFICATES_MAX);
        }
        if (count == CERTIFICATES_MAX || read_one(&der, &ret_items[count], err) < 0) {
            while (count > 0) {
                certificate_clear(&ret_items[--count]);
            }
            return -1;
        }
        count++;
    }
    *ret_count = count;
    return 0;
}

void certificate_clear(struct certificate *certificate)
{
    free(certificate->subject);
    free(certificate->serial);
    free(certificate->key_type);
    *certificate = (struct certificate){0};
}

void pem_append(struct buffer *pem, const char *label, struct bytes der)
{
    _cleanup_(free_cleanup) char *base64 = text_base64(der);
    struct reader reader = reader_of(bytes_of_text(base64));
    _cleanup_(free_cleanup) char *begin = text_format("-----BEGIN %s-----\n", label);
    _cleanup_(free_cleanup) char *end = text_format("-----END %s-----\n", label);
    buffer_append_text(pem, begin);
    while (!reader_is_done(&reader)) {
        struct bytes line = reader_bytes(&reader, MIN(reader.rest.size, (size_t)PEM_LINE));
        buffer_append(pem, line.data, line.size);
        buffer_append_u8(pem, '\n');
    }
    buffer_append_text(pem, end);
    /* It may have been a private key. */
    OPENSSL_cleanse(base64, strlen(base64));
}

void certificates_append_pem(struct buffer *pem, const struct certificate *items, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        pem_append(pem, "CERTIFICATE", items[i].der);
    }
}
