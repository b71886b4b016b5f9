/* Tells software that its files are new, in time, and where this process ends before that the next
 * one does. */
#include "client/helper_files.h"
#include "client/helper_task.h"
#include "lib/base/clock.h"
#include "lib/base/memory.h"

/* Who searched the token right before a rotation goes on to find the keys of before for a second
 * (docs/clients.md), which do not fit to the new files. */
enum { TELL_AFTER_MS = 1500 };

/* Somebody who was there before this process, and stays. */
static bool has_software(const struct helper_output *output)
{
    return output->pid_file || output->reload_command.count > 0;
}

/* A COMMAND reads its files as it starts, so it need not be told of changes before. */
char *helper_tell_mark(const struct helper_output *output)
{
    for (size_t i = 0; i < HELPER_FILES && has_software(output); i++) {
        if (output->files[i]) {
            return text_format(".%s.untold", output->files[i]);
        }
    }
    return NULL;
}

static void remove_mark(struct helper_task *task)
{
    struct error error;
    _cleanup_(helper_folder_close) struct helper_folder folder = {.descriptor = -1};
    _cleanup_(free_cleanup) char *mark = helper_tell_mark(task->output);
    task->is_marked = false;
    if (mark && helper_task_open_folder(task->output, &folder, &error) == 0) {
        helper_folder_remove_mark(&folder, mark);
    }
}

void helper_tell_soon(const struct helper *helper, struct helper_task *task)
{
    const struct helper_output *output = task->output;
    if (!task->has_unannounced) {
        return;
    }
    task->has_unannounced = false;
    log_info("files are new name=%s directory=%s", output->name, output->directory);
    if (helper->command > 0 || has_software(output)) {
        task->tell_at_ms = clock_monotonic_ms() + (output->is_jwt ? 0 : TELL_AFTER_MS);
    }
}

uint64_t helper_tell_tick(const struct helper *helper, struct helper_task *task, uint64_t now_ms)
{
    if (task->tell_at_ms > now_ms) {
        return task->tell_at_ms;
    }
    if (task->tell_at_ms > 0) {
        task->tell_at_ms = 0;
        helper_reload_start(&task->reload, task->output, helper->command);
    }
    uint64_t next_ms = helper_reload_tick(&task->reload, task->output, helper->command, now_ms);
    if (task->is_marked && !task->has_unannounced && helper_reload_is_done(&task->reload)) {
        remove_mark(task);
    }
    return next_ms;
}
