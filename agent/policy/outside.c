#include "agent/policy/outside.h"

#include <stdio.h>

#include "agent/policy/outside_cache.h"
#include "agent/policy/outside_client.h"
#include "agent/spiffe_id.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum { LOG_INTERVAL_MS = 60 * 1000 };

/* One that is being asked, and all who want to know. */
struct question {
    struct outside_transfer transfer;
    struct outside *outside;
    struct outside_key key;
    char *spiffe_id;
    struct outside_wait *waits;
    UT_hash_handle hh;
};

struct outside {
    struct outside_config config;
    struct mailbox *mailbox;
    uv_poll_t mail;
    struct outside_client *client; /* NULL: about to be freed */
    struct outside_cache cache;
    struct question *questions; /* by key */
    struct outside_status status;

    uint64_t logged_ms;    /* the last failure that was logged; 0: none yet */
    uint64_t unlogged;     /* failures since */
    bool is_failure_known; /* was logged, and the policy has not answered since */
};

/* Who waits. */

static void wait_link(struct outside_wait *wait, struct outside_wait **list)
{
    wait->next = *list;
    wait->link = list;
    if (wait->next) {
        wait->next->link = &wait->next;
    }
    *list = wait;
}

static void wait_unlink(struct outside_wait *wait)
{
    *wait->link = wait->next;
    if (wait->next) {
        wait->next->link = wait->link;
    }
    wait->next = NULL;
    wait->link = NULL;
}

void outside_wait_cancel(struct outside_wait *wait)
{
    wait->is_cancelled = true;
    if (wait->link) {
        wait_unlink(wait);
    }
}

/* Telling. An answer's reason is for people already. */

static void tell(struct outside *outside, struct outside_wait *wait,
                 const struct outside_answer *answer)
{
    uint64_t *counter = answer->is_allowed ? &outside->status.allowed : &outside->status.denied;
    (*counter)++;
    wait->done(wait, answer->is_allowed, answer->reason, answer->until_ms);
}

static void tell_failure(struct outside *outside, struct outside_wait *wait, const char *spiffe_id,
                         const char *reason)
{
    bool may_continue = false;
    const struct text_list *patterns = &outside->config.continue_for;
    for (size_t i = 0; i < patterns->count && !may_continue; i++) {
        may_continue = spiffe_pattern_matches(patterns->items[i], spiffe_id);
    }
    outside->status.failed++;
    wait->done(wait, may_continue, reason, clock_monotonic_ms() + OUTSIDE_RETRY_MS);
}

/* What the log and health say. */

static void note_failure(struct outside *outside, const struct error *failure)
{
    struct error text = *failure;
    uint64_t now_ms = clock_monotonic_ms();
    (void)error_prepend(&text, "asking the outside policy %s at %s", outside->config.path,
                        outside->config.url);
    (void)snprintf(outside->status.failure, sizeof(outside->status.failure), "%s", text.text);
    text_make_printable(outside->status.failure);
    if (outside->logged_ms != 0 && now_ms - outside->logged_ms < LOG_INTERVAL_MS) {
        outside->unlogged++;
        return;
    }
    log_error("%s failures_not_logged=%llu", text.text, (unsigned long long)outside->unlogged);
    outside->logged_ms = now_ms;
    outside->unlogged = 0;
    outside->is_failure_known = true;
}

static void note_answer(struct outside *outside)
{
    outside->status.failure[0] = '\0';
    if (outside->is_failure_known) {
        log_info("the outside policy answers again path=%s url=%s", outside->config.path,
                 outside->config.url);
        outside->is_failure_known = false;
    }
}

/* Questions. */

static void question_free(struct question *question)
{
    HASH_DEL(question->outside->questions, question);
    free(question->transfer.input);
    free(question->transfer.reason);
    free(question->spiffe_id);
    free(question);
}

/* The waits of the question, in a list of the caller's: whoever is told may cancel the others. */
static void take_waits(struct question *question, struct outside_wait **ret_waits)
{
    *ret_waits = take_ptr(question->waits);
    if (*ret_waits) {
        (*ret_waits)->link = ret_waits;
    }
}

static char *reason_of(const struct outside *outside, const struct outside_transfer *transfer)
{
    const char *reason = transfer->reason && transfer->reason[0] ? transfer->reason : NULL;
    if (transfer->is_allowed) {
        return memory_copy_text(reason);
    }
    return text_format("the outside policy %s says no%s%s", outside->config.path,
                       reason ? ": " : "", reason ? reason : "");
}

static void keep(struct outside *outside, const struct outside_answer *answer, uint64_t now_ms)
{
    if (outside->config.cache_ms > 0) {
        outside_cache_add(&outside->cache, answer, now_ms);
    }
}

static void answer_came(struct outside *outside, struct question *question)
{
    uint64_t now_ms = clock_monotonic_ms();
    _cleanup_(free_cleanup) char *reason = reason_of(outside, &question->transfer);
    const struct outside_answer answer = {.key = question->key,
                                          .is_allowed = question->transfer.is_allowed,
                                          .reason = reason,
                                          .until_ms = now_ms + outside->config.cache_ms};
    struct outside_wait *waits = NULL;
    note_answer(outside);
    keep(outside, &answer, now_ms);
    take_waits(question, &waits);
    question_free(question);
    while (waits) {
        struct outside_wait *wait = waits;
        wait_unlink(wait);
        tell(outside, wait, &answer);
    }
}

