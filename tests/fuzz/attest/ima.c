/* The kernel's lists of measured files. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "attest/ima.h"
#include "lib/base/memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t quoted[HASH_MAX_BYTES];
    static const TPM2_ALG_ID banks[] = {TPM2_ALG_SHA1, TPM2_ALG_SHA256, TPM2_ALG_SHA384};
    struct ima_list list;
    struct error err;
    if (ima_parse((struct bytes){data, size}, &list, &err) < 0) {
        return 0;
    }
    for (size_t i = 0; i < list.count; i++) {
        _cleanup_(free_cleanup) char *path = NULL, *digest = NULL;
        if (ima_entry_file(&list.entries[i], &path, &digest) &&
            (!path[0] || !strchr(digest, ':'))) {
            abort();
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(banks); i++) {
        size_t count;
        if (ima_replay(&list, banks[i], quoted, &count, &err) == 0) {
            abort(); /* nothing hashes to zeros */
        }
    }
    ima_clear(&list);
    return 0;
}
