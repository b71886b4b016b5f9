#include "pkcs11/token/object.h"

static const CK_BBOOL is_true = CK_TRUE;
static const CK_BBOOL is_false = CK_FALSE;
static const CK_OBJECT_CLASS certificate_class = CKO_CERTIFICATE;
static const CK_OBJECT_CLASS private_key_class = CKO_PRIVATE_KEY;
static const CK_OBJECT_CLASS public_key_class = CKO_PUBLIC_KEY;
static const CK_CERTIFICATE_TYPE x509_type = CKC_X_509;
/* PKCS#11 v2.40 4.6.3, CKA_CERTIFICATE_CATEGORY. */
static const CK_ULONG category_token_user = 1;
static const CK_ULONG category_authority = 2;

/* A constant, or a fact; FACT_NONE and no constant: it exists and nobody gets it. */
struct attribute {
    CK_ATTRIBUTE_TYPE type;
    enum fact fact;
    struct bytes constant;
};

#define YES .constant = {&is_true, sizeof(is_true)}
#define NO .constant = {&is_false, sizeof(is_false)}
#define CONSTANT(value) .constant = {(const uint8_t *)&(value), sizeof(value)}
#define SENSITIVE .fact = FACT_NONE

/* CKA_ALLOWED_MECHANISMS is left out: asking for its size fails in libraries of p11-kit 0.24. */
#define OF_CERTIFICATE                                                                             \
    {CKA_CLASS, CONSTANT(certificate_class)}, {CKA_ID, .fact = FACT_ID},                           \
        {CKA_LABEL, .fact = FACT_LABEL}, {CKA_CERTIFICATE_TYPE, CONSTANT(x509_type)},              \
        {CKA_VALUE, .fact = FACT_CERTIFICATE}, {CKA_SUBJECT, .fact = FACT_SUBJECT},                \
        {CKA_ISSUER, .fact = FACT_ISSUER}, {CKA_SERIAL_NUMBER, .fact = FACT_SERIAL_NUMBER},        \
        {CKA_TOKEN, YES}, {CKA_PRIVATE, NO}, {CKA_MODIFIABLE, NO},                                 \
        {CKA_PUBLIC_KEY_INFO, .fact = FACT_PUBLIC_KEY_INFO},                                       \
        {CKA_START_DATE, .fact = FACT_START_DATE},                                                 \
    {                                                                                              \
        CKA_END_DATE, .fact = FACT_END_DATE                                                        \
    }

static const struct attribute leaf[] = {
    OF_CERTIFICATE,
    {CKA_CERTIFICATE_CATEGORY, CONSTANT(category_token_user)},
    {CKA_TRUSTED, NO},
};

static const struct attribute intermediate[] = {
    OF_CERTIFICATE,
    {CKA_CERTIFICATE_CATEGORY, CONSTANT(category_authority)},
    {CKA_TRUSTED, NO},
};

static const struct attribute anchor[] = {
    OF_CERTIFICATE,
    {CKA_CERTIFICATE_CATEGORY, CONSTANT(category_authority)},
    {CKA_TRUSTED, YES},
};

#define OF_KEY                                                                                     \
    {CKA_ID, .fact = FACT_ID}, {CKA_LABEL, .fact = FACT_LABEL},                                    \
        {CKA_KEY_TYPE, .fact = FACT_KEY_TYPE}, {CKA_SUBJECT, .fact = FACT_SUBJECT},                \
        {CKA_TOKEN, YES}, {CKA_PRIVATE, NO}, {CKA_MODIFIABLE, NO}, {CKA_LOCAL, YES},               \
        {CKA_DERIVE, NO}, {CKA_EC_PARAMS, .fact = FACT_EC_PARAMS},                                 \
        {CKA_EC_POINT, .fact = FACT_EC_POINT}, {CKA_MODULUS, .fact = FACT_MODULUS},                \
        {CKA_PUBLIC_EXPONENT, .fact = FACT_PUBLIC_EXPONENT},                                       \
    {                                                                                              \
        CKA_PUBLIC_KEY_INFO, .fact = FACT_PUBLIC_KEY_INFO                                          \
    }

