#include "client/attest_issuers.h"

#include <jansson.h>
#include <openssl/err.h>
#include <string.h>

#include "lib/base/memory.h"
#include "lib/base/pem.h"

enum { BUNDLE_MAX_BYTES = 4 << 20 };

DEFINE_CLEANUP(json_t, issuers_json, json_decref);

void attest_issuers_clear(struct attest_issuers *issuers)
{
    sk_X509_pop_free(issuers->certificates, X509_free);
    free(issuers->source);
    free(issuers->trust_domain);
    *issuers = (struct attest_issuers){0};
}

/* Takes the certificate. */
static int add(struct attest_issuers *issuers, X509 *certificate, struct error *err)
{
    if (!issuers->certificates) {
        issuers->certificates = sk_X509_new_null();
    }
    if (!issuers->certificates || sk_X509_num(issuers->certificates) >= ATTEST_ISSUERS_MAX ||
        sk_X509_push(issuers->certificates, certificate) == 0) {
        X509_free(certificate);
        return error_set(err, ERROR_INVALID_ARGUMENT, "more than %d certificates",
                         ATTEST_ISSUERS_MAX);
    }
    return 0;
}

int attest_issuers_add_der(struct attest_issuers *issuers, struct bytes der, struct error *err)
{
    const uint8_t *position = der.data;
    const uint8_t *end = der.data + der.size;
    while (position < end) {
        X509 *certificate = d2i_X509(NULL, &position, (long)(end - position));
        if (!certificate) {
            return error_set_openssl(err, ERROR_INVALID_ARGUMENT, "reading a certificate");
        }
        TRY(add(issuers, certificate, err));
    }
    return 0;
}

static int add_pem(struct attest_issuers *issuers, struct bytes text, struct error *err)
{
    struct reader reader = reader_of(text);
    X509 *certificate = NULL;
    int got = 0;
    while ((got = pem_certificate_next(&reader, &certificate)) > 0) {
        TRY(add(issuers, certificate, err));
    }
    if (got < 0) {
        return error_set_openssl(err, ERROR_INVALID_ARGUMENT, "reading PEM certificates");
    }
    ERR_clear_error();
    return 0;
}

/* "x5c" of a key of use "x509-svid": its first item is the authority (base64 with padding). */
static int add_jwk(struct attest_issuers *issuers, const json_t *key, struct error *err)
{
    const char *use = json_string_value(json_object_get(key, "use"));
    const char *text = json_string_value(json_array_get(json_object_get(key, "x5c"), 0));
    if (!use || strcmp(use, "x509-svid") != 0) {
        return 0;
    }
    size_t size = text ? strlen(text) : 0;
    _cleanup_(free_cleanup) uint8_t *der = memory_new(size + 1);
    int decoded = EVP_DecodeBlock(der, (const uint8_t *)(text ? text : ""), (int)size);
    if (size == 0 || decoded < 0) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "x5c of a key is not base64");
    }
    for (size_t i = size; i > 0 && text[i - 1] == '='; i--) {
        decoded--;
    }
    return attest_issuers_add_der(issuers, (struct bytes){der, (size_t)MAX(decoded, 0)}, err);
}

static int add_document(struct attest_issuers *issuers, struct bytes text, struct error *err)
{
    json_error_t reason;
    size_t i = 0;
    json_t *item = NULL;
    _cleanup_(issuers_json_cleanup) json_t *document =
        json_loadb((const char *)text.data, text.size, JSON_REJECT_DUPLICATES, &reason);
    if (!document) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "line %d: %s", reason.line, reason.text);
    }
    json_array_foreach(json_object_get(document, "keys"), i, item)
    {
        TRY(add_jwk(issuers, item, err));
    }
    json_array_foreach(json_object_get(document, "x509_authorities"), i, item)
    {
        const char *pem = json_string_value(item);
        TRY(add_pem(issuers, bytes_of_text(pem ? pem : ""), err));
    }
    const char *trust_domain = json_string_value(json_object_get(document, "trust_domain"));
    issuers->trust_domain = memory_copy_text(trust_domain);
    return 0;
}

int attest_issuers_parse(struct bytes text, struct attest_issuers *ret_issuers, struct error *err)
{
    _cleanup_(attest_issuers_clear) struct attest_issuers issuers = {0};
    size_t start = 0;
    while (start < text.size && strchr(" \t\r\n", text.data[start])) {
        start++;
    }
    bool is_json = start < text.size && text.data[start] == '{';
    TRY(is_json ? add_document(&issuers, text, err) : add_pem(&issuers, text, err));
    if (!issuers.certificates) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "no certificate of an authority in it; PEM, a SPIFFE bundle or the output "
                         "of signet bundle show --output json are expected");
    }
    *ret_issuers = issuers;
    issuers = (struct attest_issuers){0};
    return 0;
}

int attest_issuers_read(const char *path, struct attest_issuers *ret_issuers, struct error *err)
{
    _cleanup_(buffer_clear) struct buffer text = {0};
    TRY(buffer_read_file(path, BUNDLE_MAX_BYTES, &text, err));
    if (attest_issuers_parse(buffer_bytes(&text), ret_issuers, err) < 0) {
        return error_prepend(err, "reading the trust bundle %s", path);
    }
    ret_issuers->source = memory_copy_text(path);
    return 0;
}
