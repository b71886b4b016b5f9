#include "client/audit_source.h"

#include <sodium.h>
#include <string.h>

#include "client/sockets.h"
#include "lib/base/memory.h"
#include "proto/admin.pb-c.h"

void audit_source_clear(struct audit_source *source)
{
    free(source->path);
    free(source->failure);
    *source = (struct audit_source){0};
}

static int read_hash(const char *hex, uint8_t ret_hash[AUDIT_HASH_BYTES], struct error *err)
{
    size_t size = 0;
    const char *end = NULL;
    if (strlen(hex) != (size_t)2 * AUDIT_HASH_BYTES ||
        sodium_hex2bin(ret_hash, AUDIT_HASH_BYTES, hex, strlen(hex), NULL, &size, &end) != 0 ||
        size != AUDIT_HASH_BYTES || *end != '\0') {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "\"%s\" is not the hash of a record: 64 hexadecimal digits", hex);
    }
    return 0;
}

int audit_link_parse(const char *text, struct audit_link *ret_link, struct error *err)
{
    const char *colon = strchr(text, ':');
    struct audit_link link;
    if (!colon) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "\"%s\" is not SEQUENCE:HASH, as audit verify prints it", text);
    }
    _cleanup_(free_cleanup) char *number = text_format("%.*s", (int)(colon - text), text);
    TRY(text_parse_u64(number, 1, UINT64_MAX, &link.sequence, err));
    TRY(read_hash(colon + 1, link.hash, err));
    *ret_link = link;
    return 0;
}

/* What the agent has that is certainly on disk: all of it, or what is signed. */
static int take_live(const Admin__GetAuditResponse *answer, struct audit_source *source,
                     struct error *err)
{
    bool is_all_written = answer->waiting == 0;
    const char *hash = is_all_written ? answer->hash : answer->signed_hash;
    source->live.sequence = is_all_written ? answer->sequence : answer->signed_sequence;
    if (source->live.sequence > 0 && read_hash(hash, source->live.hash, err) < 0) {
        return error_prepend(err, "reading the agent's answer");
    }
    return 0;
}

static int ask_agent(const struct arguments *arguments, struct audit_source *source,
                     struct error *err)
{
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client = NULL;
    Admin__GetAuditRequest request = ADMIN__GET_AUDIT_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    TRY(sockets_connect_admin(arguments, &client, err));
    TRY(rpc_client_call(client, "/signet.admin.v1.Admin/GetAudit", &request.base,
                        &admin__get_audit_response__descriptor, &response, err));
    const Admin__GetAuditResponse *answer = (const Admin__GetAuditResponse *)response;
    source->path = memory_copy_text(answer->folder);
    source->failure = memory_copy_text(answer->failure);
    source->is_live = true;
    int result = take_live(answer, source, err);
    protobuf_c_message_free_unpacked(response, NULL);
    return result;
}

int audit_source_find(const struct arguments *arguments, struct audit_source *ret_source,
                      struct error *err)
{
    _cleanup_(audit_source_clear) struct audit_source source = {0};
    if (arguments->operand) {
        source.path = memory_copy_text(arguments->operand);
        source.failure = memory_copy_text("");
    } else if (ask_agent(arguments, &source, err) < 0) {
        return error_prepend(err, "asking the agent where its audit log is (without an agent, name "
                                  "the folder: signet audit ... PATH)");
    }
    *ret_source = source;
    source = (struct audit_source){0};
    return 0;
}
