/* Serves tokens to processes over p11-kit's RPC, in a thread of its own. The owner accepts
 * connections, finds out whose they are and hands them over; here they are spoken with.
 *
 * The peer of a connection is the process that connected. A call that another process writes into
 * the same connection (a child that inherited it over exec) closes it. Functions are called on the
 * owner's thread unless they say otherwise. */
#pragma once

#include <sys/types.h>

#include "pkcs11/token/guard.h"
#include "pkcs11/token/view.h"

struct token_server;
struct token_connection;

struct token_server_config {
    struct mailbox *mailbox; /* the owner's: closed callbacks come through it */
    /* How long a process may take to complete a call that it has begun, or to take a reply; 0 means
     * 30 s. */
    uint32_t stall_ms;
};

struct token_counters {
    size_t connections, sessions;
    uint64_t calls, signatures, refusals;
};

int token_server_new(const struct token_server_config *config, struct token_server **ret_server,
                     struct error *err);
/* Closes all connections, ends the thread; after the return no callback runs any more, and answers
 * to a guard's questions are of no use. A message that does nothing may be left in the owner's
 * mailbox: deliver it before that is freed. */
void token_server_free(struct token_server *server);

/* The kernel names the writer of a message only if it was asked to before: set SO_PASSCRED on the
 * listening socket. Without, a client may have written no more than its first byte until here,
 * which is as far as p11-kit's clients go before they are answered. */
struct token_connection_config {
    int descriptor;            /* taken, with or without success; nothing was read from it */
    pid_t pid;                 /* of the process that connected */
    uint64_t flow;             /* keystore_job's */
    struct token_view *view;   /* referenced */
    struct token_guard *guard; /* referenced; NULL: all that the view allows is admitted */
    struct bytes saved; /* of token_connection_save by an earlier process; empty: a new one */
    /* On the owner's thread, exactly once, unless token_connection_close came first. */
    void (*closed)(void *user);
    void *user;
};

int token_server_adopt(struct token_server *server, const struct token_connection_config *config,
                       struct token_connection **ret_connection, struct error *err);
/* What the process sees from its next call on, and what is asked before each signature; signatures
 * already asked of the keystore, but not yet made, are decided by the new view too. Both
 * referenced; as token_caller_set_view. */
void token_connection_publish(struct token_connection *connection, struct token_view *view,
                              struct token_guard *guard);
/* Ends serving, waiting for a call in hand, and gives away descriptor and state, for the
 * process that serves next: the client notices nothing. NotFound: it has closed meanwhile. The
 * connection is freed.
 */
int token_connection_save(struct token_connection *connection, int *ret_descriptor,
                          struct buffer *ret_state, struct error *err);
/* Also frees what closed told about. The connection ends without another word. */
void token_connection_close(struct token_connection *connection);
void token_server_counters(struct token_server *server, struct token_counters *ret_counters);
