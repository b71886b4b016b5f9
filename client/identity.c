#include "client/identity.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "client/certificate.h"
#include "client/output.h"
#include "lib/base/memory.h"
#include "proto/hardware.pb-c.h"
#include "proto/workload.pb-c.h"

void identity_list_clear(struct identity_list *list)
{
    free(list->items);
    *list = (struct identity_list){0};
}

static struct identity *append_one(struct identity_list *list)
{
    list->items = memory_resize_array(list->items, list->count + 1, sizeof(*list->items));
    struct identity *identity = &list->items[list->count++];
    *identity = (struct identity){.key_uri = "", .keystore = ""};
    return identity;
}

static struct bytes bytes_of(ProtobufCBinaryData data)
{
    return (struct bytes){data.data, data.len};
}

static void append_delivered(const ProtobufCMessage *response, struct identity_list *list)
{
    const Workload__X509SVIDResponse *message = (const Workload__X509SVIDResponse *)response;
    for (size_t i = 0; i < message->n_svids; i++) {
        const Workload__X509SVID *svid = message->svids[i];
        struct identity *identity = append_one(list);
        identity->spiffe_id = svid->spiffe_id;
        identity->chain = bytes_of(svid->x509_svid);
        identity->bundle = bytes_of(svid->bundle);
        identity->key = bytes_of(svid->x509_svid_key);
        identity->hint = svid->hint;
        identity->protection = "delivered";
    }
}

static void append_kept(const ProtobufCMessage *response, struct identity_list *list)
{
    const Hardware__X509IdentitiesResponse *message =
        (const Hardware__X509IdentitiesResponse *)response;
    for (size_t i = 0; i < message->n_identities; i++) {
        const Hardware__X509Identity *kept = message->identities[i];
        struct identity *identity = append_one(list);
        identity->spiffe_id = kept->spiffe_id;
        identity->chain = bytes_of(kept->x509_svid);
        identity->bundle = bytes_of(kept->bundle);
        identity->key_uri = kept->key_uri;
        identity->hint = kept->hint;
        identity->protection = kept->protection;
        identity->keystore = kept->keystore;
    }
}

static const Workload__X509SVIDRequest delivered_request = WORKLOAD__X509_SVIDREQUEST__INIT;
static const Hardware__X509IdentitiesRequest kept_request = HARDWARE__X509_IDENTITIES_REQUEST__INIT;

const struct identity_source identity_sources[IDENTITY_SOURCES] = {
    {"/SpiffeWorkloadAPI/FetchX509SVID", &delivered_request.base,
     &workload__x509_svidresponse__descriptor, append_delivered},
    {"/signet.workload.v1.HardwareIdentity/FetchX509Identities", &kept_request.base,
     &hardware__x509_identities_response__descriptor, append_kept},
};

void identity_response_free(ProtobufCMessage *response)
{
    if (!response) {
        return;
    }
    if (response->descriptor == &workload__x509_svidresponse__descriptor) {
        Workload__X509SVIDResponse *message = (Workload__X509SVIDResponse *)response;
        for (size_t i = 0; i < message->n_svids; i++) {
            ProtobufCBinaryData *key = &message->svids[i]->x509_svid_key;
            OPENSSL_cleanse(key->data, key->len);
        }
    }
    protobuf_c_message_free_unpacked(response, NULL);
}

bool identity_is_none(const struct error *failure)
{
    return failure->code == ERROR_PERMISSION_DENIED || failure->code == ERROR_UNIMPLEMENTED;
}

struct parsed {
    struct certificate chain[CERTIFICATES_MAX], bundle[CERTIFICATES_MAX];
    size_t chain_count, bundle_count;
};

static void parsed_clear(struct parsed *parsed)
{
    for (size_t i = 0; i < parsed->chain_count; i++) {
        certificate_clear(&parsed->chain[i]);
    }
    for (size_t i = 0; i < parsed->bundle_count; i++) {
        certificate_clear(&parsed->bundle[i]);
    }
}

