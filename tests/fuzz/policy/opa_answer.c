/* Answers of the outside policy. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "agent/policy/outside.h"
#include "lib/base/memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bool is_allowed = false;
    _cleanup_(free_cleanup) char *reason = NULL;
    struct error error = {0};
    if (outside_parse((struct bytes){data, size}, &is_allowed, &reason, &error) < 0) {
        if (is_allowed || reason || error.code == ERROR_OK) {
            abort();
        }
    } else if (reason && !text_is_utf8(bytes_of_text(reason))) {
        abort();
    }
    return 0;
}
