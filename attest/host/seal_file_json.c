#include <jansson.h>
#include <openssl/x509.h>
#include <string.h>
#include <tss2/tss2_mu.h>

#include "attest/host/seal.h"
#include "attest/host/seal_file.h"
#include "lib/base/memory.h"

enum { VERSION = 1, ITEMS_MAX = PCR_BANKS_MAX * PCR_COUNT };

static const char type_name[] = "signet-sealed";

static void json_decref_cleanup(json_t **document)
{
    json_decref(*document);
}

static json_t *encode_bytes(struct bytes bytes)
{
    _cleanup_(free_cleanup) char *text = text_base64url(bytes);
    return json_string(text);
}

static json_t *encode_pcrs(const struct pcr_selection *selection, const struct pcr_set *pcrs)
{
    json_t *list = json_array();
    for (size_t i = 0; i < selection->count; i++) {
        const struct hash_algorithm *hash = hash_by_id(selection->banks[i].bank);
        for (unsigned index = 0; hash && index < PCR_COUNT; index++) {
            const uint8_t *value = pcr_set_value(pcrs, hash->id, index);
            if (!value || !(selection->banks[i].mask >> index & 1)) {
                continue;
            }
            _cleanup_(free_cleanup) char *hex = text_hex((struct bytes){value, hash->size});
            _cleanup_(free_cleanup) char *item = text_format("%s:%u=%s", hash->name, index, hex);
            json_array_append_new(list, json_string(item));
        }
    }
    return list;
}

static json_t *encode_states(const struct seal_file *file)
{
    json_t *list = json_array();
    for (size_t i = 0; i < file->state_count; i++) {
        const struct seal_state *state = &file->states[i];
        const struct bytes signature = {state->signature, state->signature_size};
        json_array_append_new(list, json_pack("{s:o, s:o}", "pcrs",
                                              encode_pcrs(&file->selection, &state->pcrs),
                                              "signature", encode_bytes(signature)));
    }
    return list;
}

static json_t *encode_public(const TPM2B_PUBLIC *public)
{
    uint8_t area[sizeof(TPMT_PUBLIC)];
    size_t size = 0;
    if (Tss2_MU_TPMT_PUBLIC_Marshal(&public->publicArea, area, sizeof(area), &size) !=
        TSS2_RC_SUCCESS) {
        return NULL;
    }
    return encode_bytes((struct bytes){area, size});
}

/* SubjectPublicKeyInfo; empty without an authority. */
static json_t *encode_authority(EVP_PKEY *authority)
{
    unsigned char *der = NULL;
    int size = authority ? i2d_PUBKEY(authority, &der) : 0;
    if (size < 0) {
        return NULL;
    }
    json_t *text = encode_bytes((struct bytes){der, (size_t)size});
    OPENSSL_free(der);
    return text;
}

static json_t *encode_counter(const struct seal_counter *counter)
{
    if (counter->index == 0) {
        return json_null();
    }
    return json_pack("{s:I, s:o, s:I}", "index", (json_int_t)counter->index, "name",
                     encode_bytes(tpm_name_bytes(&counter->name)), "value",
                     (json_int_t)counter->value);
}

static json_t *encode_file(const struct seal_file *file)
{
    _cleanup_(free_cleanup) char *selection = pcr_selection_text(&file->selection);
    const struct bytes private = {file->private.buffer, file->private.size};
    return json_pack("{s:s, s:i, s:o, s:o, s:o, s:s, s:o, s:o, s:o}", "type", type_name, "version",
                     VERSION, "parent", encode_bytes(tpm_name_bytes(&file->parent)), "public",
                     encode_public(&file->public), "private", encode_bytes(private), "selection",
                     selection, "states", encode_states(file), "authority",
                     encode_authority(file->authority), "counter", encode_counter(&file->counter));
}

static char *dump(const json_t *document)
{
    return json_dumps(document, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
}

/* Over the text without it. */
static int add_checksum(json_t *document, struct error *err)
{
    uint8_t digest[HASH_MAX_BYTES];
    const struct hash_algorithm *hash = hash_by_id(TPM2_ALG_SHA256);
    _cleanup_(free_cleanup) char *text = dump(document);
    const struct bytes part = text ? bytes_of_text(text) : (struct bytes){0};
    TRY(hash_compute(hash, &part, 1, digest, err));
    _cleanup_(free_cleanup) char *hex = text_hex((struct bytes){digest, hash->size});
    json_object_set_new(document, "sha256", json_string(hex));
    return 0;
}

int seal_file_encode(const struct seal_file *file, struct buffer *ret_text, struct error *err)
{
    _cleanup_(json_decref_cleanup) json_t *document = encode_file(file);
    if (!document) {
        return error_set(err, ERROR_INTERNAL, "writing a sealed file: a part of it has no text");
    }
    TRY(add_checksum(document, err));
    _cleanup_(free_cleanup) char *text = dump(document);
    buffer_append_text(ret_text, text);
    buffer_append_u8(ret_text, '\n');
    return 0;
}

/* Exactly or at most limit bytes. */
static bool decode_bytes(const char *text, size_t limit, struct buffer *ret_bytes)
{
    return strlen(text) <= 2 * limit &&
           text_base64url_decode(text, strlen(text), ret_bytes, NULL) == 0 &&
           ret_bytes->size <= limit;
}

static bool decode_name(const char *text, struct tpm_name *ret_name)
{
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    if (!decode_bytes(text, TPM_NAME_BYTES, &bytes) || bytes.size != TPM_NAME_BYTES) {
        return false;
    }
    *ret_name = (struct tpm_name){.size = bytes.size};
    memcpy(ret_name->data, bytes.data, bytes.size);
    return true;
}

static bool decode_object(const char *public, const char *private, struct seal_file *file)
{
    size_t offset = 0;
    _cleanup_(buffer_clear) struct buffer area = {0};
    _cleanup_(buffer_clear) struct buffer blob = {0};
    if (!decode_bytes(public, sizeof(TPMT_PUBLIC), &area) || area.size == 0 ||
        !decode_bytes(private, sizeof(file->private.buffer), &blob) || blob.size == 0 ||
        Tss2_MU_TPMT_PUBLIC_Unmarshal(area.data, area.size, &offset, &file->public.publicArea) !=
            TSS2_RC_SUCCESS ||
        offset != area.size) {
        return false;
    }
    file->private.size = (uint16_t)blob.size;
    memcpy(file->private.buffer, blob.data, blob.size);
    return true;
}

static bool decode_state(const json_t *item, bool is_first, struct seal_file *file)
{
    json_t *list = NULL;
    const char *signature = NULL;
    struct pcr_set pcrs = {0};
    struct seal_state *state = NULL;
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    /* jansson reads only, but does not say so. */
    if (json_unpack((json_t *)item, "{s:o, s:s!}", "pcrs", &list, "signature", &signature) < 0 ||
        !json_is_array(list) || json_array_size(list) > ITEMS_MAX) {
        return false;
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));
        if (!text || pcr_set_put_text(&pcrs, text, NULL) < 0) {
            return false;
        }
    }
    if (seal_file_add(file, &pcrs, &state, NULL) < 0 ||
        !decode_bytes(signature, sizeof(state->signature), &bytes) ||
        is_first != (bytes.size == 0)) {
        return false;
    }
    memcpy(state->signature, bytes.size ? bytes.data : state->signature, bytes.size);
    state->signature_size = bytes.size;
    return true;
}

