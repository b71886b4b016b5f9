#include "pkcs11/module/object.h"

#include <string.h>

#include "lib/base/macro.h"
#include "pkcs11/key_type.h"
#include "pkcs11/module/public_key.h"

enum { FOUND_MAX = 16, DESTROY_ROUNDS = 16, NUMBER_MAX_BYTES = 512 };

static const CK_BBOOL yes = CK_TRUE;
static const CK_BBOOL no = CK_FALSE;
static const CK_BYTE label[] = "signet";
static const CK_OBJECT_CLASS class_private = CKO_PRIVATE_KEY;
static const CK_OBJECT_CLASS class_public = CKO_PUBLIC_KEY;

/* What each private key is asked to be, and must say of itself. */
static const struct {
    CK_ATTRIBUTE_TYPE type;
    bool value;
    bool may_be_asked_for; /* the others follow from how the key was made */
    bool may_be_missing;   /* not every kind of key has it */
    const char *name;
} private_attributes[] = {
    {CKA_PRIVATE, true, true, false, "CKA_PRIVATE"},
    {CKA_SENSITIVE, true, true, false, "CKA_SENSITIVE"},
    {CKA_ALWAYS_SENSITIVE, true, false, false, "CKA_ALWAYS_SENSITIVE"},
    {CKA_EXTRACTABLE, false, true, false, "CKA_EXTRACTABLE"},
    {CKA_NEVER_EXTRACTABLE, true, false, false, "CKA_NEVER_EXTRACTABLE"},
    {CKA_LOCAL, true, false, false, "CKA_LOCAL"},
    {CKA_SIGN, true, true, false, "CKA_SIGN"},
    {CKA_DECRYPT, false, true, true, "CKA_DECRYPT"},
    {CKA_UNWRAP, false, true, true, "CKA_UNWRAP"},
    {CKA_DERIVE, false, true, true, "CKA_DERIVE"},
    {CKA_SIGN_RECOVER, false, true, true, "CKA_SIGN_RECOVER"},
};

/* Reads several attributes; one that the object lacks has the length CK_UNAVAILABLE_INFORMATION. */
static CK_RV read_attributes(const struct module_session *session, const struct module_where *where,
                             CK_OBJECT_HANDLE object, CK_ATTRIBUTE *attributes, CK_ULONG count,
                             struct error *err)
{
    CK_RV rv = session->functions->C_GetAttributeValue(session->handle, object, attributes, count);
    if (rv == CKR_ATTRIBUTE_TYPE_INVALID || rv == CKR_ATTRIBUTE_SENSITIVE) {
        rv = CKR_OK;
    }
    if (rv != CKR_OK) {
        (void)module_status_set(err, rv, "C_GetAttributeValue", where);
    }
    return rv;
}

static CK_RV check_private(const struct module_session *session, const struct module_where *where,
                           CK_OBJECT_HANDLE object, struct error *err)
{
    CK_BBOOL values[ARRAY_SIZE(private_attributes)] = {0};
    CK_ATTRIBUTE attributes[ARRAY_SIZE(private_attributes)];
    for (size_t i = 0; i < ARRAY_SIZE(private_attributes); i++) {
        attributes[i] = (CK_ATTRIBUTE){private_attributes[i].type, &values[i], sizeof(values[i])};
    }
    CK_RV rv =
        read_attributes(session, where, object, attributes, ARRAY_SIZE(private_attributes), err);
    for (size_t i = 0; i < ARRAY_SIZE(private_attributes) && rv == CKR_OK; i++) {
        bool is_missing = attributes[i].ulValueLen != sizeof(values[i]);
        bool value = values[i] != CK_FALSE;
        if (is_missing ? !private_attributes[i].may_be_missing
                       : value != private_attributes[i].value) {
            (void)error_set(
                err, ERROR_FAILED_PRECONDITION,
                "refusing a key of token \"%s\" of module %s: its %s is %s, so it might "
                "be copied or used otherwise than to sign",
                where->token, where->module, private_attributes[i].name,
                is_missing ? "missing" : (value ? "true" : "false"));
            rv = CKR_KEY_FUNCTION_NOT_PERMITTED;
        }
    }
    return rv;
}

/* What C_GenerateKeyPair gets for one of the two keys. */
struct template
{
    CK_ATTRIBUTE attributes[16];
    CK_ULONG count;
};

