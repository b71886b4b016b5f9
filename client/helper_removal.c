/* Takes the helper's files away again: keys and tokens of identities that are gone, and at the end.
 */
#include <string.h>

#include "client/helper_files.h"
#include "client/helper_task.h"

static bool names_file(const struct helper_config *config, const char *directory, const char *file)
{
    for (size_t i = 0; config && i < config->output_count; i++) {
        const struct helper_output *output = &config->outputs[i];
        for (size_t j = 0; j < HELPER_FILES; j++) {
            if (output->files[j] && strcmp(output->directory, directory) == 0 &&
                strcmp(output->files[j], file) == 0) {
                return true;
            }
        }
    }
    return false;
}

static int remove_files(const struct helper_output *output, bool is_secrets_only,
                        const struct helper_config *keep, struct error *err)
{
    struct helper_write removals[HELPER_FILES];
    size_t count = 0;
    bool has_changed;
    _cleanup_(helper_folder_close) struct helper_folder folder = {.descriptor = -1};
    for (size_t i = 0; i < HELPER_FILES; i++) {
        bool is_meant = !is_secrets_only || helper_file_is_secret((enum helper_file)i);
        if (output->files[i] && is_meant &&
            !names_file(keep, output->directory, output->files[i])) {
            removals[count++] = (struct helper_write){.name = output->files[i], .is_removal = true};
        }
    }
    if (count == 0) {
        return 0;
    }
    TRY(helper_folder_open(output->directory, output->owner, false, false, &folder, err));
    return helper_files_update(&folder, removals, count, NULL, &has_changed, err);
}

void helper_task_withdraw(struct helper_task *task, const struct error *failure)
{
    struct error error;
    bool was_withdrawn = task->is_withdrawn;
    task->is_withdrawn = true;
    task->done_generation = 0;
    task->done_jwt_bundle = 0;
    if (remove_files(task->output, !task->output->may_remove_withdrawn, NULL, &error) < 0) {
        helper_retry_note(&task->retry, task->output, &error);
        return;
    }
    helper_retry_clear(&task->retry);
    if (!was_withdrawn) {
        log_warning("there is no identity for this block; keys and tokens are removed name=%s: %s",
                    task->output->name, failure->text);
    }
}

void helper_output_remove_secrets(const struct helper_output *output,
                                  const struct helper_config *keep)
{
    struct error error;
    if (remove_files(output, true, keep, &error) < 0 && error.code != ERROR_NOT_FOUND) {
        log_error("a key or token is left behind name=%s: %s", output->name, error.text);
    }
}
