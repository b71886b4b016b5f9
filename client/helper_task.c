#include "client/helper_task.h"

#include <openssl/crypto.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/helper_files.h"
#include "lib/base/clock.h"
#include "lib/base/memory.h"
#include "proto/workload.pb-c.h"

enum { RETRY_MIN_MS = 500, RETRY_MAX_MS = 30000 };
/* An agent that has just started tells of its identities one after the other. */
enum { SETTLE_MS = 5000 };
enum { DELIVERED_STREAM = 0 };

static const unsigned x509_files = 1U << HELPER_BUNDLE | 1U << HELPER_KEY_URI |
                                   1U << HELPER_KEY_URI_PEM | 1U << HELPER_KEY |
                                   1U << HELPER_CERTIFICATE;

int helper_task_open_folder(const struct helper_output *output, struct helper_folder *ret_folder,
                            struct error *err)
{
    bool has_key = output->files[HELPER_KEY] != NULL;
    return helper_folder_open(output->directory, output->owner,
                              has_key || output->files[HELPER_TOKEN], has_key, ret_folder, err);
}

int helper_task_check(const struct helper_output *output, struct error *err)
{
    _cleanup_(helper_folder_close) struct helper_folder folder = {.descriptor = -1};
    if (helper_task_open_folder(output, &folder, err) < 0) {
        return error_prepend(err, "%s \"%.100s\"", output->is_jwt ? "jwt" : "identity",
                             output->name);
    }
    return 0;
}

void helper_retry_note(struct helper_retry *retry, const struct helper_output *output,
                       const struct error *failure)
{
    bool is_news = strcmp(retry->failure.text, failure->text) != 0 || retry->delay_ms == 0;
    retry->failure = *failure;
    retry->at_ms = clock_back_off(&retry->delay_ms, RETRY_MIN_MS, RETRY_MAX_MS);
    log_line(is_news ? LOG_LEVEL_ERROR : LOG_LEVEL_DEBUG, "files are not up to date name=%s: %s",
             output->name, failure->text);
}

void helper_retry_clear(struct helper_retry *retry)
{
    *retry = (struct helper_retry){0};
}

int helper_task_write(struct helper *helper, struct helper_task *task,
                      const struct helper_contents *contents, unsigned mask, struct error *err)
{
    const struct helper_output *output = task->output;
    struct helper_write writes[HELPER_FILES];
    size_t count = 0;
    bool has_changed = false;
    _cleanup_(helper_folder_close) struct helper_folder folder = {.descriptor = -1};
    TRY(helper_task_open_folder(output, &folder, err));
    for (size_t i = 0; i < HELPER_FILES; i++) {
        if (output->files[i] && (mask & 1U << i)) {
            writes[count++] = (struct helper_write){
                .name = output->files[i],
                .contents = buffer_bytes(&contents->files[i]),
                .mode =
                    helper_file_is_secret((enum helper_file)i) ? output->key_mode : output->mode,
                .owner = output->owner,
                .group = output->group,
                .is_removal = contents->files[i].size == 0,
            };
        }
    }
    _cleanup_(free_cleanup) char *mark = helper_tell_mark(output);
    int result = helper_files_update(&folder, writes, count, mark, &has_changed, err);
    bool has_mark = mark && helper_folder_has_mark(&folder, mark);
    /* Also what an earlier helper, or configuration, did not get told. */
    task->has_unannounced = task->has_unannounced || has_changed || (has_mark && !task->is_marked);
    task->is_marked = has_mark;
    if (result == 0) {
        helper_tell_soon(helper, task);
    }
    return result;
}

/* Whether all streams of identities have answered. */
static bool is_known(const struct helper *helper)
{
    for (size_t i = 0; i < IDENTITY_SOURCES; i++) {
        if (helper->told[i].generation == 0) {
            return false;
        }
    }
    return true;
}