static int parse(const struct identity *identity, struct parsed *ret_parsed, struct error *err)
{
    if (certificates_read(identity->chain, ret_parsed->chain, &ret_parsed->chain_count, err) < 0 ||
        certificates_read(identity->bundle, ret_parsed->bundle, &ret_parsed->bundle_count, err) <
            0) {
        return error_prepend(err, "identity %s", identity->spiffe_id);
    }
    if (ret_parsed->chain_count == 0) {
        return error_set(err, ERROR_DATA_LOSS, "identity %s: its certificate chain is empty",
                         identity->spiffe_id);
    }
    return 0;
}

static void print_validity(const struct certificate *certificate)
{
    _cleanup_(free_cleanup) char *from = output_time(certificate->not_before_s);
    _cleanup_(free_cleanup) char *until = output_time(certificate->expires_at_s);
    _cleanup_(free_cleanup) char *left = output_time_left(certificate->expires_at_s);
    output_field("valid from", "%s", from);
    output_field("valid until", "%s (%s)", until, left);
}

static void print_issuers(const struct parsed *parsed)
{
    output_field("chain", "%zu certificate%s", parsed->chain_count,
                 parsed->chain_count == 1 ? "" : "s");
    for (size_t i = 1; i < parsed->chain_count; i++) {
        output_field("", "%s, serial %s", parsed->chain[i].subject, parsed->chain[i].serial);
    }
    for (size_t i = 0; i < parsed->bundle_count; i++) {
        _cleanup_(free_cleanup) char *left = output_time_left(parsed->bundle[i].expires_at_s);
        output_field(i ? "" : "bundle", "%s, serial %s, %s", parsed->bundle[i].subject,
                     parsed->bundle[i].serial, left);
    }
}

static int print_one(const struct identity *identity, struct error *err)
{
    _cleanup_(parsed_clear) struct parsed parsed = {0};
    TRY(parse(identity, &parsed, err));
    const struct certificate *leaf = &parsed.chain[0];
    output_title("%s", identity->spiffe_id);
    output_field("serial", "%s", leaf->serial);
    print_validity(leaf);
    output_field("protection", "%s%s%s%s", identity->protection,
                 identity->keystore[0] ? " (keystore " : "", identity->keystore,
                 identity->keystore[0] ? ")" : "");
    output_field("key type", "%s", leaf->key_type);
    output_field("key", "%s", identity->key_uri);
    print_issuers(&parsed);
    output_field("hint", "%s", identity->hint);
    return 0;
}

static json_t *pem_json(const struct certificate *items, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        _cleanup_(buffer_clear) struct buffer pem = {0};
        certificates_append_pem(&pem, &items[i], 1);
        json_array_append_new(list, json_stringn((const char *)pem.data, pem.size));
    }
    return list;
}

static int one_json(const struct identity *identity, json_t **ret_document, struct error *err)
{
    _cleanup_(parsed_clear) struct parsed parsed = {0};
    TRY(parse(identity, &parsed, err));
    const struct certificate *leaf = &parsed.chain[0];
    _cleanup_(free_cleanup) char *from = output_time_json(leaf->not_before_s);
    _cleanup_(free_cleanup) char *until = output_time_json(leaf->expires_at_s);
    *ret_document =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o}", "spiffe_id",
                  identity->spiffe_id, "serial", leaf->serial, "not_before", from, "expires_at",
                  until, "protection", identity->protection, "keystore", identity->keystore,
                  "key_type", leaf->key_type, "key_uri", identity->key_uri, "hint", identity->hint,
                  "chain", pem_json(parsed.chain, parsed.chain_count), "bundle",
                  pem_json(parsed.bundle, parsed.bundle_count));
    return *ret_document
               ? 0
               : error_set(err, ERROR_DATA_LOSS, "identity %s: the agent's answer is not UTF-8",
                           identity->spiffe_id);
}

int identity_list_print(const struct identity_list *list, struct error *err)
{
    for (size_t i = 0; i < list->count; i++) {
        if (i > 0) {
            (void)putchar('\n');
        }
        TRY(print_one(&list->items[i], err));
    }
    return 0;
}

int identity_list_json(const struct identity_list *list, json_t **ret_array, struct error *err)
{
    json_t *array = json_array();
    for (size_t i = 0; i < list->count; i++) {
        json_t *item = NULL;
        if (one_json(&list->items[i], &item, err) < 0) {
            json_decref(array);
            return -1;
        }
        json_array_append_new(array, item);
    }
    *ret_array = array;
    return 0;
}
