/* Selectors. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "agent/selector.h"
#include "lib/base/memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err;
    _cleanup_(free_cleanup) char *text = memory_new(size + 1);
    memcpy(text, data, size);
    bool is_known = selector_check(text, true, &err) == 0;
    bool is_well_formed = selector_check(text, false, &err) == 0;
    if ((is_known && !is_well_formed) ||
        (is_well_formed && (!strchr(text, ':') || strlen(text) > SELECTOR_MAX_BYTES))) {
        abort();
    }
    return 0;
}