/* The public half is here too: the pkcs11 engine of OpenSSL crashes without CKA_PUBLIC_EXPONENT. */
static const struct attribute private_key[] = {
    {CKA_CLASS, CONSTANT(private_key_class)},
    OF_KEY,
    {CKA_SIGN, YES},
    {CKA_SIGN_RECOVER, NO},
    {CKA_DECRYPT, NO},
    {CKA_UNWRAP, NO},
    {CKA_SENSITIVE, YES},
    {CKA_ALWAYS_SENSITIVE, YES},
    {CKA_EXTRACTABLE, NO},
    {CKA_NEVER_EXTRACTABLE, YES},
    {CKA_ALWAYS_AUTHENTICATE, NO},
    {CKA_VALUE, SENSITIVE},
    {CKA_PRIVATE_EXPONENT, SENSITIVE},
    {CKA_PRIME_1, SENSITIVE},
    {CKA_PRIME_2, SENSITIVE},
    {CKA_EXPONENT_1, SENSITIVE},
    {CKA_EXPONENT_2, SENSITIVE},
    {CKA_COEFFICIENT, SENSITIVE},
};

static const struct attribute public_key[] = {
    {CKA_CLASS, CONSTANT(public_key_class)},
    OF_KEY,
    {CKA_MODULUS_BITS, .fact = FACT_MODULUS_BITS},
    {CKA_VERIFY, YES},
    {CKA_VERIFY_RECOVER, NO},
    {CKA_ENCRYPT, NO},
    {CKA_WRAP, NO},
    {CKA_TRUSTED, NO},
};

struct object_class {
    const struct attribute *attributes;
    size_t count;
};

const struct object_class object_class_leaf = {leaf, ARRAY_SIZE(leaf)};
const struct object_class object_class_intermediate = {intermediate, ARRAY_SIZE(intermediate)};
const struct object_class object_class_anchor = {anchor, ARRAY_SIZE(anchor)};
const struct object_class object_class_private_key = {private_key, ARRAY_SIZE(private_key)};
const struct object_class object_class_public_key = {public_key, ARRAY_SIZE(public_key)};

CK_RV object_attribute(const struct token_object *object, CK_ATTRIBUTE_TYPE type,
                       struct bytes *ret_value)
{
    const struct attribute *attribute = object->class->attributes;
    const struct attribute *end = attribute + object->class->count;
    while (attribute < end && attribute->type != type) {
        attribute++;
    }
    if (attribute == end) {
        return CKR_ATTRIBUTE_TYPE_INVALID;
    }
    if (attribute->fact == FACT_NONE) {
        *ret_value = attribute->constant;
        return attribute->constant.data ? CKR_OK : CKR_ATTRIBUTE_SENSITIVE;
    }
    /* Such as the modulus of an EC key. */
    *ret_value = facts_get(object->facts, attribute->fact);
    return ret_value->data ? CKR_OK : CKR_ATTRIBUTE_TYPE_INVALID;
}

enum { HANDLE_NUMBER_BITS = 4, HANDLE_AUTHORITY_BIT = 60 };

static uint64_t first_bits(const uint8_t *bytes, size_t size, unsigned bits)
{
    struct reader reader = reader_of((struct bytes){bytes, size});
    return reader_u64(&reader) >> (64 - bits);
}

CK_OBJECT_HANDLE object_handle_of_key(const uint8_t id[KEY_ID_BYTES], unsigned number)
{
    return first_bits(id, KEY_ID_BYTES, 56) << HANDLE_NUMBER_BITS | number;
}

CK_OBJECT_HANDLE object_handle_of_authority(const uint8_t hash[32])
{
    return UINT64_C(1) << HANDLE_AUTHORITY_BIT | first_bits(hash, 32, HANDLE_AUTHORITY_BIT);
}

bool object_handle_is_private_key(CK_OBJECT_HANDLE handle)
{
    return handle >> HANDLE_AUTHORITY_BIT == 0 &&
           (handle & ((1U << HANDLE_NUMBER_BITS) - 1)) == OBJECT_PRIVATE_KEY;
}
