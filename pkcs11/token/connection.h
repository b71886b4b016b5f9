/* One connection of the token's server: bytes in and out, one call after the other. Everything runs
 * on the server's thread, unless it says otherwise.
 *
 * A connection that has nothing to do owns no buffer: bytes come into and go out of buffers that
 * all connections share, and only what is left over is kept. */
#pragma once

#include <sys/queue.h>
#include <sys/types.h>

#include "pkcs11/rounds.h"
#include "pkcs11/token/dispatch.h"

enum {
    CONNECTION_CALLS_PER_TURN = 8,   /* of one connection, then others have their turn */
    CONNECTION_TURNS_PER_LOOK = 8,   /* then the sockets and the mailbox are looked at again */
    CONNECTION_STALL_MS = 30 * 1000, /* for half a frame, or a reply that nobody reads */
    CONNECTION_SAVES_PER_STALL = 3,  /* how much sooner saving gives up waiting for keys */
};

TAILQ_HEAD(connection_list, token_connection);

/* What the connections of a server share. */
struct connection_place {
    int epoll;
    uint64_t now_ms; /* at the last look */
    uint64_t stall_ms;
    struct rounds turns;            /* those with something to read, to send or to act on */
    struct connection_list stalled; /* waiting for the peer, the oldest first */
    struct connection_list over;    /* since the last look */
    /* All saves together wait for signatures until then; 0: none has yet. */
    uint64_t saves_end_at_ms;
    struct token_connection *saving; /* which waits; the owner saves one after the other */
    uint8_t input[MESSAGE_FRAME_MAX];
    struct buffer output;
    size_t under_way; /* signatures, also abandoned ones: token_caller_config's */
    struct dispatch_counters counters;
    atomic_size_t sessions;
    /* Obeys what the owner has asked for until now: no call may overtake that. */
    void (*catch_up)(struct connection_place *place);
    /* The connection is over and owns nothing any more but its memory, which is taken. */
    void (*gone)(struct token_connection *connection);
};

/* stall_ms: 0 means the default. catch_up and gone are the caller's to set. mailbox: the one whose
 * messages connection_place_look tells of. */
int connection_place_init(struct connection_place *place, struct mailbox *mailbox,
                          uint64_t stall_ms, struct error *err);
/* No connection may be left. */
void connection_place_clear(struct connection_place *place);

/* The thread's loop is these, one after the other. Waits until there is something to do and queues
 * the connections that have it; returns whether messages are in the mailbox, which the caller
 * delivers: that answers the signatures that are done before anything new is begun. */
bool connection_place_look(struct connection_place *place);
/* Ends what took too long, then gives the next connections their turns, few enough that it does not
 * matter to one that comes meanwhile and goes before all others. */
void connection_place_serve(struct connection_place *place);
/* Runs gone for those that are over. */
void connection_place_let_go(struct connection_place *place);

/* Asked for by another thread, which waits. */
struct connection_save {
    int descriptor; /* -1: the connection was over before */
    struct buffer state;
};

struct token_connection {
    struct connection_place *place;
    int descriptor;
    uint32_t watched; /* EPOLLIN or EPOLLOUT, of which looks tell; 0: neither */
    pid_t pid;
    struct dispatch dispatch;
    struct buffer input;     /* received, but not yet acted on */
    struct buffer output;    /* what the peer has not taken yet */
    struct buffer undecided; /* the call that waits for a guard's answer */
    struct rounds_turn turn;
    bool has_version; /* the first byte has come */
    bool is_waiting;  /* for a signature */
    bool is_stalled;  /* in place->stalled */
    bool was_late;    /* at its last turn */
    bool is_ending;
    uint64_t stalls_at_ms;
    struct connection_save *save;
    TAILQ_ENTRY(token_connection) stalled, over;
    /* For the server. */
    struct token_server *server;
    void (*closed)(void *user);
    void *user;
    bool is_gone;       /* place->gone has run */
    bool is_close_seen; /* the owner's wish to close it has arrived */
    bool is_released;   /* the owner has let go of it */
    bool is_untold;     /* in the server's list of those whose owner must be told */
    TAILQ_ENTRY(token_connection) all, owned, untold;
};

/* A connection that nobody serves yet; on any thread. caller and descriptor are taken. */
struct token_connection *connection_new(struct connection_place *place, int descriptor, pid_t pid,
                                        struct token_caller *caller);
/* What connection_save gave, before connection_start; the caller has its view. On any thread.
 * Errors: DataLoss. */
int connection_restore(struct token_connection *connection, struct bytes state, struct error *err);
/* Of one that was never started, or is gone. On any thread. */
void connection_free(struct token_connection *connection);

void connection_start(struct token_connection *connection);
/* place->gone comes later, by connection_place_let_go. A signature under way is abandoned. */
void connection_over(struct token_connection *connection);
/* As connection_over, but after the call in hand, and descriptor and state go into the struct. A
 * signature that hardware does not make in time is answered with CKR_DEVICE_ERROR; a call about
 * which a guard has not decided goes into the state, to be made again. */
void connection_save(struct token_connection *connection, struct connection_save *save);
