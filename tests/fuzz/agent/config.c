/* The configuration file. The answer is the same each time, although libconfuse keeps its place in
 * globals, and an error always says where. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "agent/config.h"

static int parse(struct bytes text, struct error *err)
{
    struct config *config = NULL;
    if (config_parse(text, "f", &config, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < config->entry_count; i++) {
        if (config->entries[i]->selectors.count == 0 || !config->entries[i]->id) {
            abort();
        }
    }
    config_free(config);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error first = {0}, second = {0};
    int result = parse((struct bytes){data, size}, &first);
    if (result < 0 && (first.code == ERROR_OK || strncmp(first.text, "f:", 2) != 0)) {
        abort();
    }
    if (parse((struct bytes){data, size}, &second) != result ||
        strcmp(first.text, second.text) != 0) {
        abort();
    }
    return 0;
}
