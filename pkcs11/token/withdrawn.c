#include "pkcs11/token/withdrawn.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/memory.h"
#include "pkcs11/token/caller.h"
#include "pkcs11/token/generation.h"

static size_t seen_with(const struct withdrawn *withdrawn, const struct token_view *view)
{
    size_t seen = view ? view->generation_count : 0;
    return MIN(MAX(withdrawn->seen, seen), (size_t)TOKEN_REMEMBERED_MAX);
}

static void collect(struct buffer *keys, CK_OBJECT_HANDLE key, const struct token_view *now)
{
    if (!view_find(now, key)) {
        buffer_append(keys, &key, sizeof(key));
    }
}

/* What was remembered and what before had, but what there is now; last what before listed. */
static void collect_all(struct buffer *keys, const struct withdrawn *withdrawn,
                        const struct token_view *before, const struct token_view *now)
{
    for (size_t i = 0; i < withdrawn->count; i++) {
        collect(keys, withdrawn->keys[i], now);
    }
    for (size_t i = before ? before->generation_count : 0; i > 0; i--) {
        collect(keys, generation_private_key(before->generations[i - 1])->handle, now);
    }
}

/* Exactly the memory that it needs: there is one for each connection. */
static void set_newest(struct withdrawn *withdrawn, const struct buffer *keys, size_t most)
{
    size_t count = MIN(keys->size / sizeof(*withdrawn->keys), most);
    size_t size = count * sizeof(*withdrawn->keys);
    free(take_ptr(withdrawn->keys));
    withdrawn->count = count;
    if (count > 0) {
        withdrawn->keys = memory_new_array(count, sizeof(*withdrawn->keys));
        memcpy(withdrawn->keys, keys->data + keys->size - size, size);
    }
}

void withdrawn_update(struct withdrawn *withdrawn, const struct token_view *before,
                      const struct token_view *now)
{
    _cleanup_(buffer_clear) struct buffer keys = {0};
    withdrawn->seen = seen_with(withdrawn, before);
    collect_all(&keys, withdrawn, before, now);
    set_newest(withdrawn, &keys, MAX(withdrawn->seen, (size_t)TOKEN_REMEMBERED_MIN));
}

bool withdrawn_has(const struct withdrawn *withdrawn, CK_OBJECT_HANDLE key)
{
    for (size_t i = 0; i < withdrawn->count; i++) {
        if (withdrawn->keys[i] == key) {
            return true;
        }
    }
    return false;
}

void withdrawn_clear(struct withdrawn *withdrawn)
{
    free(withdrawn->keys);
    *withdrawn = (struct withdrawn){0};
}

void withdrawn_save(const struct withdrawn *withdrawn, const struct token_view *view,
                    struct buffer *ret_state)
{
    _cleanup_(withdrawn_clear) struct withdrawn saved = {0};
    _cleanup_(buffer_clear) struct buffer keys = {0};
    collect_all(&keys, withdrawn, view, NULL);
    set_newest(&saved, &keys, TOKEN_REMEMBERED_MAX);
    buffer_append_u16(ret_state, (uint16_t)seen_with(withdrawn, view));
    buffer_append_u16(ret_state, (uint16_t)saved.count);
    for (size_t i = 0; i < saved.count; i++) {
        buffer_append_u64(ret_state, saved.keys[i]);
    }
}

bool withdrawn_restore(struct withdrawn *withdrawn, struct reader *reader)
{
    _cleanup_(buffer_clear) struct buffer keys = {0};
    uint16_t seen = reader_u16(reader);
    uint16_t count = reader_u16(reader);
    if (seen > TOKEN_REMEMBERED_MAX || count > TOKEN_REMEMBERED_MAX) {
        return false;
    }
    for (uint16_t i = 0; i < count && !reader->is_bad; i++) {
        collect(&keys, reader_u64(reader), NULL);
    }
    if (reader->is_bad) {
        return false;
    }
    withdrawn->seen = seen;
    set_newest(withdrawn, &keys, count);
    return true;
}
