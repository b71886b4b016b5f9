/* Reading PEM (RFC 7468), certificates above all. Every thread. */
#pragma once

#include <openssl/x509.h>

#include "lib/base/bytes.h"

/* OpenSSL's callback for all that reads PEM: there is no password. Without it OpenSSL asks at the
 * terminal. */
int pem_no_password(char *password, int size, int is_writing, void *user);

/* The next certificate of the text, past other blocks and what stands between them: 1, the caller
 * frees it. 0: there is none any more. -1: it is damaged, or encrypted: nobody is asked for a
 * password. After 0 and -1 OpenSSL's error queue says why, and the caller empties it. */
int pem_certificate_next(struct reader *reader, X509 **ret_certificate);
