/* Subjects of certificate requests. */
#include <stdlib.h>
#include <string.h>

#include "attest/host/devid_files.h"
#include "lib/base/memory.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(free_cleanup) char *text = memory_new(size + 1);
    X509_NAME *name = NULL;
    if (size > 0) {
        memcpy(text, data, size);
    }
    if (devid_subject_parse(text, &name, NULL) == 0) {
        if (X509_NAME_entry_count(name) < 1) {
            abort();
        }
        X509_NAME_free(name);
    }
    return 0;
}
