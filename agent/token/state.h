/* What the files of this room share. Loop thread only. */
#pragma once

#include <sys/queue.h>

#include "agent/access/decision.h"
#include "agent/token/tokens.h"

struct holder;

struct tokens {
    struct tokens_config config;
    uv_loop_t *loop;
    struct mailbox *mailbox; /* of the server's closed connections */
    struct token_server *server;
    uv_poll_t listener_poll, mailbox_poll;
    uv_timer_t pause;
    int listener;
    unsigned open_handles;
    LIST_HEAD(, holder) holders;
    /* The anchors of the bundle told last; most views have them. */
    struct bundle *anchors_bundle;
    struct token_anchors *anchors;
    struct decisions decisions;
    struct log_gate complaints;
    void (*stopped)(void *user); /* set once they are stopping */
    void *stopped_user;
};

/* holder.c: a connection. Takes the descriptor. */
void holder_open(struct tokens *tokens, int descriptor);
void holders_close(struct tokens *tokens);
/* tokens.c: one has gone. */
void tokens_holder_gone(struct tokens *tokens);

/* contents.c: what is on the token of all who have this set; borrowed, kept with the set. */
struct token_view *contents_of_set(struct tokens *tokens, struct identity_set *set);
/* With no identity at all; the caller owns the reference. */
struct token_view *contents_of_nobody(void);
void contents_clear(struct tokens *tokens);
