#include "agent/svid/svid.h"

#include <openssl/evp.h>
#include <string.h>

#include "agent/spiffe_id.h"
#include "lib/base/memory.h"

/* Generations before the newest that stay usable: they live as long as a certificate, half of which
 * a generation serves; more are there only where entries change often. */
enum { PREVIOUS_MAX = 8 };

static void find_key_id(struct bytes public_key, uint8_t ret_id[KEY_ID_BYTES])
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    if (EVP_Digest(public_key.data, public_key.size, digest, NULL, EVP_sha256(), NULL) != 1) {
        abort(); /* OpenSSL without SHA-256 or memory: nothing can be trusted */
    }
    memcpy(ret_id, digest, KEY_ID_BYTES);
}

struct svid_x509 *svid_x509_new(struct entry *entry, const struct plan *plan, int64_t now_s,
                                struct key_material *material, struct x509_request *request)
{
    struct svid_x509 *svid = NEW(struct svid_x509);
    *svid = (struct svid_x509){
        .references = 1,
        .entry = entry_ref(entry),
        .protection = plan->protection,
        .key_type = key_shelf_type(plan->shelf),
        .key = take_ptr(material->key),
        .pkcs8 = material->pkcs8,
        .chain = request->chain,
        .serial = take_ptr(request->serial),
        .issued_at_s = now_s,
        .not_before_s = request->not_before_s,
        .expires_at_s = request->expires_at_s,
    };
    material->pkcs8 = (struct secret){0};
    request->chain = (struct buffer){0};
    find_key_id(key_material_public(svid->key, &material->spki), svid->key_id);
    key_material_clear(material);
    return svid;
}

struct svid_x509 *svid_x509_restore(struct key *key, struct bytes chain, char *serial,
                                    int64_t not_before_s, int64_t expires_at_s)
{
    struct svid_x509 *svid = NEW(struct svid_x509);
    *svid = (struct svid_x509){
        .references = 1,
        .protection = keystore_protection(key_keystore(key)),
        .key_type = key_type(key),
        .key = key,
        .serial = serial,
        .issued_at_s = not_before_s,
        .not_before_s = not_before_s,
        .expires_at_s = expires_at_s,
    };
    buffer_append(&svid->chain, chain.data, chain.size);
    memcpy(svid->key_id, key_id(key), KEY_ID_BYTES);
    return svid;
}

void svid_x509_set_entry(struct svid_x509 *svid, struct entry *entry)
{
    for (; svid; svid = svid->previous) {
        struct entry *before = svid->entry;
        svid->entry = entry_ref(entry);
        if (before) {
            entry_unref(before);
        }
    }
}

int svid_x509_rename(const struct svid_x509 *svid, struct entry *entry, struct svid_x509 **ret_svid,
                     struct error *err)
{
    struct secret pkcs8 = {0};
    if (svid->pkcs8.size > 0) {
        TRY(secret_copy(secret_bytes(&svid->pkcs8), &pkcs8, err));
    }
    struct svid_x509 *renamed = NEW(struct svid_x509);
    *renamed = *svid;
    renamed->references = 1;
    renamed->entry = entry_ref(entry);
    renamed->previous = svid->previous ? svid_x509_ref(svid->previous) : NULL;
    renamed->generation = svid->generation ? token_generation_ref(svid->generation) : NULL;
    renamed->key = svid->key ? key_ref(svid->key) : NULL;
    renamed->pkcs8 = pkcs8;
    renamed->chain = (struct buffer){0};
    buffer_append(&renamed->chain, svid->chain.data, svid->chain.size);
    renamed->serial = memory_copy_text(svid->serial);
    *ret_svid = renamed;
    return 0;
}

void svid_x509_keep_previous(struct svid_x509 *svid, struct svid_x509 *previous, int64_t now_s)
{
    if (!svid->key || !previous->key || previous->expires_at_s <= now_s) {
        svid_x509_unref(previous);
        return;
    }
    svid->previous = previous;
    struct svid_x509 *oldest = previous;
    for (size_t kept = 1;
         oldest->previous && kept < PREVIOUS_MAX && oldest->previous->expires_at_s > now_s;
         kept++) {
        oldest = oldest->previous;
    }
    if (oldest->previous) {
        svid_x509_unref(take_ptr(oldest->previous));
    }
}

