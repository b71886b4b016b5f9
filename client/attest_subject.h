/* Who a key's certificate says that it is. */
#pragma once

#include "lib/base/bytes.h"

struct attest_subject {
    char *spiffe_id; /* NULL: the certificate has none, or there is no certificate */
    char *serial;
};
/* Also for _cleanup_. */
void attest_subject_clear(struct attest_subject *subject);

/* der: a certificate; empty, or one that cannot be read: an empty subject. Exactly one URI, as
 * X509-SVID 2 has it. */
void attest_subject_read(struct bytes der, struct attest_subject *ret_subject);
/* Whether the SPIFFE ID is of that trust domain. */
bool attest_subject_is_of(const struct attest_subject *subject, const char *trust_domain);
