#include "pkcs11/token/generation.h"

#include <openssl/evp.h>

#include "lib/base/memory.h"

static const struct object_class *const classes[GENERATION_OBJECTS] = {
    &object_class_leaf, &object_class_private_key, &object_class_public_key};

/* A leaf that certifies another key would make clients send signatures that nobody can verify. */
static int check_key(X509 *leaf, const struct key *key, struct error *err)
{
    struct bytes der = key_public_der(key);
    const uint8_t *at = der.data;
    EVP_PKEY *pkey = d2i_PUBKEY(NULL, &at, (long)der.size);
    const EVP_PKEY *certified = X509_get0_pubkey(leaf);
    int is_same = pkey && certified ? EVP_PKEY_eq(pkey, certified) : 0;
    EVP_PKEY_free(pkey);
    return is_same == 1 ? 0
                        : error_set_openssl(err, ERROR_INVALID_ARGUMENT,
                                            "the leaf certificate is not that of the key");
}

static int read_leaf(struct token_generation *generation, struct bytes *rest, struct error *err)
{
    _cleanup_(x509_cleanup) X509 *leaf = NULL;
    struct bytes der = {0};
    TRY(facts_next_certificate(rest, &leaf, &der, err));
    TRY(check_key(leaf, generation->key, err));
    TRY(facts_read_certificate(leaf, der, &generation->facts, err));
    return facts_read_key(generation->key, &generation->facts, err);
}

static void make_objects(struct token_generation *generation)
{
    for (unsigned i = 0; i < GENERATION_OBJECTS; i++) {
        generation->objects[i] = (struct token_object){
            .handle = object_handle_of_key(key_id(generation->key), OBJECT_LEAF + i),
            .class = classes[i],
            .facts = &generation->facts,
            .generation = generation,
        };
    }
}

static int read_all(struct token_generation *generation,
                    const struct token_generation_config *config, struct error *err)
{
    struct bytes label = bytes_of_text(config->label);
    struct bytes rest = config->chain;
    if (label.size == 0 || label.size > GENERATION_LABEL_MAX_BYTES) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "a label of %zu bytes; expected 1 to %d",
                         label.size, GENERATION_LABEL_MAX_BYTES);
    }
    facts_set(&generation->facts, FACT_LABEL, label.data, label.size);
    TRY(read_leaf(generation, &rest, err));
    TRY(authorities_read(&generation->intermediates, rest, GENERATION_INTERMEDIATES_MAX,
                         &object_class_intermediate, err));
    make_objects(generation);
    return 0;
}

int token_generation_new(const struct token_generation_config *config,
                         struct token_generation **ret_generation, struct error *err)
{
    _cleanup_(token_generation_cleanup) struct token_generation *generation =
        NEW(struct token_generation);
    atomic_init(&generation->references, 1);
    generation->key = key_ref(config->key);
    generation->expires_at_s = config->expires_at_s;
    generation->tag = config->tag;
    if (read_all(generation, config, err) < 0) {
        return error_prepend(err, "preparing the token objects of %s", config->label);
    }
    *ret_generation = take_ptr(generation);
    return 0;
}

CK_OBJECT_HANDLE token_private_key_handle(const uint8_t id[KEY_ID_BYTES])
{
    return object_handle_of_key(id, OBJECT_PRIVATE_KEY);
}

struct token_generation *token_generation_ref(struct token_generation *generation)
{
    (void)atomic_fetch_add_explicit(&generation->references, 1, memory_order_relaxed);
    return generation;
}

void token_generation_unref(struct token_generation *generation)
{
    if (atomic_fetch_sub(&generation->references, 1) != 1) {
        return;
    }
    authorities_clear(&generation->intermediates);
    facts_clear(&generation->facts);
    key_unref(generation->key);
    free(generation);
}

const struct token_object *generation_private_key(const struct token_generation *generation)
{
    return &generation->objects[OBJECT_PRIVATE_KEY - OBJECT_LEAF];
}

bool generation_is_over(const struct token_generation *generation, int64_t now_s)
{
    return generation->expires_at_s <= now_s;
}

struct bytes generation_label(const struct token_generation *generation)
{
    return facts_get(&generation->facts, FACT_LABEL);
}
