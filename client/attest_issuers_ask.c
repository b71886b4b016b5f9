/* The trust bundle of this host's own agent. */
#include <string.h>

#include "client/attest_issuers.h"
#include "client/sockets.h"
#include "lib/base/memory.h"
#include "proto/admin.pb-c.h"
#include "proto/workload.pb-c.h"

enum { ASK_TIMEOUT_MS = 5000 };

static const char *without_scheme(const char *trust_domain)
{
    static const char scheme[] = "spiffe://";
    return strncmp(trust_domain, scheme, strlen(scheme)) == 0 ? trust_domain + strlen(scheme)
                                                              : trust_domain;
}

/* One of several would have to be chosen by what the evidence says of itself. */
static int take_bundles(const Workload__X509BundlesResponse *response,
                        struct attest_issuers *issuers, struct error *err)
{
    if (response->n_bundles != 1) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "the Workload API has bundles of %zu trust domains; name the right one "
                         "with --bundle",
                         response->n_bundles);
    }
    const ProtobufCBinaryData *der = &response->bundles[0]->value;
    issuers->trust_domain = memory_copy_text(without_scheme(response->bundles[0]->key));
    return attest_issuers_add_der(issuers, (struct bytes){der->data, der->len}, err);
}

static int ask_workload(const struct arguments *arguments, struct attest_issuers *issuers,
                        struct error *err)
{
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client = NULL;
    Workload__X509BundlesRequest request = WORKLOAD__X509_BUNDLES_REQUEST__INIT;
    ProtobufCMessage *message = NULL;
    TRY(sockets_connect_workload(arguments, ASK_TIMEOUT_MS, &client, err));
    TRY(rpc_client_stream(client, "/SpiffeWorkloadAPI/FetchX509Bundles", &request.base, err));
    int got = rpc_client_next(client, &workload__x509_bundles_response__descriptor, &message, err);
    if (got <= 0) {
        return got < 0 ? -1
                       : error_set(err, ERROR_UNAVAILABLE,
                                   "the Workload API ended the stream "
                                   "without an answer");
    }
    int result = take_bundles((const Workload__X509BundlesResponse *)message, issuers, err);
    protobuf_c_message_free_unpacked(message, NULL);
    issuers->source = text_format("the Workload API of this host, trust domain %s",
                                  issuers->trust_domain ? issuers->trust_domain : "");
    return result;
}

static int ask_admin(const struct arguments *arguments, struct attest_issuers *issuers,
                     struct error *err)
{
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client = NULL;
    Admin__GetBundleRequest request = ADMIN__GET_BUNDLE_REQUEST__INIT;
    ProtobufCMessage *message = NULL;
    int result = 0;
    TRY(sockets_connect_admin(arguments, &client, err));
    TRY(rpc_client_call(client, "/signet.admin.v1.Admin/GetBundle", &request.base,
                        &admin__get_bundle_response__descriptor, &message, err));
    const Admin__GetBundleResponse *bundle = (const Admin__GetBundleResponse *)message;
    for (size_t i = 0; i < bundle->n_x509_authorities && result == 0; i++) {
        const ProtobufCBinaryData *der = &bundle->x509_authorities[i];
        result = attest_issuers_add_der(issuers, (struct bytes){der->data, der->len}, err);
    }
    issuers->trust_domain = memory_copy_text(bundle->trust_domain);
    issuers->source =
        text_format("the admin API of this host, trust domain %s", bundle->trust_domain);
    protobuf_c_message_free_unpacked(message, NULL);
    return result;
}

void attest_issuers_ask(const struct arguments *arguments, struct attest_issuers *ret_issuers)
{
    struct error failure;
    struct attest_issuers issuers = {0};
    if (ask_workload(arguments, &issuers, &failure) < 0) {
        struct error ignored;
        attest_issuers_clear(&issuers);
        if (ask_admin(arguments, &issuers, &ignored) < 0) {
            attest_issuers_clear(&issuers);
            issuers.source = text_format("none: --bundle is not given, and this host's agent was "
                                         "asked in vain: %s",
                                         failure.text);
        }
    }
    *ret_issuers = issuers;
}