/* An identity that the output asks for; 1 when there is one. */
static int choose(const struct helper *helper, const struct helper_output *output,
                  struct helper_identity *ret_identity, size_t *ret_stream, struct error *err)
{
    size_t count = 0;
    for (size_t stream = 0; stream < IDENTITY_SOURCES; stream++) {
        const struct helper_told *told = &helper->told[stream];
        for (size_t i = 0; i < told->list.count; i++) {
            const struct identity *identity = &told->list.items[i];
            if ((output->spiffe_id && strcmp(output->spiffe_id, identity->spiffe_id) != 0) ||
                (output->hint && strcmp(output->hint, identity->hint) != 0)) {
                continue;
            }
            *ret_identity = (struct helper_identity){*identity, told->response};
            *ret_stream = stream;
            count++;
        }
    }
    bool is_chosen = output->spiffe_id || output->hint;
    /* Of a single one it is not known before all have answered that it is. */
    if (!is_chosen && !is_known(helper)) {
        return 0;
    }
    if (count > 1 && !is_chosen) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "this process has %zu identities; choose one by spiffe_id or hint (signet "
                         "svid fetch x509 shows them)",
                         count);
    }
    return count > 0;
}

/* From when on an identity that is not told of is gone. */
static uint64_t settled_at_ms(const struct helper *helper)
{
    uint64_t latest_ms = 0;
    for (size_t i = 0; i < IDENTITY_SOURCES; i++) {
        latest_ms = MAX(latest_ms, helper->told[i].connected_ms);
    }
    return latest_ms + SETTLE_MS;
}

static void explain_none(const struct helper *helper, const struct helper_output *output,
                         struct error *err)
{
    size_t count = 0;
    for (size_t i = 0; i < IDENTITY_SOURCES; i++) {
        count += helper->told[i].list.count;
    }
    if (count == 0) {
        *err = helper->told[DELIVERED_STREAM].failure;
        return;
    }
    (void)error_set(err, ERROR_PERMISSION_DENIED,
                    "none of this process's %zu identities has the %s \"%.200s\"", count,
                    output->spiffe_id ? "SPIFFE ID" : "hint",
                    output->spiffe_id ? output->spiffe_id : output->hint);
}

static void answered_again(void *state, ProtobufCMessage *response, bool is_denied,
                           const struct error *failure)
{
    struct helper *helper = state;
    (void)is_denied; /* The stream says so too. */
    helper->told[DELIVERED_STREAM].is_asked_again = false;
    if (response) {
        helper_told(helper, DELIVERED_STREAM, response, false, NULL);
    } else {
        log_warning("the delivered keys were not told again, trying at the next change: %s",
                    failure->text);
    }
}

/* The keys of the latest answer are zeroed; a new file needs them once more. */
static void ask_again(struct helper *helper)
{
    struct helper_told *told = &helper->told[DELIVERED_STREAM];
    if (told->is_asked_again) {
        return;
    }
    told->is_asked_again = true;
    struct helper_question *question = NEW(struct helper_question);
    Workload__X509SVIDRequest *request = NEW(Workload__X509SVIDRequest);
    workload__x509_svidrequest__init(request);
    question->method = identity_sources[DELIVERED_STREAM].method;
    question->request = &request->base;
    question->response_type = identity_sources[DELIVERED_STREAM].response;
    question->state = helper;
    question->answered = answered_again;
    helper_feed_ask(helper->feed, question);
}

static int write_x509(struct helper *helper, struct helper_task *task,
                      const struct helper_identity *identity, struct error *err)
{
    _cleanup_(helper_contents_clear) struct helper_contents contents = {0};
    TRY(helper_contents_x509(task->output, identity, &contents, err));
    return helper_task_write(helper, task, &contents, x509_files, err);
}

static void update_x509(struct helper *helper, struct helper_task *task)
{
    struct helper_identity identity;
    struct error error;
    size_t stream = 0;
    int found = choose(helper, task->output, &identity, &stream, &error);
    if (found == 0) {
        uint64_t settled_ms = settled_at_ms(helper);
        if (is_known(helper) && clock_monotonic_ms() < settled_ms) {
            task->look_again_ms = settled_ms;
        } else if (is_known(helper)) {
            explain_none(helper, task->output, &error);
            helper_task_withdraw(task, &error);
        }
        return;
    }
    if (found > 0) {
        const struct helper_told *told = &helper->told[stream];
        if (task->done_generation == told->generation && task->done_stream == stream) {
            return;
        }
        if (told->is_spent && identity.identity.key.size > 0 && task->output->files[HELPER_KEY]) {
            ask_again(helper);
            return;
        }
        found = write_x509(helper, task, &identity, &error);
        task->is_withdrawn = false;
    }
    if (found < 0) {
        helper_retry_note(&task->retry, task->output, &error);
        return;
    }
    helper_retry_clear(&task->retry);
    task->done_stream = stream;
    task->done_generation = helper->told[stream].generation;
    task->missing &= ~(unsigned)HELPER_PART_X509;
}

