#include "agent/node/memory.h"

#include <jansson.h>
#include <string.h>

#include "lib/base/file.h"
#include "lib/base/memory.h"

enum { FILE_LIMIT_BYTES = 64 << 10, MEMORY_VERSION = 1 };

static void drop_json(json_t **json)
{
    json_decref(*json);
}

static char *encode(struct bytes bytes)
{
    return text_base64url(bytes);
}

static json_t *format(const struct node_memory *memory)
{
    json_t *root = json_pack("{s:i}", "version", MEMORY_VERSION);
    if (memory->is_known) {
        _cleanup_(free_cleanup) char *ek = encode(buffer_bytes(&memory->ek_public));
        _cleanup_(free_cleanup) char *ak = encode(tpm2_name_bytes(&memory->ak_name));
        _cleanup_(free_cleanup) char *primary = encode(buffer_bytes(&memory->primary));
        json_t *known = json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:b, s:s, s:I}", "ek", ek, "ak",
                                  ak, "primary", primary, "clock", (json_int_t)memory->clock.clock,
                                  "resets", (json_int_t)memory->clock.resetCount, "restarts",
                                  (json_int_t)memory->clock.restartCount, "safe",
                                  memory->clock.safe == TPM2_YES, "boot_id", memory->boot_id,
                                  "attested_at", (json_int_t)memory->attested_at_s);
        (void)json_object_set_new(root, "attested", known);
    }
    if (memory->has_counter) {
        (void)json_object_set_new(root, "counter", json_integer((json_int_t)memory->counter));
        (void)json_object_set_new(root, "counter_index", json_integer(memory->counter_index));
    }
    if (memory->making_index) {
        (void)json_object_set_new(root, "making_index", json_integer(memory->making_index));
        (void)json_object_set_new(root, "making_boot_id", json_string(memory->making_boot_id));
    }
    if (memory->rolled_back) {
        (void)json_object_set_new(root, "rolled_back", json_string(memory->rolled_back));
    }
    return root;
}

