/* What a certificate says, for people. */
#pragma once

#include "lib/base/bytes.h"

enum { CERTIFICATES_MAX = 16 };

struct certificate {
    struct bytes der; /* borrowed */
    char *subject;
    char *serial;   /* lower-case hexadecimal */
    char *key_type; /* "ec-p256", "rsa-2048" or what OpenSSL calls it */
    int64_t not_before_s, expires_at_s;
};

/* Reads certificates that stand one after the other, as the Workload API sends them. ret_items has
 * room for CERTIFICATES_MAX. */
int certificates_read(struct bytes der, struct certificate *ret_items, size_t *ret_count,
                      struct error *err);
void certificate_clear(struct certificate *certificate);

/* Appends the bytes as PEM: label is "CERTIFICATE" or "PRIVATE KEY". */
void pem_append(struct buffer *pem, const char *label, struct bytes der);
/* Appends each certificate of the sequence as PEM. */
void certificates_append_pem(struct buffer *pem, const struct certificate *items, size_t count);
