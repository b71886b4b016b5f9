/* Certificates of CAs from a folder. Every thread; it blocks on files. */
#pragma once

#include <openssl/x509.h>

#include "lib/base/error.h"

/* Adds them to the store, and their number to ret_count; as ek_trust_add_folder says. */
int ek_anchors_load(X509_STORE *anchors, const char *path, size_t *ret_count, struct error *err);