int node_memory_write(const char *path, const struct node_memory *memory, struct error *err)
{
    _cleanup_(drop_json) json_t *root = format(memory);
    _cleanup_(free_cleanup) char *text =
        root ? json_dumps(root, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL;
    if (!text) {
        return error_set(err, ERROR_INTERNAL, "writing %s: it cannot be put into JSON", path);
    }
    _cleanup_(free_cleanup) char *line = text_format("%s\n", text);
    return file_write_atomic(path, bytes_of_text(line), 0600, err);
}

static int decode(const char *text, size_t limit, struct buffer *ret_bytes)
{
    return text_base64url_decode(text, strlen(text), ret_bytes, NULL) == 0 && ret_bytes->size > 0 &&
                   ret_bytes->size <= limit
               ? 0
               : -1;
}

static int parse_attested(json_t *known, struct node_memory *ret_memory)
{
    const char *ek = NULL, *ak = NULL, *primary = NULL, *boot_id = NULL;
    json_int_t clock = 0, resets = 0, restarts = 0, attested_at = 0;
    int is_safe = 0;
    _cleanup_(buffer_clear) struct buffer name = {0};
    if (json_unpack(known, "{s:s, s:s, s:s, s:I, s:I, s:I, s:b, s:s, s:I !}", "ek", &ek, "ak", &ak,
                    "primary", &primary, "clock", &clock, "resets", &resets, "restarts", &restarts,
                    "safe", &is_safe, "boot_id", &boot_id, "attested_at", &attested_at) < 0 ||
        decode(ek, PUBLIC_LIMIT_BYTES, &ret_memory->ek_public) < 0 ||
        decode(ak, NAME_MAX_BYTES, &name) < 0 ||
        decode(primary, NAME_MAX_BYTES, &ret_memory->primary) < 0 ||
        strlen(boot_id) >= NODE_BOOT_ID_BYTES || clock < 0 || resets < 0 || resets > UINT32_MAX ||
        restarts < 0 || restarts > UINT32_MAX) {
        return -1;
    }
    memcpy(ret_memory->ak_name.data, name.data, name.size);
    ret_memory->ak_name.size = name.size;
    memcpy(ret_memory->boot_id, boot_id, strlen(boot_id) + 1);
    ret_memory->clock = (TPMS_CLOCK_INFO){.clock = (uint64_t)clock,
                                          .resetCount = (uint32_t)resets,
                                          .restartCount = (uint32_t)restarts,
                                          .safe = is_safe ? TPM2_YES : TPM2_NO};
    ret_memory->attested_at_s = attested_at;
    ret_memory->is_known = true;
    return 0;
}

static int parse(json_t *root, struct node_memory *ret_memory)
{
    json_t *known = NULL;
    const char *rolled_back = NULL, *making_boot_id = "";
    int version = 0;
    json_int_t counter = -1, counter_index = 0, making_index = 0;
    if (json_unpack(root, "{s:i, s?o, s?I, s?I, s?I, s?s, s?s !}", "version", &version, "attested",
                    &known, "counter", &counter, "counter_index", &counter_index, "making_index",
                    &making_index, "making_boot_id", &making_boot_id, "rolled_back",
                    &rolled_back) < 0 ||
        version != MEMORY_VERSION || (known && parse_attested(known, ret_memory) < 0) ||
        counter_index < 0 || counter_index > UINT32_MAX || making_index < 0 ||
        making_index > UINT32_MAX || strlen(making_boot_id) >= NODE_BOOT_ID_BYTES) {
        return -1;
    }
    ret_memory->counter_index = (uint32_t)counter_index;
    ret_memory->making_index = (uint32_t)making_index;
    memcpy(ret_memory->making_boot_id, making_boot_id, strlen(making_boot_id) + 1);
    ret_memory->has_counter = counter >= 0;
    ret_memory->counter = counter >= 0 ? (uint64_t)counter : 0;
    ret_memory->rolled_back = memory_copy_text(rolled_back);
    return 0;
}

int node_memory_read(const char *path, struct node_memory *ret_memory, struct error *err)
{
    _cleanup_(buffer_clear) struct buffer text = {0};
    TRY(buffer_read_file(path, FILE_LIMIT_BYTES, &text, err));
    _cleanup_(node_memory_clear) struct node_memory memory = {0};
    _cleanup_(drop_json) json_t *root =
        json_loadb((const char *)text.data, text.size, JSON_REJECT_DUPLICATES, NULL);
    if (!root || parse(root, &memory) < 0) {
        return error_set(err, ERROR_DATA_LOSS,
                         "reading what is known of this node in %s: the file is damaged; restore "
                         "the data folder as it was last",
                         path);
    }
    *ret_memory = memory;
    memory = (struct node_memory){0};
    return 0;
}

void node_memory_copy(struct node_memory *to, const struct node_memory *from)
{
    *to = *from;
    to->ek_public = to->primary = (struct buffer){0};
    buffer_append(&to->ek_public, from->ek_public.data, from->ek_public.size);
    buffer_append(&to->primary, from->primary.data, from->primary.size);
    to->rolled_back = memory_copy_text(from->rolled_back);
}

void node_memory_clear(struct node_memory *memory)
{
    buffer_clear(&memory->ek_public);
    buffer_clear(&memory->primary);
    free(memory->rolled_back);
    *memory = (struct node_memory){0};
}

void node_boot_id(char ret_boot_id[NODE_BOOT_ID_BYTES])
{
    _cleanup_(buffer_clear) struct buffer text = {0};
    ret_boot_id[0] = '\0';
    if (buffer_read_file("/proc/sys/kernel/random/boot_id", NODE_BOOT_ID_BYTES - 1, &text, NULL) <
        0) {
        return;
    }
    size_t size = text.size > 0 && text.data[text.size - 1] == '\n' ? text.size - 1 : text.size;
    memcpy(ret_boot_id, text.data, size);
    ret_boot_id[size] = '\0';
}
