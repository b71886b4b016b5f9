/* signet.workload.v1.HardwareIdentity: identities whose keys are used but not held. */
#include "agent/api/encoding.h"
#include "agent/api/evidence.h"
#include "agent/api/watch.h"
#include "lib/base/memory.h"
#include "proto/hardware.pb-c.h"

enum { ENCODING_SLOT = 1 };

static bool is_kept(const struct svid_x509 *svid)
{
    return svid->protection != KEY_PROTECTION_DELIVERED;
}

static void fill(Hardware__X509Identity *identity, const struct svid_x509 *svid,
                 const struct bundle *bundle)
{
    hardware__x509_identity__init(identity);
    identity->spiffe_id = svid->entry->spiffe_id;
    identity->x509_svid.data = svid->chain.data;
    identity->x509_svid.len = svid->chain.size;
    identity->key_uri = svid_x509_key_uri(svid);
    identity->bundle.data = bundle->x509_der.data;
    identity->bundle.len = bundle->x509_der.size;
    identity->hint = svid->entry->hint;
    identity->protection = (char *)key_protection_name(svid->protection);
    identity->keystore = (char *)keystore_name(key_keystore(svid->key));
    identity->expires_at = svid->expires_at_s;
}

static struct rpc_message *encode_kept(const struct identity_set *set, size_t count)
{
    _cleanup_(free_cleanup) Hardware__X509Identity *identities =
        memory_new_array(count, sizeof(*identities));
    _cleanup_(free_cleanup) Hardware__X509Identity **pointers =
        memory_new_array(count, sizeof(Hardware__X509Identity *));
    Hardware__X509IdentitiesResponse response = HARDWARE__X509_IDENTITIES_RESPONSE__INIT;
    response.identities = pointers;
    for (size_t i = 0; i < set->count; i++) {
        if (is_kept(set->svids[i])) {
            pointers[response.n_identities] = &identities[response.n_identities];
            fill(pointers[response.n_identities++], set->svids[i], set->bundle);
        }
    }
    struct rpc_message *message = rpc_message_new(&response.base);
    for (size_t i = 0; i < response.n_identities; i++) {
        free(identities[i].key_uri);
    }
    return message;
}

static int encode(struct api *api, struct identity_set *set, struct identity_set *before,
                  struct rpc_message **ret_message, struct error *err)
{
    (void)api;
    size_t count = identity_set_count(set, is_kept);
    if (count == 0) {
        return error_set(
            err, ERROR_PERMISSION_DENIED,
            "no identity with a key in hardware: the keys of this process's identities "
            "are delivered, by SpiffeWorkloadAPI.FetchX509SVID");
    }
    if (!identity_set_reuse(set, before, ENCODING_SLOT, is_kept)) {
        identity_set_keep(set, ENCODING_SLOT, encode_kept(set, count));
    }
    *ret_message = set->encodings[ENCODING_SLOT];
    return 0;
}

static void fetch_x509_identities(struct rpc_call *call, const ProtobufCMessage *request,
                                  void *user)
{
    static const struct watch_kind kind = {
        .method = "FetchX509Identities", .encode = encode, .has = is_kept};
    (void)request;
    watch_start(user, call, &kind);
}

static void fetch_evidence(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
    evidence_start(user, call, (const Hardware__EvidenceRequest *)request);
}

struct rpc_service hardware_service(struct api *api)
{
    static const struct rpc_method methods[] = {
        {"FetchX509Identities", &hardware__x509_identities_request__descriptor,
         fetch_x509_identities},
        {"FetchEvidence", &hardware__evidence_request__descriptor, fetch_evidence},
    };
    return (struct rpc_service){
        .name = "signet.workload.v1.HardwareIdentity",
        .methods = methods,
        .method_count = ARRAY_SIZE(methods),
        .user = api,
        .admit = api_admit_workload,
    };
}
