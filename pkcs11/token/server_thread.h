/* The server's two sides, for its files alone: the owner (server.c) asks, the thread
 * (server_thread.c) does. */
#pragma once

#include <pthread.h>

#include "pkcs11/token/connection.h"
#include "pkcs11/token/server.h"

/* How the thread tells the owner that connections are over. It may lie in the owner's mailbox when
 * the server is freed, so it is freed by whoever has it last. */
struct notice {
    struct mailbox_message message;
    struct token_server *server; /* NULL: freed */
};

/* Guarded by the lock: untold, is_notice_posted and the connections' is_released and is_untold. */
struct token_server {
    struct connection_place place;
    pthread_t thread;
    struct mailbox *mailbox; /* the thread's: commands and signatures */
    atomic_size_t commands;  /* in the mailbox */
    /* The thread's. */
    struct connection_list all; /* served */
    bool is_ending;
    /* The owner's. */
    struct connection_list owned; /* not closed by the owner yet */
    struct mailbox *owner;
    atomic_size_t connections;
    pthread_mutex_t lock;
    struct connection_list untold;
    struct notice *notice;
    bool is_notice_posted;
};

/* What the owner wants of the thread: in the order in which it was asked. */
struct command {
    struct mailbox_message message;
    struct token_server *server;
    void (*act)(struct command *command);
    struct token_connection *connection;
    struct token_view *view;
    struct token_guard *guard;
};

/* A command that the owner waits for; on its stack. */
struct request {
    struct mailbox_message message;
    struct token_server *server;
    struct token_connection *connection;
    struct connection_save save;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_done;
};

/* What the thread runs: the loop, until the server is ending, no connection is left and no
 * signature that would come to the mailbox. argument: the server. */
void *server_run_thread(void *argument);
/* For the place of a server that starts. */
void server_connection_gone(struct token_connection *connection);
void server_catch_up(struct connection_place *place);

/* The acts of commands, and the messages of requests. */
void server_act_adopt(struct command *command);
void server_act_publish(struct command *command);
void server_act_close(struct command *command);
void server_deliver_save(struct mailbox_message *message);
void server_deliver_end(struct mailbox_message *message);