/* The module only reads the value. */
static void add(struct template *template, CK_ATTRIBUTE_TYPE type, const void *value, size_t size)
{
    template->attributes[template->count++] = (CK_ATTRIBUTE){type, (void *)value, size};
}

static void add_flag(struct template *template, CK_ATTRIBUTE_TYPE type, bool is_set)
{
    add(template, type, is_set ? &yes : &no, sizeof(yes));
}

static void add_common(struct template *template, const uint8_t *id)
{
    add_flag(template, CKA_TOKEN, id != NULL);
    add(template, CKA_LABEL, label, sizeof(label) - 1);
    if (id) {
        add(template, CKA_ID, id, MODULE_ID_BYTES);
    }
}

static CK_RV generate(const struct module_session *session, enum key_type type, const uint8_t *id,
                      struct module_pair *ret_pair)
{
    static const CK_ULONG modulus_bits = 2048;
    static const CK_BYTE exponent[] = {0x01, 0x00, 0x01};
    struct bytes curve = module_ec_parameters(type);
    CK_MECHANISM mechanism = {curve.size ? CKM_EC_KEY_PAIR_GEN : CKM_RSA_PKCS_KEY_PAIR_GEN, NULL,
                              0};
    struct template public = {.count = 0};
    add_common(&public, id);
    add_flag(&public, CKA_VERIFY, true);
    if (curve.size) {
        add(&public, CKA_EC_PARAMS, curve.data, curve.size);
    } else {
        add(&public, CKA_MODULUS_BITS, &modulus_bits, sizeof(modulus_bits));
        add(&public, CKA_PUBLIC_EXPONENT, exponent, sizeof(exponent));
    }
    struct template private = {.count = 0};
    add_common(&private, id);
    for (size_t i = 0; i < ARRAY_SIZE(private_attributes); i++) {
        if (private_attributes[i].may_be_asked_for) {
            add_flag(&private, private_attributes[i].type, private_attributes[i].value);
        }
    }
    return session->functions->C_GenerateKeyPair(session->handle, &mechanism, public.attributes,
                                                 public.count, private.attributes, private.count,
                                                 &ret_pair->public, &ret_pair->private);
}

CK_RV module_pair_generate(const struct module_session *session, const struct module_where *where,
                           enum key_type type, const uint8_t *id, struct module_pair *ret_pair,
                           struct error *err)
{
    struct module_pair pair = {CK_INVALID_HANDLE, CK_INVALID_HANDLE};
    CK_RV rv = generate(session, type, id, &pair);
    if (rv != CKR_OK) {
        (void)module_status_set(err, rv, "C_GenerateKeyPair", where);
        return rv;
    }
    rv = check_private(session, where, pair.private, err);
    if (rv != CKR_OK) {
        (void)module_object_destroy(session, where, pair.private, NULL);
        (void)module_object_destroy(session, where, pair.public, NULL);
        return rv;
    }
    *ret_pair = pair;
    return CKR_OK;
}

/* Finds at most FOUND_MAX. None found is only believed of a session that is logged in. */
static CK_RV find(const struct module_session *session, const struct module_where *where,
                  const CK_OBJECT_CLASS *class, const uint8_t id[MODULE_ID_BYTES],
                  CK_OBJECT_HANDLE found[FOUND_MAX], CK_ULONG *ret_count, struct error *err)
{
    struct template template = {.count = 0};
    add(&template, CKA_CLASS, class, sizeof(*class));
    add(&template, CKA_ID, id, MODULE_ID_BYTES);
    *ret_count = 0;
    CK_RV rv =
        session->functions->C_FindObjectsInit(session->handle, template.attributes, template.count);
    if (rv == CKR_OK) {
        rv = session->functions->C_FindObjects(session->handle, found, FOUND_MAX, ret_count);
        (void)session->functions->C_FindObjectsFinal(session->handle);
    }
    if (rv != CKR_OK) {
        *ret_count = 0;
        (void)module_status_set(err, rv, "C_FindObjects", where);
    }
    return rv == CKR_OK && *ret_count == 0 ? module_session_check(session, where, err) : rv;
}