static void update_jwt_bundle(struct helper *helper, struct helper_task *task)
{
    struct error error;
    const struct helper_told *told = &helper->told[HELPER_FEED_JWT_BUNDLES];
    _cleanup_(helper_contents_clear) struct helper_contents contents = {0};
    if (!told->response || task->is_withdrawn || task->done_jwt_bundle == told->generation) {
        return;
    }
    if (helper_contents_jwt_bundle(told->response, &contents.files[HELPER_JWT_BUNDLE], &error) <
            0 ||
        helper_task_write(helper, task, &contents, 1U << HELPER_JWT_BUNDLE, &error) < 0) {
        helper_retry_note(&task->retry, task->output, &error);
        return;
    }
    helper_retry_clear(&task->retry);
    task->done_jwt_bundle = told->generation;
    task->missing &= ~(unsigned)HELPER_PART_JWT_BUNDLE;
}

/* A key that is in its files is not kept here. */
static void spend_keys(struct helper *helper)
{
    struct helper_told *told = &helper->told[DELIVERED_STREAM];
    for (size_t i = 0; i < helper->config.output_count; i++) {
        if (helper->tasks[i].retry.at_ms > 0) {
            return;
        }
    }
    if (!told->response || told->is_spent) {
        return;
    }
    const Workload__X509SVIDResponse *message = (const Workload__X509SVIDResponse *)told->response;
    for (size_t i = 0; i < message->n_svids; i++) {
        ProtobufCBinaryData *key = &message->svids[i]->x509_svid_key;
        OPENSSL_cleanse(key->data, key->len);
    }
    told->is_spent = true;
}

void helper_tasks_update(struct helper *helper)
{
    for (size_t i = 0; i < helper->config.output_count; i++) {
        struct helper_task *task = &helper->tasks[i];
        if (!task->output->is_jwt) {
            update_x509(helper, task);
        } else if (task->output->files[HELPER_JWT_BUNDLE]) {
            update_jwt_bundle(helper, task);
        }
    }
    spend_keys(helper);
}

void helper_tasks_make(struct helper *helper)
{
    free(helper->tasks);
    helper->tasks = memory_new_array(helper->config.output_count, sizeof(*helper->tasks));
    helper->config_generation++;
    for (size_t i = 0; i < helper->config.output_count; i++) {
        const struct helper_output *output = &helper->config.outputs[i];
        unsigned jwt = (output->files[HELPER_TOKEN] ? HELPER_PART_TOKEN : 0U) |
                       (output->files[HELPER_JWT_BUNDLE] ? HELPER_PART_JWT_BUNDLE : 0U);
        helper->tasks[i] = (struct helper_task){
            .output = output,
            .missing = output->is_jwt ? jwt : HELPER_PART_X509,
            .token_refresh_ms = output->files[HELPER_TOKEN] ? 0 : UINT64_MAX,
        };
    }
}

int helper_tasks_watch(struct helper *helper, struct error *err)
{
    for (size_t i = 0; i < helper->config.output_count; i++) {
        const struct helper_output *output = &helper->config.outputs[i];
        for (size_t stream = 0; !output->is_jwt && stream < IDENTITY_SOURCES; stream++) {
            TRY(helper_feed_watch(helper->feed, stream, err));
        }
        if (output->files[HELPER_JWT_BUNDLE]) {
            TRY(helper_feed_watch(helper->feed, HELPER_FEED_JWT_BUNDLES, err));
        }
    }
    return 0;
}

uint64_t helper_tasks_tick(struct helper *helper, uint64_t now_ms)
{
    uint64_t next_ms = UINT64_MAX;
    bool is_due = false;
    for (size_t i = 0; i < helper->config.output_count; i++) {
        struct helper_task *task = &helper->tasks[i];
        struct helper_retry *retry = &task->retry;
        if (task->look_again_ms > 0 && task->look_again_ms <= now_ms) {
            task->look_again_ms = 0;
            is_due = true;
        }
        if (retry->at_ms > 0 && retry->at_ms <= now_ms) {
            retry->at_ms = 0;
            is_due = true;
        }
    }
    if (is_due) {
        helper_tasks_update(helper);
    }
    for (size_t i = 0; i < helper->config.output_count; i++) {
        struct helper_task *task = &helper->tasks[i];
        helper_token_tick(helper, task, now_ms);
        next_ms = MIN(next_ms, helper_tell_tick(helper, task, now_ms));
        next_ms = MIN(next_ms, task->is_token_asked ? UINT64_MAX : task->token_refresh_ms);
        next_ms = MIN(next_ms, task->retry.at_ms > 0 ? task->retry.at_ms : UINT64_MAX);
        next_ms = MIN(next_ms, task->look_again_ms > 0 ? task->look_again_ms : UINT64_MAX);
    }
    return next_ms;
}

