/* A call whose frame is larger than MESSAGE_FRAME_MAX, acted on as it comes: programs give C_Sign
 * and C_SignUpdate any amount of data, and p11-kit's client does not split it. What is to be signed
 * is hashed; any other call of that size is refused once all of it has been read, and the
 * connection goes on. Needs the same memory whatever its size is. Dispatcher's thread only. */
#pragma once

#include "pkcs11/token/dispatch.h"

struct dispatch_long;

/* The frame, whose state is MESSAGE_FRAME_LONG, is at the start of input, which then goes on behind
 * what was read of it. False: it is malformed. */
bool dispatch_long_begin(struct dispatch *dispatch, const struct message_frame *frame,
                         struct reader *input);
/* Takes from input what belongs to the call. DISPATCH_NEEDS_BYTES: there is more to come. */
enum dispatch_result dispatch_long_go_on(struct dispatch *dispatch, struct reader *input,
                                         struct buffer *output);
/* The call is forgotten. */
void dispatch_long_end(struct dispatch *dispatch);

/* For connection_save: what was hashed cannot be taken along, so that the signature is given up,
 * and the call fails once the rest of it has come. */
void dispatch_long_save(struct dispatch *dispatch, struct buffer *ret_state);
void dispatch_long_restore(struct dispatch *dispatch, struct reader *state);
