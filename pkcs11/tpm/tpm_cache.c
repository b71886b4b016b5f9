#include "pkcs11/tpm/tpm_cache.h"

#include "pkcs11/tpm/tpm_device.h"

/* What every TPM 2.0 for a PC has; asked for when the device is opened. */
enum { SLOTS_DEFAULT = 3 };

void tpm_cache_open(struct tpm_cache *cache, struct tpm_device *device,
                    struct tpm_transport *transport)
{
    *cache = (struct tpm_cache){.device = device, .transport = transport, .limit = SLOTS_DEFAULT};
    TAILQ_INIT(&cache->loaded);
}

static void remove_object(struct tpm_cache *cache, struct tpm_object *object)
{
    TAILQ_REMOVE(&cache->loaded, object, link);
    cache->count--;
    object->handle = 0;
}

/* Errors are of no interest: a handle that cannot be flushed is gone, or its TPM is. */
static void evict(struct tpm_cache *cache, struct tpm_object *object, bool save)
{
    if (save && object->context.size == 0) {
        (void)tpm_command_context_save(cache->transport, object->handle, &object->context);
    }
    (void)tpm_command_flush(cache->transport, object->handle);
    remove_object(cache, object);
}

static bool evict_one(struct tpm_cache *cache)
{
    if (TAILQ_EMPTY(&cache->loaded)) {
        return false;
    }
    evict(cache, TAILQ_LAST(&cache->loaded, tpm_object_list), true);
    return true;
}

void tpm_cache_make_room(struct tpm_cache *cache)
{
    while (cache->count >= cache->limit && evict_one(cache)) {
    }
}

/* From the saved context when that still works. A context that the TPM refuses is dead since a
 * reset. */
static TSS2_RC load_once(struct tpm_cache *cache, struct tpm_object *object,
                         TPM2_HANDLE *ret_handle)
{
    if (object->context.size > 0) {
        TSS2_RC rc =
            tpm_command_context_load(cache->transport, buffer_bytes(&object->context), ret_handle);
        if (rc == TSS2_RC_SUCCESS || tpm_rc_reaction(rc) != TPM_REACTION_FAIL) {
            return rc;
        }
        buffer_clear(&object->context);
    }
    return object->load(cache->device, object, ret_handle);
}

TSS2_RC tpm_cache_acquire(struct tpm_cache *cache, struct tpm_object *object)
{
    TPM2_HANDLE handle = 0;
    if (object->is_persistent) {
        return TSS2_RC_SUCCESS;
    }
    if (object->handle != 0) {
        TAILQ_REMOVE(&cache->loaded, object, link);
        TAILQ_INSERT_HEAD(&cache->loaded, object, link);
        return TSS2_RC_SUCCESS;
    }
    tpm_cache_make_room(cache);
    /* Loading may bring the parent back into the slot that was just freed, hence a limit. */
    size_t evictions = cache->count;
    TSS2_RC rc = load_once(cache, object, &handle);
    while (rc != TSS2_RC_SUCCESS && tpm_rc_reaction(rc) == TPM_REACTION_MAKE_ROOM &&
           evictions-- > 0 && evict_one(cache)) {
        rc = load_once(cache, object, &handle);
    }
    if (rc == TSS2_RC_SUCCESS) {
        object->handle = handle;
        TAILQ_INSERT_HEAD(&cache->loaded, object, link);
        cache->count++;
    }
    return rc;
}

static bool is_there(const struct tpm_object *object)
{
    return object->is_persistent || object->handle != 0;
}

/* What was evicted in favour of the other has a saved context by then, so it returns without its
 * parent. */
TSS2_RC tpm_cache_acquire_both(struct tpm_cache *cache, struct tpm_object *one,
                               struct tpm_object *other)
{
    TSS2_RC rc = tpm_cache_acquire(cache, one);
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_cache_acquire(cache, other);
    }
    if (rc == TSS2_RC_SUCCESS && !is_there(one)) {
        rc = tpm_cache_acquire(cache, one);
    }
    return rc == TSS2_RC_SUCCESS && !is_there(other) ? TPM2_RC_OBJECT_MEMORY : rc;
}

void tpm_cache_release(struct tpm_cache *cache, struct tpm_object *object)
{
    if (object->handle != 0 && !object->is_persistent) {
        evict(cache, object, true);
    }
}

void tpm_cache_evict_all(struct tpm_cache *cache, bool save)
{
    while (!TAILQ_EMPTY(&cache->loaded)) {
        evict(cache, TAILQ_FIRST(&cache->loaded), save);
    }
}

static bool is_still(struct tpm_cache *cache, const struct tpm_object *object)
{
    TPM2B_PUBLIC public;
    struct tpm_name name;
    return tpm_command_read_public(cache->transport, object->handle, &public, NULL) ==
               TSS2_RC_SUCCESS &&
           tpm_public_name(&cache->device->crypto, &public, &name) == TSS2_RC_SUCCESS &&
           tpm_name_is_equal(&name, &object->name);
}

void tpm_cache_forget_all(struct tpm_cache *cache, bool may_flush)
{
    while (!TAILQ_EMPTY(&cache->loaded)) {
        struct tpm_object *object = TAILQ_FIRST(&cache->loaded);
        if (may_flush && is_still(cache, object)) {
            (void)tpm_command_flush(cache->transport, object->handle);
        }
        remove_object(cache, object);
    }
}

void tpm_cache_drop(struct tpm_cache *cache, struct tpm_object *object)
{
    if (object->handle != 0 && !object->is_persistent) {
        evict(cache, object, false);
    }
    buffer_clear(&object->context);
}