bool helper_tasks_are_ready(const struct helper *helper)
{
    for (size_t i = 0; i < helper->config.output_count; i++) {
        if (helper->tasks[i].missing) {
            return false;
        }
    }
    return true;
}

static bool has_failed(const struct helper_task *task)
{
    return task->retry.at_ms > 0 || ((task->missing & HELPER_PART_TOKEN) && task->has_token_failed);
}

/* Of those that are not done, one that has failed before one that waits; NULL: all are done. */
static const struct helper_task *choose_undone(const struct helper *helper)
{
    const struct helper_task *undone = NULL;
    for (size_t i = 0; i < helper->config.output_count; i++) {
        const struct helper_task *task = &helper->tasks[i];
        if (task->missing && (!undone || (has_failed(task) && !has_failed(undone)))) {
            undone = task;
        }
    }
    return undone;
}

int helper_tasks_explain(const struct helper *helper, struct error *err)
{
    const struct helper_task *task = choose_undone(helper);
    (void)error_set(err, ERROR_DEADLINE_EXCEEDED, "the agent has not answered in time");
    for (size_t i = 0; i < HELPER_STREAMS; i++) {
        if (helper->told[i].failure.code != ERROR_OK && !helper->told[i].response) {
            *err = helper->told[i].failure;
            break;
        }
    }
    if (!task) {
        return -1;
    }
    if (task->retry.failure.code != ERROR_OK) {
        *err = task->retry.failure;
    } else if (task->token_retry.failure.code != ERROR_OK) {
        *err = task->token_retry.failure;
    } else if (!task->output->is_jwt && is_known(helper)) {
        explain_none(helper, task->output, err);
    }
    return error_prepend(err, "%s \"%.100s\"", task->output->is_jwt ? "jwt" : "identity",
                         task->output->name);
}

bool helper_tasks_have_failed(const struct helper *helper)
{
    for (size_t i = 0; i < helper->config.output_count; i++) {
        if (has_failed(&helper->tasks[i])) {
            return true;
        }
    }
    return false;
}

bool helper_tasks_are_telling(const struct helper *helper)
{
    for (size_t i = 0; i < helper->config.output_count; i++) {
        if (helper->tasks[i].tell_at_ms > 0 || helper->tasks[i].reload.pid > 0) {
            return true;
        }
    }
    return false;
}

static const char *const stream_names[HELPER_STREAMS] = {"FetchX509SVID", "FetchX509Identities",
                                                         "FetchJWTBundles"};

/* The first look at what is lost or found again, not each attempt. */
static void log_connection(struct helper_told *told, size_t stream, bool is_lost)
{
    if (is_lost && !told->is_lost) {
        log_warning("the agent is not reachable, trying again stream=%s: %s", stream_names[stream],
                    told->failure.text);
    } else if (!is_lost && told->is_lost) {
        log_info("the agent is there again stream=%s", stream_names[stream]);
    }
    told->is_lost = is_lost;
}

void helper_told(void *state, size_t stream, ProtobufCMessage *response, bool is_denied,
                 const struct error *failure)
{
    struct helper *helper = state;
    struct helper_told *told = &helper->told[stream];
    if (failure && !response) {
        told->failure = *failure;
    }
    if ((response || is_denied) && (told->is_lost || told->generation == 0)) {
        told->connected_ms = clock_monotonic_ms();
    }
    log_connection(told, stream, !response && !is_denied);
    if (!response && !is_denied) {
        return;
    }
    identity_list_clear(&told->list);
    identity_response_free(told->response);
    told->response = response;
    told->generation++;
    told->is_spent = false;
    if (response && stream < IDENTITY_SOURCES) {
        identity_sources[stream].append(response, &told->list);
    }
    helper_tasks_update(helper);
}
