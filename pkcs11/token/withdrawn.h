/* Private keys that a caller could see and that were withdrawn: their handles are told from those
 * that never were keys. The newest are remembered: as many as the caller has had at once, but not
 * less than TOKEN_REMEMBERED_MIN nor more than TOKEN_REMEMBERED_MAX. Dispatcher's thread. */
#pragma once

#include <p11-kit/pkcs11.h>

#include "lib/base/bytes.h"
#include "pkcs11/token/view.h"

/* All zero is empty, without memory of its own. */
struct withdrawn {
    CK_OBJECT_HANDLE *keys; /* the oldest first */
    size_t count;
    size_t seen; /* keys of one view, the most so far */
};

/* The view now takes the place of before; either may be NULL: nothing. */
void withdrawn_update(struct withdrawn *withdrawn, const struct token_view *before,
                      const struct token_view *now);
bool withdrawn_has(const struct withdrawn *withdrawn, CK_OBJECT_HANDLE key);
void withdrawn_clear(struct withdrawn *withdrawn);

/* Appends what is remembered, with all keys of the view (which may be NULL), as they may be
 * withdrawn before the next process knows of them. All numbers big endian. */
void withdrawn_save(const struct withdrawn *withdrawn, const struct token_view *view,
                    struct buffer *ret_state);
/* For an empty one, which stays so with false: that was not saved here. */
bool withdrawn_restore(struct withdrawn *withdrawn, struct reader *reader);
