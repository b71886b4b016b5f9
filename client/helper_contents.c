#include "client/helper_contents.h"

#include <openssl/asn1.h>
#include <openssl/crypto.h>
#include <string.h>

#include "client/certificate.h"
#include "lib/base/clock.h"
#include "lib/base/memory.h"
#include "proto/hardware.pb-c.h"
#include "proto/workload.pb-c.h"

enum { KEY_MAX_BYTES = 8192, KEY_PEM_MAX_BYTES = 2 * KEY_MAX_BYTES, JSON_SPACES = 2 };

static const char uri_description[] = "PKCS#11 Provider URI v1.0";

void helper_contents_clear(struct helper_contents *contents)
{
    for (size_t i = 0; i < HELPER_FILES; i++) {
        struct buffer *file = &contents->files[i];
        if (file->data && helper_file_is_secret((enum helper_file)i)) {
            OPENSSL_cleanse(file->data, file->capacity);
        }
        buffer_clear(file);
    }
}

static void append_string(uint8_t **position, int tag, const char *text)
{
    size_t size = strlen(text);
    ASN1_put_object(position, 0, (int)size, tag, V_ASN1_UNIVERSAL);
    memcpy(*position, text, size);
    *position += size;
}

void helper_contents_uri_pem(const char *uri, struct buffer *ret_pem)
{
    int inner = ASN1_object_size(0, (int)strlen(uri_description), V_ASN1_VISIBLESTRING) +
                ASN1_object_size(0, (int)strlen(uri), V_ASN1_UTF8STRING);
    int size = ASN1_object_size(1, inner, V_ASN1_SEQUENCE);
    _cleanup_(buffer_clear) struct buffer der = {0};
    uint8_t *position = buffer_extend(&der, (size_t)size);
    ASN1_put_object(&position, 1, inner, V_ASN1_SEQUENCE, V_ASN1_UNIVERSAL);
    append_string(&position, V_ASN1_VISIBLESTRING, uri_description);
    append_string(&position, V_ASN1_UTF8STRING, uri);
    pem_append(ret_pem, "PKCS#11 PROVIDER URI", buffer_bytes(&der));
}

static int append_certificates(struct buffer *pem, struct bytes der, bool may_omit_expired,
                               struct error *err)
{
    struct certificate items[CERTIFICATES_MAX];
    size_t count = 0;
    int64_t now_s = clock_now_s();
    TRY(certificates_read(der, items, &count, err));
    for (size_t i = 0; i < count; i++) {
        if (!may_omit_expired || items[i].expires_at_s > now_s) {
            certificates_append_pem(pem, &items[i], 1);
        }
        certificate_clear(&items[i]);
    }
    return 0;
}

/* The map's entries look the same in both messages. */
static int append_federated(const struct helper_output *output, const ProtobufCMessage *response,
                            struct buffer *pem, struct error *err)
{
    if (response->descriptor == &workload__x509_svidresponse__descriptor) {
        const Workload__X509SVIDResponse *message = (const Workload__X509SVIDResponse *)response;
        for (size_t i = 0; i < message->n_federated_bundles; i++) {
            ProtobufCBinaryData der = message->federated_bundles[i]->value;
            TRY(append_certificates(pem, (struct bytes){der.data, der.len},
                                    output->may_omit_expired, err));
        }
        return 0;
    }
    const Hardware__X509IdentitiesResponse *message =
        (const Hardware__X509IdentitiesResponse *)response;
    for (size_t i = 0; i < message->n_federated_bundles; i++) {
        ProtobufCBinaryData der = message->federated_bundles[i]->value;
        TRY(append_certificates(pem, (struct bytes){der.data, der.len}, output->may_omit_expired,
                                err));
    }
    return 0;
}

