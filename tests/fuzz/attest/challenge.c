/* Challenges, which a verifier sends. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

#include "attest/evidence.h"
#include "attest/public.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(challenge_clear) struct challenge challenge = {0};
    _cleanup_(challenge_clear) struct challenge again = {0};
    _cleanup_(buffer_clear) struct buffer json = {0};
    struct error error = {0};
    if (challenge_parse((struct bytes){data, size}, &challenge, &error) < 0) {
        if (error.code != ERROR_INVALID_ARGUMENT || !error.text[0]) {
            abort();
        }
        return 0;
    }
    challenge_format(&challenge, &json);
    if (challenge.ak_name.size > NAME_MAX_BYTES ||
        challenge_parse(buffer_bytes(&json), &again, NULL) < 0 ||
        !bytes_is_equal(buffer_bytes(&challenge.id_object), buffer_bytes(&again.id_object))) {
        abort();
    }
    return 0;
}
