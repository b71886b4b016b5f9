#include <openssl/sha.h>

#include "lib/base/memory.h"
#include "lib/base/text.h"
#include "pkcs11/token/object.h"

enum { NAME_MAX_BYTES = 64, HASH_SHOWN_BYTES = 8 };

/* Names that people recognize, the best first. */
static const int name_parts[] = {NID_commonName, NID_organizationalUnitName, NID_organizationName};

static char *find_name(X509 *certificate)
{
    const X509_NAME *subject = X509_get_subject_name(certificate);
    for (size_t i = 0; i < ARRAY_SIZE(name_parts); i++) {
        int index = X509_NAME_get_index_by_NID(subject, name_parts[i], -1);
        uint8_t *text = NULL;
        int size = index < 0 ? -1
                             : ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(
                                                              X509_NAME_get_entry(subject, index)));
        if (size > 0) {
            char *name = text_format("%.*s", MIN(size, (int)NAME_MAX_BYTES), (const char *)text);
            OPENSSL_free(text);
            text_make_printable(name);
            return name;
        }
        OPENSSL_free(text);
    }
    return memory_copy_text("certificate authority");
}

/* The hash makes it different from the label of every other certificate, also of one with the same
 * name and serial number, and the blank from that of every identity. */
static void set_label(struct facts *facts, X509 *certificate, const uint8_t *hash)
{
    _cleanup_(free_cleanup) char *name = find_name(certificate);
    _cleanup_(free_cleanup) char *hex = text_hex((struct bytes){hash, HASH_SHOWN_BYTES});
    _cleanup_(free_cleanup) char *label = text_format("%s %s", name, hex);
    struct bytes bytes = bytes_of_text(label);
    facts_set(facts, FACT_LABEL, bytes.data, bytes.size);
}

DEFINE_CLEANUP(struct authority, authority, token_authority_free);

int token_authority_new(struct bytes *rest, const struct object_class *class,
                        struct authority **ret_authority, struct error *err)
{
    _cleanup_(authority_cleanup) struct authority *authority = NEW(struct authority);
    _cleanup_(x509_cleanup) X509 *certificate = NULL;
    struct bytes der = {0};
    struct facts *facts = &authority->facts;
    TRY(facts_next_certificate(rest, &certificate, &der, err));
    TRY(facts_read_certificate(certificate, der, facts, err));
    uint8_t hash[SHA256_DIGEST_LENGTH];
    struct bytes public_key = facts_get(facts, FACT_PUBLIC_KEY_INFO);
    (void)SHA256(public_key.data, public_key.size, hash);
    facts_set(facts, FACT_ID, hash, KEY_ID_BYTES);
    (void)SHA256(der.data, der.size, hash);
    set_label(facts, certificate, hash);
    authority->object = (struct token_object){
        .handle = object_handle_of_authority(hash), .class = class, .facts = facts};
    *ret_authority = take_ptr(authority);
    return 0;
}

void token_authority_free(struct authority *authority)
{
    facts_clear(&authority->facts);
    free(authority);
}

int authorities_read(struct authorities *authorities, struct bytes certificates, size_t limit,
                     const struct object_class *class, struct error *err)
{
    struct bytes rest = certificates;
    while (rest.size > 0) {
        struct authority *authority = NULL;
        if (authorities->count == limit) {
            return error_set(err, ERROR_INVALID_ARGUMENT,
                             "there are more than %zu certificates of authorities", limit);
        }
        TRY(token_authority_new(&rest, class, &authority, err));
        authorities->items = memory_resize_array(authorities->items, authorities->count + 1,
                                                 sizeof(struct authority *));
        authorities->items[authorities->count++] = authority;
    }
    return 0;
}

void authorities_clear(struct authorities *authorities)
{
    for (size_t i = 0; i < authorities->count; i++) {
        token_authority_free(authorities->items[i]);
    }
    free(take_ptr(authorities->items));
    authorities->count = 0;
}
