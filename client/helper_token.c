/* The JWT-SVIDs of the helper's jwt blocks. */
#include <openssl/crypto.h>
#include <string.h>

#include "client/helper_task.h"
#include "lib/base/clock.h"
#include "lib/base/memory.h"
#include "proto/workload.pb-c.h"

enum { REFRESH_MIN_MS = 1000, REFRESH_MAX_S = 86400 };

/* Whose token was asked for. The configuration may be another one when the answer comes. */
struct asked {
    struct helper *helper;
    unsigned config_generation;
    size_t task;
};

/* When the token ends (RFC 7519 4.1.4). It is the agent's own word; nothing is verified here. */
static int read_expiry(const char *token, int64_t *ret_expires_at_s, struct error *err)
{
    struct reader reader = reader_of(bytes_of_text(token));
    (void)reader_until(&reader, '.');
    struct bytes payload = reader_until(&reader, '.');
    _cleanup_(buffer_clear) struct buffer json = {0};
    TRY(text_base64url_decode((const char *)payload.data, payload.size, &json, err));
    json_t *claims = json_loadb((const char *)json.data, json.size, 0, NULL);
    *ret_expires_at_s = (int64_t)json_number_value(json_object_get(claims, "exp"));
    json_decref(claims);
    return *ret_expires_at_s > 0
               ? 0
               : error_set(err, ERROR_DATA_LOSS, "the agent's JWT-SVID has no exp");
}

static int choose(const struct helper_output *output, const Workload__JWTSVIDResponse *response,
                  const char **ret_token, struct error *err)
{
    size_t count = 0;
    for (size_t i = 0; i < response->n_svids; i++) {
        const Workload__JWTSVID *svid = response->svids[i];
        if ((!output->spiffe_id || strcmp(output->spiffe_id, svid->spiffe_id) == 0) &&
            (!output->hint || strcmp(output->hint, svid->hint) == 0)) {
            *ret_token = svid->svid;
            count++;
        }
    }
    if (count == 0) {
        return error_set(err, ERROR_PERMISSION_DENIED,
                         "none of this process's %zu JWT-SVIDs is the one that spiffe_id or hint "
                         "asks for",
                         response->n_svids);
    }
    if (count > 1 && !output->hint) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "this process has %zu identities; choose one by spiffe_id or hint", count);
    }
    return 0;
}

/* At half of its life, with jitter. */
static uint64_t refresh_at(int64_t expires_at_s)
{
    int64_t left_s = MIN(MAX(expires_at_s - clock_now_s(), (int64_t)0), (int64_t)REFRESH_MAX_S);
    uint64_t half_ms = (uint64_t)left_s * 500;
    uint64_t wait_ms = half_ms - clock_random_below(half_ms / 10 + 1);
    return clock_monotonic_ms() + MAX(wait_ms, (uint64_t)REFRESH_MIN_MS);
}

/* *ret_is_denied: the agent has no such identity. */
static int write_token(struct helper *helper, struct helper_task *task,
                       const Workload__JWTSVIDResponse *response, bool *ret_is_denied,
                       struct error *err)
{
    const char *token = NULL;
    int64_t expires_at_s = 0;
    _cleanup_(helper_contents_clear) struct helper_contents contents = {0};
    if (choose(task->output, response, &token, err) < 0) {
        *ret_is_denied = err->code == ERROR_PERMISSION_DENIED;
        return -1;
    }
    TRY(read_expiry(token, &expires_at_s, err));
    buffer_append_text(&contents.files[HELPER_TOKEN], token);
    TRY(helper_task_write(helper, task, &contents, 1U << HELPER_TOKEN, err));
    task->token_refresh_ms = refresh_at(expires_at_s);
    return 0;
}

static void response_free(ProtobufCMessage *message)
{
    Workload__JWTSVIDResponse *response = (Workload__JWTSVIDResponse *)message;
    for (size_t i = 0; response && i < response->n_svids; i++) {
        OPENSSL_cleanse(response->svids[i]->svid, strlen(response->svids[i]->svid));
    }
    protobuf_c_message_free_unpacked(message, NULL);
}

static void note_failure(struct helper_task *task, bool is_denied, const struct error *failure)
{
    helper_retry_note(&task->token_retry, task->output, failure);
    task->token_refresh_ms = task->token_retry.at_ms;
    if (is_denied) {
        helper_task_withdraw(task, failure);
    }
}

/* The token is in its file. */
static void note_success(struct helper *helper, struct helper_task *task)
{
    bool was_withdrawn = task->is_withdrawn;
    helper_retry_clear(&task->token_retry);
    task->is_withdrawn = false;
    task->missing &= ~(unsigned)HELPER_PART_TOKEN;
    if (was_withdrawn) {
        /* The bundles were not written meanwhile, and their stream may have nothing new to tell. */
        helper_tasks_update(helper);
    }
}

static void answered(void *state, ProtobufCMessage *response, bool is_denied,
                     const struct error *failure)
{
    struct asked *asked = state;
    struct helper *helper = asked->helper;
    struct error error;
    if (asked->config_generation == helper->config_generation) {
        struct helper_task *task = &helper->tasks[asked->task];
        task->is_token_asked = false;
        task->has_token_failed = false;
        if (!response) {
            note_failure(task, is_denied, failure);
        } else if (write_token(helper, task, (const Workload__JWTSVIDResponse *)response,
                               &is_denied, &error) < 0) {
            task->has_token_failed = error.code != ERROR_PERMISSION_DENIED;
            note_failure(task, is_denied, &error);
        } else {
            note_success(helper, task);
        }
    }
    response_free(response);
    free(asked);
}

void helper_token_tick(struct helper *helper, struct helper_task *task, uint64_t now_ms)
{
    const struct helper_output *output = task->output;
    if (task->is_token_asked || now_ms < task->token_refresh_ms) {
        return;
    }
    task->is_token_asked = true;
    Workload__JWTSVIDRequest *request = NEW(Workload__JWTSVIDRequest);
    workload__jwtsvidrequest__init(request);
    request->n_audience = output->audience.count;
    request->audience = memory_new_array(output->audience.count, sizeof(*request->audience));
    for (size_t i = 0; i < output->audience.count; i++) {
        request->audience[i] = memory_copy_text(output->audience.items[i]);
    }
    if (output->spiffe_id) {
        request->spiffe_id = memory_copy_text(output->spiffe_id);
    }
    struct asked *asked = NEW(struct asked);
    *asked = (struct asked){helper, helper->config_generation, (size_t)(task - helper->tasks)};
    struct helper_question *question = NEW(struct helper_question);
    question->method = "/SpiffeWorkloadAPI/FetchJWTSVID";
    question->request = &request->base;
    question->response_type = &workload__jwtsvidresponse__descriptor;
    question->state = asked;
    question->answered = answered;
    helper_feed_ask(helper->feed, question);
}