CK_RV module_pair_find(const struct module_session *session, const struct module_where *where,
                       const uint8_t id[MODULE_ID_BYTES], struct module_pair *ret_pair,
                       struct error *err)
{
    CK_OBJECT_HANDLE found[FOUND_MAX];
    CK_ULONG count = 0;
    CK_RV rv = find(session, where, &class_private, id, found, &count, err);
    if (rv != CKR_OK) {
        return rv;
    }
    if (count != 1) {
        (void)error_set(err, count == 0 ? ERROR_NOT_FOUND : ERROR_FAILED_PRECONDITION,
                        "opening a key of token \"%s\" of module %s: %lu private keys have its id; "
                        "one is expected",
                        where->token, where->module, count);
        return CKR_KEY_HANDLE_INVALID;
    }
    struct module_pair pair = {CK_INVALID_HANDLE, found[0]};
    rv = check_private(session, where, pair.private, err);
    if (rv == CKR_OK) {
        rv = find(session, where, &class_public, id, found, &count, err);
    }
    if (rv == CKR_OK) {
        pair.public = count == 1 ? found[0] : CK_INVALID_HANDLE;
        *ret_pair = pair;
    }
    return rv;
}

CK_RV module_pair_read_public(const struct module_session *session,
                              const struct module_where *where, enum key_type type,
                              const struct module_pair *pair, struct buffer *ret_spki,
                              struct error *err)
{
    bool is_ec = key_type_info(type)->group != NULL;
    uint8_t first[NUMBER_MAX_BYTES];
    uint8_t second[NUMBER_MAX_BYTES];
    CK_ATTRIBUTE attributes[] = {
        {is_ec ? CKA_EC_PARAMS : CKA_MODULUS, first, sizeof(first)},
        {is_ec ? CKA_EC_POINT : CKA_PUBLIC_EXPONENT, second, sizeof(second)},
    };
    CK_OBJECT_HANDLE object = pair->public != CK_INVALID_HANDLE ? pair->public : pair->private;
    CK_RV rv = read_attributes(session, where, object, attributes, ARRAY_SIZE(attributes), err);
    if (rv != CKR_OK) {
        return rv;
    }
    if (attributes[0].ulValueLen > sizeof(first) || attributes[1].ulValueLen > sizeof(second)) {
        (void)error_set(err, ERROR_NOT_FOUND,
                        "reading the public key of a key of token \"%s\" of module %s: the token "
                        "does not have it%s",
                        where->token, where->module,
                        pair->public == CK_INVALID_HANDLE ? ", and its public object is missing"
                                                          : "");
        return CKR_ATTRIBUTE_TYPE_INVALID;
    }
    struct bytes a = {first, attributes[0].ulValueLen};
    struct bytes b = {second, attributes[1].ulValueLen};
    int result = is_ec ? module_public_ec(type, a, b, ret_spki, err)
                       : module_public_rsa(a, b, ret_spki, err);
    return result == 0 ? CKR_OK : CKR_ATTRIBUTE_VALUE_INVALID;
}

CK_RV module_object_destroy(const struct module_session *session, const struct module_where *where,
                            CK_OBJECT_HANDLE object, struct error *err)
{
    if (object == CK_INVALID_HANDLE) {
        return CKR_OK;
    }
    CK_RV rv = session->functions->C_DestroyObject(session->handle, object);
    if (module_status_is_object_gone(rv)) {
        return CKR_OK;
    }
    if (rv != CKR_OK) {
        (void)module_status_set(err, rv, "C_DestroyObject", where);
    }
    return rv;
}

static CK_RV destroy_class(const struct module_session *session, const struct module_where *where,
                           const CK_OBJECT_CLASS *class, const uint8_t id[MODULE_ID_BYTES],
                           struct error *err)
{
    CK_OBJECT_HANDLE found[FOUND_MAX];
    CK_ULONG count = FOUND_MAX;
    /* Bounded, should a token say that it destroyed what it goes on listing. */
    for (int round = 0; round < DESTROY_ROUNDS && count == FOUND_MAX; round++) {
        CK_RV rv = find(session, where, class, id, found, &count, err);
        for (CK_ULONG i = 0; i < count && rv == CKR_OK; i++) {
            rv = module_object_destroy(session, where, found[i], err);
        }
        if (rv != CKR_OK) {
            return rv;
        }
    }
    return CKR_OK;
}

CK_RV module_objects_destroy(const struct module_session *session, const struct module_where *where,
                             const uint8_t id[MODULE_ID_BYTES], struct error *err)
{
    CK_RV rv = destroy_class(session, where, &class_private, id, err);
    return rv == CKR_OK ? destroy_class(session, where, &class_public, id, err) : rv;
}
