/* Objects and the few slots that a TPM has for them: what was used last stays loaded, what must go
 * is saved first, once, as a context that can be loaded any number of times until the TPM is
 * reset. */
#pragma once

#include <sys/queue.h>

#include "pkcs11/tpm/tpm_command.h"

struct tpm_device;

/* The storage primary or a key; embed it. */
struct tpm_object {
    TPM2_HANDLE handle; /* 0: not loaded */
    struct tpm_name name;
    struct buffer context; /* saved context; empty: none */
    bool is_persistent;    /* has a handle of its own for good and takes no slot */
    /* Loads it from what outlives a reset: a wrapped blob, or a template. */
    TSS2_RC (*load)(struct tpm_device *device, struct tpm_object *object, TPM2_HANDLE *ret_handle);
    TAILQ_ENTRY(tpm_object) link; /* while it is in a slot */
};

struct tpm_cache {
    struct tpm_device *device; /* for load; borrowed */
    struct tpm_transport *transport;
    TAILQ_HEAD(tpm_object_list, tpm_object) loaded; /* used last comes first */
    size_t count;
    size_t limit; /* slots, 2 at least; fewer may be free while other programs use the TPM too */
};

void tpm_cache_open(struct tpm_cache *cache, struct tpm_device *device,
                    struct tpm_transport *transport);
/* Sees to it that the object is loaded. It stays so at least until the next but one acquire. */
TSS2_RC tpm_cache_acquire(struct tpm_cache *cache, struct tpm_object *object);
/* Both at once, though loading one may take the other's slot. */
TSS2_RC tpm_cache_acquire_both(struct tpm_cache *cache, struct tpm_object *one,
                               struct tpm_object *other);
/* Flushes the object if it is loaded, having saved it for a faster return: for what is used seldom,
 * or would outlive the cache. */
void tpm_cache_release(struct tpm_cache *cache, struct tpm_object *object);
/* Frees a slot if none is, of what was used longest ago; for load functions, between acquiring the
 * parent and loading the child. */
void tpm_cache_make_room(struct tpm_cache *cache);
/* Flushes and forgets all that is in slots; save: contexts are kept for a faster return. */
void tpm_cache_evict_all(struct tpm_cache *cache, bool save);
/* Forgets all handles after they have become doubtful. may_flush: those that still mean the same
 * object are flushed. */
void tpm_cache_forget_all(struct tpm_cache *cache, bool may_flush);
/* Flushes the object if it is loaded and frees what is kept of it. */
void tpm_cache_drop(struct tpm_cache *cache, struct tpm_object *object);
