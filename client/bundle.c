/* signet bundle show */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "client/certificate.h"
#include "client/output.h"
#include "client/sockets.h"
#include "client/subcommands.h"
#include "lib/base/memory.h"
#include "proto/admin.pb-c.h"

static int set_format(void *field, const char *text, struct error *err)
{
    static const struct {
        const char *name;
        enum bundle_format format;
    } known[] = {{"pem", BUNDLE_PEM}, {"jwks", BUNDLE_JWKS}, {"spiffe", BUNDLE_SPIFFE}};
    for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
        if (strcmp(text, known[i].name) == 0) {
            *(enum bundle_format *)field = known[i].format;
            return 0;
        }
    }
    return error_set(err, ERROR_INVALID_ARGUMENT, "\"%s\" is not pem, jwks or spiffe", text);
}

static int print_json_text(const char *text, struct error *err)
{
    json_error_t reason;
    json_t *document = json_loads(text, 0, &reason);
    if (!document) {
        return error_set(err, ERROR_DATA_LOSS, "reading the agent's bundle: %s", reason.text);
    }
    output_json(document, false);
    return 0;
}

static struct bytes authority_at(const Admin__GetBundleResponse *bundle, size_t index)
{
    return (struct bytes){bundle->x509_authorities[index].data,
                          bundle->x509_authorities[index].len};
}

static void append_pem(const Admin__GetBundleResponse *bundle, size_t index, struct buffer *pem)
{
    pem_append(pem, "CERTIFICATE", authority_at(bundle, index));
}

static void print_pem(const Admin__GetBundleResponse *bundle)
{
    _cleanup_(buffer_clear) struct buffer pem = {0};
    for (size_t i = 0; i < bundle->n_x509_authorities; i++) {
        append_pem(bundle, i, &pem);
    }
    (void)fwrite(pem.data, 1, pem.size, stdout);
}

static int print_authorities(const Admin__GetBundleResponse *bundle, struct error *err)
{
    for (size_t i = 0; i < bundle->n_x509_authorities; i++) {
        struct certificate items[CERTIFICATES_MAX];
        size_t count = 0;
        TRY(certificates_read(authority_at(bundle, i), items, &count, err));
        for (size_t j = 0; j < count; j++) {
            _cleanup_(free_cleanup) char *left = output_time_left(items[j].expires_at_s);
            output_field("x509", "%s, %s, serial %s, %s", items[j].subject, items[j].key_type,
                         items[j].serial, left);
            certificate_clear(&items[j]);
        }
    }
    return 0;
}

static int print_summary(const Admin__GetBundleResponse *bundle, struct error *err)
{
    output_title("spiffe://%s", bundle->trust_domain);
    TRY(print_authorities(bundle, err));
    json_error_t reason;
    json_t *jwks = json_loads(bundle->jwks, 0, &reason);
    size_t i = 0;
    json_t *key = NULL;
    json_array_foreach(json_object_get(jwks, "keys"), i, key)
    {
        const char *curve = json_string_value(json_object_get(key, "crv"));
        const char *kid = json_string_value(json_object_get(key, "kid"));
        const char *type = json_string_value(json_object_get(key, "kty"));
        output_field("jwt", "%s%s%s, kid %s", type ? type : "?", curve ? " " : "",
                     curve ? curve : "", kid ? kid : "?");
    }
    json_decref(jwks);
    return 0;
}

static int print_summary_json(const Admin__GetBundleResponse *bundle, struct error *err)
{
    json_error_t reason;
    json_t *jwks = json_loads(bundle->jwks, 0, &reason);
    json_t *authorities = json_array();
    for (size_t i = 0; i < bundle->n_x509_authorities; i++) {
        _cleanup_(buffer_clear) struct buffer pem = {0};
        append_pem(bundle, i, &pem);
        json_array_append_new(authorities, json_stringn((const char *)pem.data, pem.size));
    }
    json_t *document = json_pack("{s:s, s:o, s:o}", "trust_domain", bundle->trust_domain,
                                 "x509_authorities", authorities, "jwks", jwks);
    if (!document) {
        return error_set(err, ERROR_DATA_LOSS, "reading the agent's bundle: %s", reason.text);
    }
    output_json(document, false);
    return 0;
}

static int print_bundle(const struct arguments *arguments, const Admin__GetBundleResponse *bundle,
                        struct error *err)
{
    switch (arguments->bundle_format) {
    case BUNDLE_PEM:
        print_pem(bundle);
        return 0;
    case BUNDLE_JWKS:
        return print_json_text(bundle->jwks, err);
    case BUNDLE_SPIFFE:
        return print_json_text(bundle->spiffe, err);
    case BUNDLE_SUMMARY:
        break;
    }
    return arguments->output == OUTPUT_JSON ? print_summary_json(bundle, err)
                                            : print_summary(bundle, err);
}

static int show_bundle(const struct arguments *arguments, struct error *err)
{
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client = NULL;
    Admin__GetBundleRequest request = ADMIN__GET_BUNDLE_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    TRY(sockets_connect_admin(arguments, &client, err));
    TRY(rpc_client_call(client, "/signet.admin.v1.Admin/GetBundle", &request.base,
                        &admin__get_bundle_response__descriptor, &response, err));
    int result = print_bundle(arguments, (const Admin__GetBundleResponse *)response, err);
    protobuf_c_message_free_unpacked(response, NULL);
    return result;
}

static const struct command_option show_options[] = {
    {"format", "FORMAT", "pem: certificates; jwks: JWT keys; spiffe: SPIFFE bundle", set_format,
     offsetof(struct arguments, bundle_format), false},
};

const struct command command_bundle_show = {
    .name = "bundle show",
    .summary = "the trust bundle: whose signatures this trust domain believes",
    .example = "signet bundle show --format pem",
    .options = show_options,
    .option_count = ARRAY_SIZE(show_options),
    .run = show_bundle,
};
