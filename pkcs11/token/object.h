/* The objects of a token and their attributes: a table for each class says which attribute has
 * which value. For the files of this folder; immutable, every thread. */
#pragma once

#include <p11-kit/pkcs11.h>

#include "pkcs11/token/facts.h"

struct object_class;
extern const struct object_class object_class_leaf, object_class_private_key,
    object_class_public_key, object_class_intermediate, object_class_anchor;

struct token_generation;

struct token_object {
    CK_OBJECT_HANDLE handle;
    const struct object_class *class;
    const struct facts *facts;
    struct token_generation *generation; /* NULL: a certificate of an authority */
};

/* A handle is never 0, never negative for those who take it as signed, and of one of two kinds:
 * that of an authority's certificate is made of its hash; that of a generation is made of the key's
 * id and the object's number, which is never 0. */
enum { OBJECT_LEAF = 1, OBJECT_PRIVATE_KEY, OBJECT_PUBLIC_KEY };
CK_OBJECT_HANDLE object_handle_of_key(const uint8_t id[KEY_ID_BYTES], unsigned number);
CK_OBJECT_HANDLE object_handle_of_authority(const uint8_t hash[32]);
bool object_handle_is_private_key(CK_OBJECT_HANDLE handle);

/* CKR_OK with the value, borrowed from the object; CKR_ATTRIBUTE_SENSITIVE;
 * CKR_ATTRIBUTE_TYPE_INVALID. */
CK_RV object_attribute(const struct token_object *object, CK_ATTRIBUTE_TYPE type,
                       struct bytes *ret_value);

/* The certificate of an authority: an intermediate of a chain, or an anchor. Its handle depends on
 * the certificate alone, so there is one object however many identities use it. */
struct authority {
    struct facts facts;
    struct token_object object;
};

/* Of the first certificate of rest, which is taken off. Errors: InvalidArgument. */
int token_authority_new(struct bytes *rest, const struct object_class *class,
                        struct authority **ret_authority, struct error *err);
void token_authority_free(struct authority *authority);

/* Several of them, in order. All zero is empty. */
struct authorities {
    struct authority **items;
    size_t count;
};

/* Of all certificates, DER, one after the other; more than limit are refused. What was read is in
 * authorities also after an error. Errors: InvalidArgument. */
int authorities_read(struct authorities *authorities, struct bytes certificates, size_t limit,
                     const struct object_class *class, struct error *err);
void authorities_clear(struct authorities *authorities);
