#include "pkcs11/module/token.h"

#include <p11-kit/uri.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/memory.h"
#include "lib/base/text.h"
#include "pkcs11/key_type.h"

enum { SLOTS_MAX = 256 };

DEFINE_CLEANUP(P11KitUri, uri, p11_kit_uri_free);

/* What the configuration asks for: a label, or a URI. */
struct wanted {
    const char *text;
    P11KitUri *uri; /* NULL: text is a label */
};

struct search {
    const struct wanted *wanted;
    size_t matches, uninitialized;
    CK_SLOT_ID slot;
    CK_TOKEN_INFO token;
    char matching[200]; /* names of what matched */
    char others[200];   /* and of what did not */
};

static int parse_wanted(const char *text, P11KitUri **ret_uri, struct error *err)
{
    _cleanup_(uri_cleanup) P11KitUri *uri = p11_kit_uri_new();
    int result = p11_kit_uri_parse(text, P11_KIT_URI_FOR_ANY, uri);
    if (result != P11_KIT_URI_OK) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "reading the token's URI \"%s\": %s", text,
                         p11_kit_uri_message(result));
    }
    if (p11_kit_uri_get_pin_value(uri) || p11_kit_uri_get_pin_source(uri)) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "the token's URI carries a PIN, which belongs into a file; take it out "
                         "and set pin = \"file:...\"");
    }
    if (p11_kit_uri_any_unrecognized(uri)) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "reading the token's URI \"%s\": it has an attribute that is not known",
                         text);
    }
    *ret_uri = take_ptr(uri);
    return 0;
}

/* A text of PKCS#11: padded with blanks, no NUL. */
static void copy_padded(char *to, size_t to_size, const unsigned char *text, size_t size)
{
    size_t length = MIN(p11_kit_space_strlen(text, size), to_size - 1);
    memcpy(to, text, length);
    to[length] = '\0';
    text_make_printable(to);
}

static void add_name(char *list, size_t size, CK_SLOT_ID slot, const CK_TOKEN_INFO *token)
{
    char label[33];
    char serial[17];
    size_t used = strlen(list);
    copy_padded(label, sizeof(label), token->label, sizeof(token->label));
    copy_padded(serial, sizeof(serial), token->serialNumber, sizeof(token->serialNumber));
    (void)snprintf(list + used, size - used, "%s\"%s\" (serial %s, slot %lu)", used ? ", " : "",
                   label, serial, slot);
}

static bool is_match(const struct wanted *wanted, CK_SLOT_ID slot, const CK_SLOT_INFO *slot_info,
                     const CK_TOKEN_INFO *token)
{
    if (wanted->uri) {
        CK_SLOT_ID wanted_slot = p11_kit_uri_get_slot_id(wanted->uri);
        return (wanted_slot == (CK_SLOT_ID)-1 || wanted_slot == slot) &&
               p11_kit_uri_match_slot_info(wanted->uri, slot_info) &&
               p11_kit_uri_match_token_info(wanted->uri, token);
    }
    size_t length = p11_kit_space_strlen(token->label, sizeof(token->label));
    return length == strlen(wanted->text) && memcmp(token->label, wanted->text, length) == 0;
}

static void look_at_slot(CK_FUNCTION_LIST *functions, CK_SLOT_ID slot, struct search *search)
{
    CK_SLOT_INFO slot_info = {0};
    CK_TOKEN_INFO token = {0};
    /* A slot whose token was just taken out is no reason not to find the others. */
    if (functions->C_GetSlotInfo(slot, &slot_info) != CKR_OK ||
        functions->C_GetTokenInfo(slot, &token) != CKR_OK) {
        return;
    }
    bool is_initialized = token.flags & CKF_TOKEN_INITIALIZED;
    if (is_match(search->wanted, slot, &slot_info, &token) && is_initialized) {
        search->matches++;
        search->slot = slot;
        search->token = token;
        add_name(search->matching, sizeof(search->matching), slot, &token);
    } else if (is_initialized) {
        add_name(search->others, sizeof(search->others), slot, &token);
    } else {
        search->uninitialized++;
    }
}

static int look_at_all(CK_FUNCTION_LIST *functions, const struct module_where *where,
                       struct search *search, struct error *err)
{
    CK_SLOT_ID slots[SLOTS_MAX];
    /* Some modules look for new tokens only when they are asked for the size of the list. */
    CK_ULONG count = 0;
    CK_RV rv = functions->C_GetSlotList(CK_TRUE, NULL, &count);
    if (rv == CKR_OK) {
        count = SLOTS_MAX;
        rv = functions->C_GetSlotList(CK_TRUE, slots, &count);
    }
    if (rv != CKR_OK) {
        return module_status_set(err, rv, "C_GetSlotList", where);
    }
    for (CK_ULONG i = 0; i < MIN(count, (CK_ULONG)SLOTS_MAX); i++) {
        look_at_slot(functions, slots[i], search);
    }
    return 0;
}

