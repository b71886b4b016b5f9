/* SpiffeWorkloadAPI (SPIFFE Workload API 4 to 6). */
#include "agent/api/workload.h"

#include <string.h>

#include "agent/api/encoding.h"
#include "agent/api/watch.h"
#include "lib/base/memory.h"
#include "proto/workload.pb-c.h"

enum { ENCODING_SLOT = 0 };

int api_admit_workload(struct rpc_call *call, void *user, struct error *err)
{
    (void)user;
    const char *value = rpc_call_metadata(call, "workload.spiffe.io", 0);
    if (!value || strcmp(value, "true") != 0 || rpc_call_metadata(call, "workload.spiffe.io", 1)) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "security header missing from request");
    }
    return 0;
}

static bool is_delivered(const struct svid_x509 *svid)
{
    return svid->protection == KEY_PROTECTION_DELIVERED;
}

static void fill(Workload__X509SVID *message, const struct svid_x509 *svid,
                 const struct bundle *bundle)
{
    workload__x509_svid__init(message);
    message->spiffe_id = svid->entry->spiffe_id;
    message->x509_svid.data = svid->chain.data;
    message->x509_svid.len = svid->chain.size;
    message->x509_svid_key.data = svid->pkcs8.data;
    message->x509_svid_key.len = svid->pkcs8.size;
    message->bundle.data = bundle->x509_der.data;
    message->bundle.len = bundle->x509_der.size;
    message->hint = svid->entry->hint;
}

static int encode_delivered(const struct identity_set *set, size_t count,
                            struct rpc_message **ret_message, struct error *err)
{
    _cleanup_(free_cleanup) Workload__X509SVID *svids = memory_new_array(count, sizeof(*svids));
    _cleanup_(free_cleanup) Workload__X509SVID **pointers =
        memory_new_array(count, sizeof(Workload__X509SVID *));
    Workload__X509SVIDResponse response = WORKLOAD__X509_SVIDRESPONSE__INIT;
    response.svids = pointers;
    for (size_t i = 0; i < set->count; i++) {
        if (is_delivered(set->svids[i])) {
            pointers[response.n_svids] = &svids[response.n_svids];
            fill(pointers[response.n_svids++], set->svids[i], set->bundle);
        }
    }
    return rpc_message_new_secret(&response.base, ret_message, err);
}

static int encode_x509_svid(struct api *api, struct identity_set *set, struct identity_set *before,
                            struct rpc_message **ret_message, struct error *err)
{
    size_t count = identity_set_count(set, is_delivered);
    if (count == 0) {
        return error_set(err, ERROR_PERMISSION_DENIED,
                         "no identity issued with a key to deliver: the keys of this process's "
                         "identities stay in hardware; use them through the PKCS#11 socket %s, as "
                         "signet.workload.v1.HardwareIdentity.FetchX509Identities tells",
                         api->config.pkcs11_path);
    }
    if (!identity_set_reuse(set, before, ENCODING_SLOT, is_delivered)) {
        struct rpc_message *message = NULL;
        TRY(encode_delivered(set, count, &message, err));
        identity_set_keep(set, ENCODING_SLOT, message);
    }
    *ret_message = set->encodings[ENCODING_SLOT];
    return 0;
}

static int encode_x509_bundles(struct api *api, struct identity_set *set,
                               struct identity_set *before, struct rpc_message **ret_message,
                               struct error *err)
{
    (void)before;
    (void)err;
    *ret_message = bundle_messages_x509(&api->bundles, set->bundle);
    return 0;
}

static int encode_jwt_bundles(struct api *api, struct identity_set *set,
                              struct identity_set *before, struct rpc_message **ret_message,
                              struct error *err)
{
    (void)before;
    (void)err;
    *ret_message = bundle_messages_jwt(&api->bundles, set->bundle);
    return 0;
}

/* Trust does not depend on the caller's own SVID. */
static struct rpc_message *x509_bundles_unissued(struct api *api)
{
    struct bundle *bundle = manager_bundle(api->config.manager);
    return bundle ? bundle_messages_x509(&api->bundles, bundle) : NULL;
}

static struct rpc_message *jwt_bundles_unissued(struct api *api)
{
    struct bundle *bundle = manager_bundle(api->config.manager);
    return bundle ? bundle_messages_jwt(&api->bundles, bundle) : NULL;
}

static void fetch_x509_svid(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
    static const struct watch_kind kind = {
        .method = "FetchX509SVID", .encode = encode_x509_svid, .has = is_delivered};
    (void)request;
    watch_start(user, call, &kind);
}

static void fetch_x509_bundles(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
    static const struct watch_kind kind = {.method = "FetchX509Bundles",
                                           .encode = encode_x509_bundles,
                                           .encode_unissued = x509_bundles_unissued};
    (void)request;
    watch_start(user, call, &kind);
}

static void fetch_jwt_bundles(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
    static const struct watch_kind kind = {.method = "FetchJWTBundles",
                                           .encode = encode_jwt_bundles,
                                           .encode_unissued = jwt_bundles_unissued};
    (void)request;
    watch_start(user, call, &kind);
}

struct rpc_service workload_service(struct api *api)
{
    static const struct rpc_method methods[] = {
        {"FetchX509SVID", &workload__x509_svidrequest__descriptor, fetch_x509_svid},
        {"FetchX509Bundles", &workload__x509_bundles_request__descriptor, fetch_x509_bundles},
        {"FetchJWTSVID", &workload__jwtsvidrequest__descriptor, workload_fetch_jwt_svid},
        {"FetchJWTBundles", &workload__jwtbundles_request__descriptor, fetch_jwt_bundles},
        {"ValidateJWTSVID", &workload__validate_jwtsvidrequest__descriptor,
         workload_validate_jwt_svid},
        /* The WIT-SVID profile. */
        {"FetchWITSVID", NULL, NULL},
        {"FetchWITBundles", NULL, NULL},
    };
    return (struct rpc_service){
        .name = "SpiffeWorkloadAPI",
        .methods = methods,
        .method_count = ARRAY_SIZE(methods),
        .user = api,
        .admit = api_admit_workload,
    };
}
