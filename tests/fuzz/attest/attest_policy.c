/* Policies, and the baselines in them: what is accepted reads back as the same, and no baseline
 * accepts every state. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "attest/policy.h"
#include "lib/base/memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(attest_policy_clear) struct attest_policy policy = {0};
    _cleanup_(baselines_clear) struct baselines again = {0};
    _cleanup_(buffer_clear) struct buffer first = {0};
    _cleanup_(buffer_clear) struct buffer second = {0};
    struct error error = {0};
    if (attest_policy_parse((struct bytes){data, size}, &policy, &error) < 0) {
        if (!error.text[0]) {
            abort();
        }
        return 0;
    }
    for (size_t i = 0; i < policy.baselines.count; i++) {
        const struct baseline *baseline = &policy.baselines.items[i];
        if (baseline->pcrs.count == 0 && baseline->open_mask == 0) {
            abort();
        }
    }
    baselines_format(&policy.baselines, &first);
    if (baselines_parse(buffer_bytes(&first), &again, NULL) < 0) {
        abort();
    }
    baselines_format(&again, &second);
    if (!bytes_is_equal(buffer_bytes(&first), buffer_bytes(&second))) {
        abort();
    }
    return 0;
}