static void failure_came(struct outside *outside, struct question *question, const char *reason)
{
    _cleanup_(free_cleanup) char *spiffe_id = take_ptr(question->spiffe_id);
    _cleanup_(free_cleanup) char *text = memory_copy_text(reason);
    struct outside_wait *waits = NULL;
    take_waits(question, &waits);
    question_free(question);
    while (waits) {
        struct outside_wait *wait = waits;
        wait_unlink(wait);
        tell_failure(outside, wait, spiffe_id, text);
    }
}

static void transfer_came(struct mailbox_message *message)
{
    struct question *question = container_of(message, struct question, transfer.message);
    struct outside *outside = question->outside;
    if (question->transfer.has_answer) {
        answer_came(outside, question);
        return;
    }
    note_failure(outside, &question->transfer.failure);
    failure_came(outside, question, outside->status.failure);
}

static void question_insert(struct outside *outside, struct question *question)
{
    HASH_ADD(hh, outside->questions, key, sizeof(question->key), question);
}

static struct question *question_new(struct outside *outside, const struct outside_key *key,
                                     const struct outside_question *asked)
{
    struct question *question = NEW(struct question);
    question->outside = outside;
    question->key = *key;
    question->spiffe_id = memory_copy_text(asked->spiffe_id);
    question->transfer.message.deliver = transfer_came;
    question->transfer.input = outside_input(asked);
    question->transfer.deadline_ms = clock_monotonic_ms() + outside->config.timeout_ms;
    question_insert(outside, question);
    return question;
}

static const char stop_reason[] = "the agent stops and asks the outside policy no more";

static void ask_too_many(struct outside *outside, const struct outside_question *asked,
                         struct outside_wait *wait)
{
    struct error failure;
    (void)error_set(&failure, ERROR_RESOURCE_EXHAUSTED, "%d questions wait for it already",
                    OUTSIDE_WAITING_MAX);
    note_failure(outside, &failure);
    _cleanup_(free_cleanup) char *reason = memory_copy_text(outside->status.failure);
    tell_failure(outside, wait, asked->spiffe_id, reason);
}

/* done may change what is kept. */
static void tell_cached(struct outside *outside, struct outside_wait *wait,
                        const struct outside_answer *kept)
{
    _cleanup_(free_cleanup) char *reason = memory_copy_text(kept->reason);
    struct outside_answer answer = *kept;
    answer.reason = reason;
    outside->status.cached++;
    tell(outside, wait, &answer);
}

void outside_ask(struct outside *outside, const struct outside_question *asked,
                 struct outside_wait *wait)
{
    struct outside_key key = outside_key_of(asked);
    struct question *question = NULL;
    wait->next = NULL;
    wait->link = NULL;
    wait->is_cancelled = false;
    outside->status.asked++;
    if (!outside->client) {
        tell_failure(outside, wait, asked->spiffe_id, stop_reason);
        return;
    }
    const struct outside_answer *kept =
        outside_cache_find(&outside->cache, &key, clock_monotonic_ms());
    if (kept) {
        tell_cached(outside, wait, kept);
        return;
    }
    HASH_FIND(hh, outside->questions, &key, sizeof(key), question);
    if (!question && HASH_COUNT(outside->questions) >= OUTSIDE_WAITING_MAX + OUTSIDE_AT_ONCE_MAX) {
        ask_too_many(outside, asked, wait);
        return;
    }
    bool is_new = !question;
    question = is_new ? question_new(outside, &key, asked) : question;
    wait_link(wait, &question->waits);
    if (is_new) {
        outside_client_ask(outside->client, &question->transfer);
    }
}

void outside_status(struct outside *outside, struct outside_status *ret_status)
{
    *ret_status = outside->status;
}

/* Life. */

static void mail_came(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    mailbox_deliver(((struct outside *)poll->data)->mailbox);
}

static void outside_clear(struct outside *outside)
{
    outside_cache_clear(&outside->cache);
    free(outside->config.url);
    free(outside->config.path);
    text_list_clear(&outside->config.continue_for);
    if (outside->mailbox) {
        mailbox_free(outside->mailbox);
    }
    free(outside);
}

DEFINE_CLEANUP(struct outside, outside, outside_clear);

int outside_new(uv_loop_t *loop, const struct outside_config *config, struct outside **ret_outside,
                struct error *err)
{
    TRY(outside_check(config, err));
    _cleanup_(outside_cleanup) struct outside *outside = NEW(struct outside);
    outside->config = (struct outside_config){.url = memory_copy_text(config->url),
                                              .path = memory_copy_text(config->path),
                                              .timeout_ms = config->timeout_ms,
                                              .cache_ms = config->cache_ms};
    text_list_copy(&outside->config.continue_for, &config->continue_for);
    TRY(mailbox_new(&outside->mailbox, err));
    TRY(outside_client_new(&outside->config, outside->mailbox, &outside->client, err));
    /* An eventfd, which epoll takes. */
    (void)uv_poll_init(loop, &outside->mail, mailbox_descriptor(outside->mailbox));
    outside->mail.data = outside;
    (void)uv_poll_start(&outside->mail, UV_READABLE, mail_came);
    *ret_outside = take_ptr(outside);
    return 0;
}

static void mail_closed(uv_handle_t *handle)
{
    outside_clear(handle->data);
}

void outside_free(struct outside *outside)
{
    outside_client_free(take_ptr(outside->client));
    text_list_clear(&outside->config.continue_for);
    while (outside->questions) {
        /* NOLINTNEXTLINE(clang-analyzer-*): it cannot know that uthash takes each item out whole */
        failure_came(outside, outside->questions, stop_reason);
    }
    uv_close((uv_handle_t *)&outside->mail, mail_closed);
}
