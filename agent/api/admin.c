/* signet.admin.v1.Admin: what `signet` asks and tells. */
#include "agent/api/admin.h"

#include <unistd.h>

#include "agent/api/context.h"
#include "agent/api/readiness.h"
#include "lib/base/memory.h"
#include "proto/admin.pb-c.h"

/* The socket's mode says the same; this holds where somebody changed it. */
static int admit_owner(struct rpc_call *call, void *user, struct error *err)
{
    (void)user;
    uid_t uid = ((const struct caller *)rpc_call_peer(call))->peer->uid;
    if (uid != 0 && uid != geteuid()) {
        return error_set(err, ERROR_PERMISSION_DENIED,
                         "the admin API is for root and the agent's own user, not for uid %u", uid);
    }
    return 0;
}

static void get_bundle(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
    (void)request;
    const struct bundle *bundle = manager_bundle(((struct api *)user)->config.manager);
    if (!bundle) {
        api_refuse(call, ERROR_UNAVAILABLE, "the issuer has not told its trust bundle yet");
        return;
    }
    _cleanup_(free_cleanup) ProtobufCBinaryData *authorities =
        memory_new_array(bundle->authority_count, sizeof(*authorities));
    _cleanup_(free_cleanup) char *spiffe = bundle_format_spiffe(bundle, 0);
    Admin__GetBundleResponse response = ADMIN__GET_BUNDLE_RESPONSE__INIT;
    for (size_t i = 0; i < bundle->authority_count; i++) {
        authorities[i].data = bundle->authorities[i].data;
        authorities[i].len = bundle->authorities[i].size;
    }
    response.trust_domain = bundle->trust_domain;
    response.x509_authorities = authorities;
    response.n_x509_authorities = bundle->authority_count;
    response.jwks = bundle->jwks;
    response.spiffe = spiffe;
    rpc_call_reply(call, &response.base);
}

struct keys {
    Admin__Key *items;
    size_t count, capacity;
};

static void keys_add(void *user, struct svid_x509 *svid)
{
    struct keys *keys = user;
    if (keys->count == keys->capacity) {
        keys->capacity = keys->capacity ? 2 * keys->capacity : 64;
        keys->items = memory_resize_array(keys->items, keys->capacity, sizeof(*keys->items));
    }
    Admin__Key *key = &keys->items[keys->count++];
    admin__key__init(key);
    key->id = text_hex((struct bytes){svid->key_id, KEY_ID_BYTES});
    key->spiffe_id = svid->entry->spiffe_id;
    key->protection = (char *)key_protection_name(svid->protection);
    key->created_at = svid->issued_at_s;
    key->type = (char *)key_type_name(svid->key_type);
    key->expires_at = svid->expires_at_s;
    key->serial = svid->serial;
    if (svid->key) {
        key->keystore = (char *)keystore_name(key_keystore(svid->key));
        key->uses = key_uses(svid->key);
    }
}

static void list_keys(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
    (void)request;
    struct keys keys = {0};
    manager_each_svid(((struct api *)user)->config.manager, keys_add, &keys);
    _cleanup_(free_cleanup) Admin__Key **pointers =
        memory_new_array(keys.count, sizeof(Admin__Key *));
    Admin__ListKeysResponse response = ADMIN__LIST_KEYS_RESPONSE__INIT;
    response.keys = pointers;
    response.n_keys = keys.count;
    for (size_t i = 0; i < keys.count; i++) {
        pointers[i] = &keys.items[i];
    }
    rpc_call_reply(call, &response.base);
    for (size_t i = 0; i < keys.count; i++) {
        free(keys.items[i].id);
    }
    free(keys.items);
}

static void get_health(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
    (void)request;
    _cleanup_(readiness_clear) struct readiness readiness = {0};
    readiness_assess(user, &readiness);
    _cleanup_(free_cleanup) Admin__Part *parts = memory_new_array(readiness.count, sizeof(*parts));
    _cleanup_(free_cleanup) Admin__Part **pointers =
        memory_new_array(readiness.count, sizeof(Admin__Part *));
    for (size_t i = 0; i < readiness.count; i++) {
        pointers[i] = &parts[i];
        admin__part__init(pointers[i]);
        parts[i].name = readiness.parts[i].name;
        parts[i].ready = readiness.parts[i].is_ready;
        parts[i].detail = readiness.parts[i].detail;
    }
    Admin__GetHealthResponse response = ADMIN__GET_HEALTH_RESPONSE__INIT;
    response.ready = readiness.is_ready;
    response.version = (char *)SIGNET_VERSION;
    response.parts = pointers;
    response.n_parts = readiness.count;
    rpc_call_reply(call, &response.base);
}

static void reload(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
    (void)request;
    const struct api_config *config = &((struct api *)user)->config;
    struct api_reloaded reloaded = {0};
    struct error error;
    if (config->reload(config->user, &reloaded, &error) < 0) {
        rpc_call_finish(call, &error);
        return;
    }
    Admin__ReloadResponse response = ADMIN__RELOAD_RESPONSE__INIT;
    response.entries = (uint32_t)reloaded.entries;
    response.rules = (uint32_t)reloaded.rules;
    response.restart_keys = reloaded.restart_keys ? reloaded.restart_keys : response.restart_keys;
    rpc_call_reply(call, &response.base);
    free(reloaded.restart_keys);
}

struct rpc_service admin_service(struct api *api)
{
    static const struct rpc_method methods[] = {
        {"ListEntries", &admin__list_entries_request__descriptor, admin_list_entries},
        {"AddEntry", &admin__add_entry_request__descriptor, admin_add_entry},
        {"RemoveEntry", &admin__remove_entry_request__descriptor, admin_remove_entry},
        {"GetBundle", &admin__get_bundle_request__descriptor, get_bundle},
        {"ListKeys", &admin__list_keys_request__descriptor, list_keys},
        {"GetHealth", &admin__get_health_request__descriptor, get_health},
        {"Reload", &admin__reload_request__descriptor, reload},
        {"Lock", &admin__lock_request__descriptor, admin_lock},
        {"Unlock", &admin__unlock_request__descriptor, admin_unlock},
        {"ListLocks", &admin__list_locks_request__descriptor, admin_list_locks},
        {"TestRule", &admin__test_rule_request__descriptor, admin_test_rule},
        {"ListIdentities", &admin__list_identities_request__descriptor, admin_list_identities},
        {"GetAudit", &admin__get_audit_request__descriptor, admin_get_audit},
        {"GetAttestation", &admin__get_attestation_request__descriptor, admin_get_attestation},
        {"MakeEvidence", &admin__make_evidence_request__descriptor, admin_make_evidence},
        {"RecordBaseline", &admin__record_baseline_request__descriptor, admin_record_baseline},
        {"AnnounceBaseline", &admin__announce_baseline_request__descriptor,
         admin_announce_baseline},
        {"ListBaselines", &admin__list_baselines_request__descriptor, admin_list_baselines},
        {"RemoveBaseline", &admin__remove_baseline_request__descriptor, admin_remove_baseline},
    };
    return (struct rpc_service){
        .name = "signet.admin.v1.Admin",
        .methods = methods,
        .method_count = ARRAY_SIZE(methods),
        .user = api,
        .admit = admit_owner,
    };
}
