/* The helper's configuration: what is accepted can be worked with, and an error says where. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "client/helper_config.h"

static void check(const struct helper_output *output)
{
    bool has_file = false;
    for (size_t i = 0; i < HELPER_FILES; i++) {
        const char *name = output->files[i];
        has_file = has_file || name;
        if (name && (!name[0] || name[0] == '.' || strchr(name, '/'))) {
            abort();
        }
    }
    if (!has_file || !output->name || !output->directory || output->directory[0] != '/' ||
        (output->key_mode & ~0640U) || (output->mode & ~0664U) ||
        (output->reload_command.count > 0 && output->reload_command.items[0][0] != '/')) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(helper_config_clear) struct helper_config config = {0};
    struct error error = {0};
    if (helper_config_parse((struct bytes){data, size}, "f", &config, &error) < 0) {
        if (error.code != ERROR_INVALID_ARGUMENT || strncmp(error.text, "f:", 2) != 0) {
            abort();
        }
        return 0;
    }
    for (size_t i = 0; i < config.output_count; i++) {
        check(&config.outputs[i]);
    }
    return 0;
}