static int make_certificates(const struct helper_output *output,
                             const struct helper_identity *identity,
                             struct helper_contents *contents, struct error *err)
{
    struct certificate chain[CERTIFICATES_MAX];
    size_t count = 0;
    struct buffer *bundle = &contents->files[HELPER_BUNDLE];
    TRY(certificates_read(identity->identity.chain, chain, &count, err));
    size_t own = output->has_intermediates_in_bundle ? MIN(count, (size_t)1) : count;
    certificates_append_pem(&contents->files[HELPER_CERTIFICATE], chain, own);
    certificates_append_pem(bundle, &chain[own], count - own);
    for (size_t i = 0; i < count; i++) {
        certificate_clear(&chain[i]);
    }
    if (count == 0) {
        return error_set(err, ERROR_DATA_LOSS, "its certificate chain is empty");
    }
    TRY(append_certificates(bundle, identity->identity.bundle, output->may_omit_expired, err));
    if (output->has_federated_bundles) {
        TRY(append_federated(output, identity->response, bundle, err));
    }
    return bundle->size > 0 ? 0
                            : error_set(err, ERROR_DATA_LOSS,
                                        "its trust bundle has no certificate that is valid");
}

static int make_key(struct bytes key, struct buffer *pem, struct error *err)
{
    if (key.size > KEY_MAX_BYTES) {
        return error_set(err, ERROR_DATA_LOSS, "its key has %zu bytes", key.size);
    }
    /* Room at once: growing would leave copies behind. */
    (void)buffer_extend(pem, KEY_PEM_MAX_BYTES);
    buffer_reset(pem);
    pem_append(pem, "PRIVATE KEY", key);
    return 0;
}

/* The key itself, or where it is. */
static int make_key_files(const struct helper_output *output, const struct identity *identity,
                          struct helper_contents *contents, struct error *err)
{
    bool wants_uri = output->files[HELPER_KEY_URI] || output->files[HELPER_KEY_URI_PEM];
    bool wants_key = output->files[HELPER_KEY] != NULL;
    if (identity->key.size > 0) {
        if (wants_uri && !wants_key) {
            return error_set(err, ERROR_FAILED_PRECONDITION,
                             "its key is delivered to this process and has no PKCS#11 URI; name "
                             "key instead of key_uri, or give it a rule with key = \"hardware\"");
        }
        return wants_key ? make_key(identity->key, &contents->files[HELPER_KEY], err) : 0;
    }
    if (wants_key && !wants_uri) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "its key stays with the agent (%s) and cannot be written; name key_uri or "
                         "key_uri_pem instead of key",
                         identity->protection);
    }
    buffer_append_text(&contents->files[HELPER_KEY_URI], identity->key_uri);
    buffer_append_text(&contents->files[HELPER_KEY_URI], "\n");
    helper_contents_uri_pem(identity->key_uri, &contents->files[HELPER_KEY_URI_PEM]);
    return 0;
}

int helper_contents_x509(const struct helper_output *output, const struct helper_identity *identity,
                         struct helper_contents *ret_contents, struct error *err)
{
    _cleanup_(helper_contents_clear) struct helper_contents contents = {0};
    if (make_certificates(output, identity, &contents, err) < 0 ||
        make_key_files(output, &identity->identity, &contents, err) < 0) {
        return error_prepend(err, "identity %s", identity->identity.spiffe_id);
    }
    *ret_contents = contents;
    contents = (struct helper_contents){0};
    return 0;
}

int helper_contents_jwt_bundle(const ProtobufCMessage *response, struct buffer *ret_json,
                               struct error *err)
{
    const Workload__JWTBundlesResponse *message = (const Workload__JWTBundlesResponse *)response;
    json_t *document = json_object();
    for (size_t i = 0; i < message->n_bundles; i++) {
        const Workload__JWTBundlesResponse__BundlesEntry *entry = message->bundles[i];
        json_t *set = json_loadb((const char *)entry->value.data, entry->value.len,
                                 JSON_REJECT_DUPLICATES, NULL);
        if (!json_is_object(set)) {
            json_decref(set);
            set = NULL;
        }
        if (json_object_set_new(document, entry->key, set) < 0) {
            json_decref(document);
            return error_set(err, ERROR_DATA_LOSS, "the JWT bundle of %s is no JWK set",
                             entry->key);
        }
    }
    _cleanup_(free_cleanup) char *text =
        json_dumps(document, JSON_INDENT(JSON_SPACES) | JSON_SORT_KEYS);
    json_decref(document);
    buffer_append_text(ret_json, text ? text : "");
    buffer_append_text(ret_json, "\n");
    return 0;
}
