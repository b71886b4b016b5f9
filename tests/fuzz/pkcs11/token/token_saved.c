/* What one process of the agent saves of a PKCS#11 connection and the next restores. */
#include <stdlib.h>

#include "pkcs11/token/caller.h"
#include "tests/fuzz/fuzz.h"

static int restore_and_save(struct bytes state, struct buffer *ret_saved)
{
    struct token_caller *caller = token_caller_new(&(struct token_caller_config){0});
    struct error err;
    int result = token_caller_restore(caller, state, &err);
    token_caller_save(caller, ret_saved);
    token_caller_free(caller);
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(buffer_clear) struct buffer saved = {0};
    _cleanup_(buffer_clear) struct buffer again = {0};
    if (restore_and_save((struct bytes){data, size}, &saved) == 0 &&
        (restore_and_save(buffer_bytes(&saved), &again) < 0 ||
         !bytes_is_equal(buffer_bytes(&saved), buffer_bytes(&again)))) {
        abort();
    }
    return 0;
}
