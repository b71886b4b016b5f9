/* From a request of p11-kit's RPC to its reply: one table of calls, each with what its arguments
 * are, what is done (caller.h) and what its reply is made of. Knows no sockets. Dispatcher's thread
 * only. */
#pragma once

#include <stdatomic.h>

#include "pkcs11/token/caller.h"
#include "pkcs11/token/message.h"

/* Of all connections; readable by every thread. */
struct dispatch_counters {
    atomic_uint_fast64_t calls, signatures, refusals;
};

/* What a connection remembers of the protocol. */
struct dispatch {
    struct token_caller *caller; /* borrowed */
    struct dispatch_counters *counters;
    bool is_initialized;
    bool is_modern;  /* the client's p11-kit has the longer list of mechanisms (from 0.25) */
    size_t sessions; /* of the caller */
    struct dispatch_long *long_call; /* under way (dispatch_long.h); NULL: none */
    /* For token_sign. */
    token_signed *is_signed;
    void *user;
    /* The call that waits for a signature. */
    uint32_t waiting_code, waiting_id;
};

enum dispatch_result {
    DISPATCH_REPLIED,
    DISPATCH_WAITS,       /* is_signed comes later; until then no other call */
    DISPATCH_NEEDS_BYTES, /* more has to come of the call */
    DISPATCH_MALFORMED,   /* nothing was replied: the connection cannot go on */
};

/* Takes from input what is next, acts on it and appends the reply, one frame, to the output. */
enum dispatch_result dispatch_next(struct dispatch *dispatch, struct reader *input,
                                   struct buffer *output);
/* The reply of the call that waited, from what is_signed was told. */
void dispatch_finish(struct dispatch *dispatch, CK_RV rv, struct bytes signature,
                     struct buffer *output);
/* After caller's sessions have changed in other ways than by calls. */
void dispatch_count_sessions(struct dispatch *dispatch);
