#include <inttypes.h>

#include "attest/evidence.h"
#include "lib/base/memory.h"
#include "lib/base/text.h"

/* Writes a member with a comma before it unless it is the first of its object. Nothing that is
 * written here needs an escape. */
struct writer {
    struct buffer *to;
    bool is_inside;
};

static void write_name(struct writer *writer, const char *name)
{
    buffer_append_text(writer->to, writer->is_inside ? ",\n\"" : "\n\"");
    buffer_append_text(writer->to, name);
    buffer_append_text(writer->to, "\": ");
    writer->is_inside = true;
}

static void write_text(struct writer *writer, const char *text)
{
    buffer_append_text(writer->to, "\"");
    buffer_append_text(writer->to, text);
    buffer_append_text(writer->to, "\"");
}

static void write_base64(struct writer *writer, const struct buffer *bytes)
{
    _cleanup_(free_cleanup) char *text = text_base64(buffer_bytes(bytes));
    write_text(writer, text);
}

static void write_bytes(struct writer *writer, const char *name, const struct buffer *bytes)
{
    if (bytes->size) {
        write_name(writer, name);
        write_base64(writer, bytes);
    }
}

static void write_number(struct writer *writer, const char *name, int64_t number)
{
    _cleanup_(free_cleanup) char *text = text_format("%" PRId64, number);
    write_name(writer, name);
    buffer_append_text(writer->to, text);
}

static void write_chain(struct writer *writer, const struct evidence_chain *chain)
{
    if (chain->count == 0) {
        return;
    }
    write_name(writer, "certificates");
    for (size_t i = 0; i < chain->count; i++) {
        buffer_append_text(writer->to, i ? ",\n" : "[");
        write_base64(writer, &chain->items[i]);
    }
    buffer_append_text(writer->to, "]");
}

static void write_signed(struct writer *writer, const struct evidence_signed *item)
{
    write_bytes(writer, "attested", &item->attested);
    write_bytes(writer, "signature", &item->signature);
}

static void begin_object(struct writer *writer, const char *name)
{
    write_name(writer, name);
    buffer_append_text(writer->to, "{");
    writer->is_inside = false;
}

static void end_object(struct writer *writer)
{
    buffer_append_text(writer->to, "}");
    writer->is_inside = true;
}

static void write_identity(struct writer *writer, const struct evidence *evidence)
{
    if (evidence->ek_public.size) {
        begin_object(writer, "ek");
        write_bytes(writer, "public", &evidence->ek_public);
        write_chain(writer, &evidence->ek_certificates);
        end_object(writer);
    }
    if (evidence->ak_public.size) {
        begin_object(writer, "ak");
        write_bytes(writer, "public", &evidence->ak_public);
        write_chain(writer, &evidence->ak_certificates);
        write_bytes(writer, "activated", &evidence->activated);
        end_object(writer);
    }
}

static void write_pcrs(struct writer *writer, const struct pcr_set *pcrs)
{
    const char *separator = "";
    write_name(writer, "pcrs");
    buffer_append_text(writer->to, "[");
    for (size_t i = 0; i < pcrs->count; i++) {
        const struct pcr_bank *bank = &pcrs->banks[i];
        const struct hash_algorithm *hash = hash_by_id(bank->bank);
        for (unsigned index = 0; hash && index < PCR_COUNT; index++) {
            if (!(bank->mask >> index & 1)) {
                continue;
            }
            _cleanup_(free_cleanup) char *hex =
                text_hex((struct bytes){bank->values[index], hash->size});
            _cleanup_(free_cleanup) char *text = text_format("%s:%u=%s", hash->name, index, hex);
            buffer_append_text(writer->to, separator);
            write_text(writer, text);
            separator = ",\n";
        }
    }
    buffer_append_text(writer->to, "]");
}

static void write_state(struct writer *writer, const struct evidence *evidence)
{
    if (evidence->quote.attested.size) {
        begin_object(writer, "quote");
        write_signed(writer, &evidence->quote);
        end_object(writer);
    }
    if (evidence->pcrs.count) {
        write_pcrs(writer, &evidence->pcrs);
    }
    write_bytes(writer, "event_log", &evidence->event_log);
    write_bytes(writer, "ima", &evidence->ima_list);
}

void evidence_format(const struct evidence *evidence, struct buffer *ret_json)
{
    struct writer writer = {.to = ret_json};
    buffer_append_text(ret_json, "{");
    write_number(&writer, "version", EVIDENCE_VERSION);
    write_bytes(&writer, "nonce", &evidence->nonce);
    if (evidence->made_at_s > 0) {
        write_number(&writer, "made_at", evidence->made_at_s);
    }
    write_identity(&writer, evidence);
    write_state(&writer, evidence);
    if (evidence->key_public.size) {
        begin_object(&writer, "key");
        write_bytes(&writer, "public", &evidence->key_public);
        write_signed(&writer, &evidence->key);
        write_chain(&writer, &evidence->key_certificates);
        end_object(&writer);
    }
    buffer_append_text(ret_json, "}\n");
}

void challenge_format(const struct challenge *challenge, struct buffer *ret_json)
{
    struct writer writer = {.to = ret_json};
    buffer_append_text(ret_json, "{");
    write_number(&writer, "version", EVIDENCE_VERSION);
    write_bytes(&writer, "ak_name", &challenge->ak_name);
    write_bytes(&writer, "id_object", &challenge->id_object);
    write_bytes(&writer, "encrypted_secret", &challenge->encrypted_secret);
    buffer_append_text(ret_json, "}\n");
}