static bool decode_states(const json_t *list, struct seal_file *file)
{
    size_t count = json_is_array(list) ? json_array_size(list) : 0;
    bool is_good = count > 0 && count <= SEAL_STATES_MAX;
    for (size_t i = 0; i < count && is_good; i++) {
        is_good = decode_state(json_array_get(list, i), i == 0, file);
    }
    return is_good;
}

static bool decode_authority(const char *text, struct seal_file *file)
{
    enum { SPKI_MAX_BYTES = 128 };
    _cleanup_(buffer_clear) struct buffer der = {0};
    if (!decode_bytes(text, SPKI_MAX_BYTES, &der)) {
        return false;
    }
    const unsigned char *at = der.data;
    file->authority = der.size > 0 ? d2i_PUBKEY(NULL, &at, (long)der.size) : NULL;
    return der.size == 0 || (file->authority && EVP_PKEY_is_a(file->authority, "EC"));
}

static bool decode_counter(json_t *item, struct seal_counter *ret_counter)
{
    json_int_t index = 0;
    json_int_t value = 0;
    const char *name = NULL;
    if (json_is_null(item)) {
        return true;
    }
    if (json_unpack(item, "{s:I, s:s, s:I!}", "index", &index, "name", &name, "value", &value) <
            0 ||
        index <= 0 || index > UINT32_MAX || value < 0 || !decode_name(name, &ret_counter->name)) {
        return false;
    }
    ret_counter->index = (uint32_t)index;
    ret_counter->value = (uint64_t)value;
    return true;
}

static bool decode_file(json_t *document, struct seal_file *file)
{
    const char *type = NULL, *parent = NULL, *public = NULL, *private = NULL;
    const char *selection = NULL, *authority = NULL, *checksum = NULL;
    json_t *states = NULL;
    json_t *counter = NULL;
    int version = 0;
    return json_unpack(document, "{s:s, s:i, s:s, s:s, s:s, s:s, s:o, s:s, s:o, s:s!}", "type",
                       &type, "version", &version, "parent", &parent, "public", &public, "private",
                       &private, "selection", &selection, "states", &states, "authority",
                       &authority, "counter", &counter, "sha256", &checksum) == 0 &&
           strcmp(type, type_name) == 0 && decode_name(parent, &file->parent) &&
           decode_object(public, private, file) &&
           pcr_selection_parse(selection, &file->selection, NULL) == 0 &&
           decode_states(states, file) && decode_authority(authority, file) &&
           decode_counter(counter, &file->counter);
}

/* Whether the text is the one for what was read from it; this compares the checksum too. */
static bool is_own_text(const struct seal_file *file, struct bytes text)
{
    _cleanup_(buffer_clear) struct buffer again = {0};
    return seal_file_encode(file, &again, NULL) == 0 && bytes_is_equal(buffer_bytes(&again), text);
}

int seal_file_decode(struct bytes text, struct seal_file **ret_file, struct error *err)
{
    _cleanup_(json_decref_cleanup) json_t *document =
        text.size > 0 && text.size <= SEAL_FILE_MAX_BYTES
            ? json_loadb((const char *)text.data, text.size, JSON_REJECT_DUPLICATES, NULL)
            : NULL;
    _cleanup_(seal_file_free_cleanup) struct seal_file *file = NEW(struct seal_file);
    json_int_t version = json_integer_value(json_object_get(document, "version"));
    if (version > VERSION) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "reading a sealed file: it is of version %lld and this signet knows "
                         "version %d; seal the secret anew, or use a later signet",
                         (long long)version, VERSION);
    }
    if (version != VERSION || !decode_file(document, file) || !is_own_text(file, text)) {
        return error_set(err, ERROR_DATA_LOSS,
                         "reading a sealed file: its %zu bytes are damaged, or never were one; "
                         "restore it from a backup, or seal the secret anew",
                         text.size);
    }
    *ret_file = take_ptr(file);
    return 0;
}
