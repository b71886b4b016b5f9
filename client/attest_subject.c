#include "client/attest_subject.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "client/certificate.h"
#include "lib/base/memory.h"
#include "lib/base/text.h"

static const char scheme[] = "spiffe://";

DEFINE_CLEANUP(X509, subject_x509, X509_free);
DEFINE_CLEANUP(GENERAL_NAMES, subject_names, GENERAL_NAMES_free);

void attest_subject_clear(struct attest_subject *subject)
{
    free(subject->spiffe_id);
    free(subject->serial);
    *subject = (struct attest_subject){0};
}

/* NULL where there is none, or more than one. */
static char *uri_of(const GENERAL_NAMES *names)
{
    _cleanup_(free_cleanup) char *uri = NULL;
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_URI) {
            continue;
        }
        const ASN1_IA5STRING *text = name->d.uniformResourceIdentifier;
        struct bytes bytes = {ASN1_STRING_get0_data(text), (size_t)ASN1_STRING_length(text)};
        if (uri || !text_is_utf8(bytes)) {
            return NULL;
        }
        uri = text_format("%.*s", (int)bytes.size, bytes.data);
    }
    return take_ptr(uri);
}

void attest_subject_read(struct bytes der, struct attest_subject *ret_subject)
{
    const uint8_t *position = der.data;
    struct certificate certificates[CERTIFICATES_MAX];
    size_t count = 0;
    *ret_subject = (struct attest_subject){0};
    _cleanup_(subject_x509_cleanup) X509 *x509 =
        der.size > 0 ? d2i_X509(NULL, &position, (long)der.size) : NULL;
    _cleanup_(subject_names_cleanup) GENERAL_NAMES *names =
        x509 ? X509_get_ext_d2i(x509, NID_subject_alt_name, NULL, NULL) : NULL;
    if (x509 && certificates_read(der, certificates, &count, NULL) == 0 && count > 0) {
        ret_subject->serial = memory_copy_text(certificates[0].serial);
    }
    while (count > 0) {
        certificate_clear(&certificates[--count]);
    }
    _cleanup_(free_cleanup) char *uri = uri_of(names);
    if (uri && strncmp(uri, scheme, strlen(scheme)) == 0) {
        ret_subject->spiffe_id = take_ptr(uri);
    }
    ERR_clear_error();
}

bool attest_subject_is_of(const struct attest_subject *subject, const char *trust_domain)
{
    const char *name = subject->spiffe_id ? subject->spiffe_id + strlen(scheme) : "";
    size_t size = strcspn(name, "/");
    return size > 0 && strlen(trust_domain) == size && strncmp(name, trust_domain, size) == 0;
}
