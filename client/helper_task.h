/* The helper at work: a task for each block of the configuration. Main loop only. */
#pragma once

#include "client/helper_contents.h"
#include "client/helper_feed.h"
#include "client/helper_reload.h"

/* What a task has to have written once before it is ready. */
enum helper_part { HELPER_PART_X509 = 1, HELPER_PART_TOKEN = 2, HELPER_PART_JWT_BUNDLE = 4 };

/* When to try again; each time later. All zero: nothing has failed. */
struct helper_retry {
    uint64_t at_ms, delay_ms;
    struct error failure;
};

struct helper_task {
    const struct helper_output *output; /* of the helper's config */
    struct helper_reload reload;
    unsigned missing; /* bits of enum helper_part */
    bool has_unannounced, is_withdrawn;
    uint64_t tell_at_ms;       /* when the software is told; 0: there is nothing to tell */
    bool is_marked;            /* in its folder: the software was not told of a change by now */
    struct helper_retry retry; /* of the files from streams */
    size_t done_stream;        /* what the X.509 files are from */
    uint64_t done_generation;  /* 0: nothing yet */
    uint64_t done_jwt_bundle;
    uint64_t look_again_ms; /* whether the identity is really gone; 0: no doubt */
    struct helper_retry token_retry;
    bool is_token_asked;
    bool has_token_failed;     /* the last time, and not for want of an agent or of an entry */
    uint64_t token_refresh_ms; /* when to ask for a token; UINT64_MAX: never */
};

/* What a stream has told last. */
struct helper_told {
    ProtobufCMessage *response; /* NULL: nothing, or the agent has nothing for this process */
    struct identity_list list;
    uint64_t generation; /* counts what it has told; 0: the agent has not answered yet */
    bool is_spent;       /* its keys are zeroed */
    bool is_asked_again;
    bool is_lost; /* not connected now */
    uint64_t connected_ms;
    struct error failure;
};

struct helper {
    struct helper_config config;
    struct helper_task *tasks; /* one for each output */
    unsigned config_generation;
    struct helper_feed *feed;
    struct helper_told told[HELPER_STREAMS];
    pid_t command; /* 0: does not run */
};

/* Checks where the files go, as far as that can be done before there is anything to write. */
int helper_task_check(const struct helper_output *output, struct error *err);
/* Tasks for helper->config, of which nothing is done. */
void helper_tasks_make(struct helper *helper);
/* Has the agent asked for what the tasks need. */
int helper_tasks_watch(struct helper *helper, struct error *err);
/* Brings the files of all tasks up to what the streams have told. */
void helper_tasks_update(struct helper *helper);
/* Does what is due and returns when to call it again. */
uint64_t helper_tasks_tick(struct helper *helper, uint64_t now_ms);
bool helper_tasks_are_ready(const struct helper *helper);
/* Why they are not, for a person. Returns -1. */
int helper_tasks_explain(const struct helper *helper, struct error *err);
/* Whether a task cannot be done for another reason than waiting for the agent; a JWT-SVID that the
 * agent denies is one. */
bool helper_tasks_have_failed(const struct helper *helper);
/* Whether software is about to be told of its files, or a command does that. */
bool helper_tasks_are_telling(const struct helper *helper);
/* Removes the keys and tokens of the output unless a block of keep (NULL: nothing) names them too.
 */
void helper_output_remove_secrets(const struct helper_output *output,
                                  const struct helper_config *keep);

/* As helper_feed_handler.told, with the helper as its state. */
void helper_told(void *state, size_t stream, ProtobufCMessage *response, bool is_denied,
                 const struct error *failure);

/* Between helper_task.c, helper_tell.c, helper_token.c and helper_removal.c. */
struct helper_folder;
int helper_task_open_folder(const struct helper_output *output, struct helper_folder *ret_folder,
                            struct error *err);
/* Puts what contents have of the files named in mask (bits by enum helper_file) in place and
 * announces a change. */
int helper_task_write(struct helper *helper, struct helper_task *task,
                      const struct helper_contents *contents, unsigned mask, struct error *err);
/* The name of the mark that there is until the software of the output was told (helper_files.h).
 * NULL: it needs none. */
char *helper_tell_mark(const struct helper_output *output);
/* What was written and not announced is, and the software told in a moment, by helper_tell_tick;
 * that returns when to call it again, UINT64_MAX: never. */
void helper_tell_soon(const struct helper *helper, struct helper_task *task);
uint64_t helper_tell_tick(const struct helper *helper, struct helper_task *task, uint64_t now_ms);
/* Removes the secrets of a withdrawn identity, and where it was asked for all of its files. */
void helper_task_withdraw(struct helper_task *task, const struct error *failure);
void helper_retry_note(struct helper_retry *retry, const struct helper_output *output,
                       const struct error *failure);
void helper_retry_clear(struct helper_retry *retry);
/* Asks for the token of a jwt block when it is due. */
void helper_token_tick(struct helper *helper, struct helper_task *task, uint64_t now_ms);
