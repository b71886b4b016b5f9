#include "agent/api/bundles.h"

#include <string.h>

#include "lib/base/memory.h"
#include "lib/base/text.h"
#include "proto/workload.pb-c.h"

static struct rpc_message *encode_x509(const struct bundle *bundle)
{
    _cleanup_(free_cleanup) char *id = text_format("spiffe://%s", bundle->trust_domain);
    Workload__X509BundlesResponse__BundlesEntry entry =
        WORKLOAD__X509_BUNDLES_RESPONSE__BUNDLES_ENTRY__INIT;
    Workload__X509BundlesResponse__BundlesEntry *entries[] = {&entry};
    Workload__X509BundlesResponse response = WORKLOAD__X509_BUNDLES_RESPONSE__INIT;
    entry.key = id;
    entry.value.data = bundle->x509_der.data;
    entry.value.len = bundle->x509_der.size;
    response.bundles = entries;
    response.n_bundles = 1;
    return rpc_message_new(&response.base);
}

static struct rpc_message *encode_jwt(const struct bundle *bundle)
{
    _cleanup_(free_cleanup) char *id = text_format("spiffe://%s", bundle->trust_domain);
    Workload__JWTBundlesResponse__BundlesEntry entry =
        WORKLOAD__JWTBUNDLES_RESPONSE__BUNDLES_ENTRY__INIT;
    Workload__JWTBundlesResponse__BundlesEntry *entries[] = {&entry};
    Workload__JWTBundlesResponse response = WORKLOAD__JWTBUNDLES_RESPONSE__INIT;
    entry.key = id;
    entry.value.data = (uint8_t *)bundle->jwks;
    entry.value.len = strlen(bundle->jwks);
    response.bundles = entries;
    response.n_bundles = 1;
    return rpc_message_new(&response.base);
}

static void drop(struct rpc_message **message)
{
    if (*message) {
        rpc_message_unref(take_ptr(*message));
    }
}

static void follow(struct bundle_messages *messages, struct bundle *bundle)
{
    struct bundle *old = messages->bundle;
    if (old == bundle) {
        return;
    }
    if (old && !bytes_is_equal(buffer_bytes(&old->x509_der), buffer_bytes(&bundle->x509_der))) {
        drop(&messages->x509);
    }
    if (old && strcmp(old->jwks, bundle->jwks) != 0) {
        drop(&messages->jwt);
    }
    messages->bundle = bundle_ref(bundle);
    if (old) {
        bundle_unref(old);
    }
}

struct rpc_message *bundle_messages_x509(struct bundle_messages *messages, struct bundle *bundle)
{
    follow(messages, bundle);
    if (!messages->x509) {
        messages->x509 = encode_x509(bundle);
    }
    return messages->x509;
}

struct rpc_message *bundle_messages_jwt(struct bundle_messages *messages, struct bundle *bundle)
{
    follow(messages, bundle);
    if (!messages->jwt) {
        messages->jwt = encode_jwt(bundle);
    }
    return messages->jwt;
}

void bundle_messages_clear(struct bundle_messages *messages)
{
    drop(&messages->x509);
    drop(&messages->jwt);
    if (messages->bundle) {
        bundle_unref(take_ptr(messages->bundle));
    }
}