size_t svid_x509_previous_count(const struct svid_x509 *svid)
{
    size_t count = 0;
    while ((svid = svid->previous) != NULL) {
        count++;
    }
    return count;
}

struct svid_x509 *svid_x509_ref(struct svid_x509 *svid)
{
    svid->references++;
    return svid;
}

void svid_x509_unref(struct svid_x509 *svid)
{
    if (--svid->references > 0) {
        return;
    }
    if (svid->previous) {
        svid_x509_unref(svid->previous); /* not deep: PREVIOUS_MAX */
    }
    if (svid->generation) {
        token_generation_unref(svid->generation);
    }
    if (svid->key) {
        key_unref(svid->key);
    }
    secret_clear(&svid->pkcs8);
    buffer_clear(&svid->chain);
    free(svid->serial);
    if (svid->entry) {
        entry_unref(svid->entry);
    }
    free(svid);
}

/* RFC 7512 2.3: what may stand in the path of a PKCS#11 URI as itself; a slash may not. */
static void append_percent_encoded(struct buffer *uri, const char *text)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
    for (const char *c = text; *c; c++) {
        if (strchr(plain, *c)) {
            buffer_append_u8(uri, (uint8_t)*c);
        } else {
            static const char digits[] = "0123456789ABCDEF";
            const char encoded[] = {'%', digits[(uint8_t)*c >> 4], digits[(uint8_t)*c & 15]};
            buffer_append(uri, encoded, sizeof(encoded));
        }
    }
}

char *svid_x509_key_uri(const struct svid_x509 *svid)
{
    const char *path = spiffe_id_path(svid->entry->spiffe_id);
    _cleanup_(buffer_clear) struct buffer uri = {0};
    buffer_append_text(&uri, "pkcs11:token=signet;object=");
    append_percent_encoded(&uri, *path == '/' ? path + 1 : path);
    buffer_append_text(&uri, ";id=");
    _cleanup_(free_cleanup) char *id = text_hex((struct bytes){svid->key_id, KEY_ID_BYTES});
    for (size_t i = 0; i < KEY_ID_BYTES; i++) {
        buffer_append_u8(&uri, '%');
        buffer_append(&uri, id + 2 * i, 2);
    }
    buffer_append_text(&uri, ";type=private");
    buffer_append_u8(&uri, 0);
    return (char *)take_ptr(uri.data);
}

struct identity_set *identity_set_new(struct svid_x509 *const *svids, size_t count,
                                      struct bundle *bundle)
{
    struct identity_set *set = NEW(struct identity_set);
    set->references = 1;
    set->svids = memory_new_array(count, sizeof(struct svid_x509 *));
    set->count = count;
    for (size_t i = 0; i < count; i++) {
        set->svids[i] = svid_x509_ref(svids[i]);
    }
    set->bundle = bundle ? bundle_ref(bundle) : NULL;
    return set;
}

bool identity_set_is_equal(const struct identity_set *a, const struct identity_set *b)
{
    if (a == b || !a || !b) {
        return a == b;
    }
    /* Without identities a bundle tells nothing. */
    return a->count == b->count && (a->count == 0 || a->bundle == b->bundle) &&
           memcmp(a->svids, b->svids, a->count * sizeof(struct svid_x509 *)) == 0;
}

struct identity_set *identity_set_ref(struct identity_set *set)
{
    set->references++;
    return set;
}

void identity_set_unref(struct identity_set *set)
{
    if (--set->references > 0) {
        return;
    }
    if (set->token_view) {
        token_view_unref(set->token_view);
    }
    for (size_t i = 0; i < IDENTITY_SET_ENCODINGS; i++) {
        if (set->encodings[i]) {
            set->free_encoding(set->encodings[i]);
        }
    }
    for (size_t i = 0; i < set->count; i++) {
        svid_x509_unref(set->svids[i]);
    }
    free(set->svids);
    if (set->bundle) {
        bundle_unref(set->bundle);
    }
    free(set);
}