static int check_search(const struct search *search, const struct module_where *where,
                        struct error *err)
{
    if (search->matches > 1) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "finding token \"%s\" in module %s: %zu match: %s; name one by a URI such "
                         "as \"pkcs11:serial=...\"",
                         search->wanted->text, where->module, search->matches, search->matching);
    }
    if (search->matches == 0) {
        const char *hint = search->uninitialized == 0
                               ? "plug it in or correct token ="
                               : "is it the one that is not initialized? Then initialize it with "
                                 "its own tool (SoftHSM: softhsm2-util --init-token)";
        return error_set(err, ERROR_UNAVAILABLE,
                         "finding token \"%s\" in module %s: not there. It has %s and %zu not "
                         "initialized; %s",
                         search->wanted->text, where->module,
                         search->others[0] ? search->others : "no other token",
                         search->uninitialized, hint);
    }
    return 0;
}

static void fill_identity(const CK_TOKEN_INFO *info, uint8_t identity[TOKEN_IDENTITY_BYTES])
{
    _Static_assert(sizeof(info->label) + sizeof(info->manufacturerID) + sizeof(info->model) +
                           sizeof(info->serialNumber) ==
                       TOKEN_IDENTITY_BYTES,
                   "all four fields");
    memcpy(identity, info->label, 32);
    memcpy(identity + 32, info->manufacturerID, 32);
    memcpy(identity + 64, info->model, 16);
    memcpy(identity + 80, info->serialNumber, 16);
}

static bool has_mechanism(CK_FUNCTION_LIST *functions, CK_SLOT_ID slot, CK_MECHANISM_TYPE mechanism,
                          CK_FLAGS flag)
{
    CK_MECHANISM_INFO info = {0};
    return functions->C_GetMechanismInfo(slot, mechanism, &info) == CKR_OK && (info.flags & flag);
}

static void read_mechanisms(CK_FUNCTION_LIST *functions, struct module_token *token)
{
    static const CK_MECHANISM_TYPE sign[] = {
        [SIGN_SCHEME_ECDSA] = CKM_ECDSA,
        [SIGN_SCHEME_RSA_PKCS1] = CKM_RSA_PKCS,
        [SIGN_SCHEME_RSA_PSS] = CKM_RSA_PKCS_PSS,
    };
    for (int type = 0; type < KEY_TYPE_COUNT; type++) {
        bool is_ec = key_type_info((enum key_type)type)->group != NULL;
        token->can_generate[type] = has_mechanism(
            functions, token->slot, is_ec ? CKM_EC_KEY_PAIR_GEN : CKM_RSA_PKCS_KEY_PAIR_GEN,
            CKF_GENERATE_KEY_PAIR);
        for (size_t scheme = 0; scheme < ARRAY_SIZE(sign); scheme++) {
            token->can_sign[type][scheme] =
                is_ec == (scheme == SIGN_SCHEME_ECDSA) &&
                has_mechanism(functions, token->slot, sign[scheme], CKF_SIGN);
        }
    }
}

int module_token_select(CK_FUNCTION_LIST *functions, const char *text, struct module_where *where,
                        struct module_token *ret_token, struct error *err)
{
    _cleanup_(uri_cleanup) P11KitUri *uri = NULL;
    if (strncmp(text, "pkcs11:", 7) == 0) {
        TRY(parse_wanted(text, &uri, err));
    }
    struct wanted wanted = {text, uri};
    struct search search = {.wanted = &wanted};
    where->token[0] = '\0';
    TRY(look_at_all(functions, where, &search, err));
    TRY(check_search(&search, where, err));
    struct module_token token = {
        .slot = search.slot,
        .flags = search.token.flags,
        .pin_min_bytes = search.token.ulMinPinLen,
        .pin_max_bytes = search.token.ulMaxPinLen,
    };
    fill_identity(&search.token, token.identity);
    copy_padded(where->token, sizeof(where->token), search.token.label, sizeof(search.token.label));
    read_mechanisms(functions, &token);
    *ret_token = token;
    return 0;
}

int module_token_check(CK_FUNCTION_LIST *functions, const struct module_where *where,
                       struct module_token *token, struct error *err)
{
    CK_TOKEN_INFO info = {0};
    uint8_t identity[TOKEN_IDENTITY_BYTES];
    CK_RV rv = functions->C_GetTokenInfo(token->slot, &info);
    if (rv != CKR_OK) {
        return module_status_set(err, rv, "C_GetTokenInfo", where);
    }
    fill_identity(&info, identity);
    if (memcmp(identity, token->identity, sizeof(identity)) != 0) {
        return error_set(err, ERROR_UNAVAILABLE,
                         "looking at token \"%s\" of module %s: another token is in its slot",
                         where->token, where->module);
    }
    token->flags = info.flags;
    return 0;
}

int module_token_may_generate(const struct module_token *token, enum key_type type,
                              const struct module_where *where, struct error *err)
{
    return token->can_generate[type]
               ? 0
               : error_set(err, ERROR_UNIMPLEMENTED,
                           "token \"%s\" of module %s has no mechanism that makes %s keys; choose "
                           "another key_type or keystore",
                           where->token, where->module, key_type_name(type));
}

int module_token_may_sign(const struct module_token *token, enum key_type type,
                          enum sign_scheme scheme, const struct module_where *where,
                          struct error *err)
{
    static const char *const names[] = {"ECDSA", "RSA PKCS#1", "RSA PSS"};
    return token->can_sign[type][scheme]
               ? 0
               : error_set(err, ERROR_UNIMPLEMENTED,
                           "token \"%s\" of module %s has no mechanism for %s signatures",
                           where->token, where->module, names[scheme]);
}
