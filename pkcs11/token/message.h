/* p11-kit's RPC as bytes: frames, the arguments of requests, the values of replies. What a call
 * means is dispatch.h's. Every thread.
 *
 * A frame is a code that the reply repeats, the sizes of options and payload (32 bits each, big
 * endian, as all numbers here), then both. The payload starts with the id of the call and its
 * signature, a text with one letter for each value:
 *
 *   y byte; u number of 64 bits; v version; s text padded with blanks; z text; M mechanism;
 *   A attribute; a_ array of these; f_ how much room the client has for an array of these. */
#pragma once

#include <p11-kit/pkcs11.h>

#include "lib/base/bytes.h"
#include "pkcs11/token/mechanism.h"

enum {
    MESSAGE_HEADER_BYTES = 12,
    /* Options and payload of what is read whole; genuine clients stay below 1 KiB, but for data. */
    MESSAGE_BODY_MAX = 65536,
    /* Of larger bodies: what is needed of the payload to go on with, and the options. */
    MESSAGE_LONG_START_BYTES = 64,
    MESSAGE_LONG_OPTIONS_MAX = 1024,
    MESSAGE_FRAME_MAX = MESSAGE_HEADER_BYTES + MESSAGE_BODY_MAX,
    MESSAGE_NUMBERS_MAX = 3,
    MESSAGE_ARRAYS_MAX = 2,
    MESSAGE_ATTRIBUTES_MAX = 128,
    MESSAGE_CALL_ERROR = 0,
};

struct message_frame {
    uint32_t code;
    struct bytes payload; /* borrowed from the input */
    uint64_t size;        /* of the whole frame */
};

enum message_frame_state {
    MESSAGE_FRAME_COMPLETE,
    MESSAGE_FRAME_PARTIAL, /* more bytes must come */
    MESSAGE_FRAME_LONG,    /* larger than MESSAGE_FRAME_MAX; payload is what there is of it */
    MESSAGE_FRAME_REFUSED, /* as LONG, mostly of options; genuine clients have six bytes of them */
};

enum message_frame_state message_read_frame(struct bytes input, struct message_frame *ret_frame);

/* The start of a payload; false where it is not there. What is left of rest are the arguments. */
bool message_read_call(struct reader *payload, uint32_t *ret_id, struct bytes *ret_signature);

/* The arguments of one request: each kind in the order of the signature. Everything is borrowed
 * from the payload or lies in this struct, which therefore must not be copied. */
struct message_arguments {
    CK_ULONG numbers[MESSAGE_NUMBERS_MAX]; /* y and u */
    size_t number_count;
    struct bytes arrays[MESSAGE_ARRAYS_MAX]; /* ay */
    size_t array_count;
    /* What the client has room for, as it says: never a reason to allocate. */
    uint32_t room;
    bool has_buffer; /* not the question for a size */
    struct mechanism mechanism;
    CK_ATTRIBUTE attributes[MESSAGE_ATTRIBUTES_MAX];
    CK_ULONG attribute_numbers[MESSAGE_ATTRIBUTES_MAX]; /* where their values are numbers */
    size_t attribute_count;
    /* CKR_OK, or why the arguments, although they can be read, are refused (not all were read
     * then). */
    CK_RV rv;
};

/* Reads what the signature says: y, u, ay, fy, fu, fA, aA and, before a last u, M. False: the
 * message is malformed. Allocates nothing. In attributes of fA, pValue is not NULL where the client
 * has room for ulValueLen bytes, but points nowhere of use. */
bool message_read_arguments(struct reader *payload, const char *signature,
                            struct message_arguments *ret_arguments);

/* A reply in the making, appended to a buffer. */
struct message_reply {
    struct buffer *buffer;
    size_t start; /* where its frame begins in buffer */
};

struct message_reply message_begin_reply(struct buffer *buffer, uint32_t code, uint32_t id,
                                         const char *signature);
/* Fills in the sizes. */
void message_end_reply(const struct message_reply *reply);
/* Replaces the reply by an error, complete. */
void message_reply_error(const struct message_reply *reply, uint32_t code, CK_RV rv);
/* How many bytes more the reply may have. */
size_t message_reply_room(const struct message_reply *reply);

void message_write_number(struct message_reply *reply, CK_ULONG value);
void message_write_version(struct message_reply *reply, const CK_VERSION *version);
void message_write_padded(struct message_reply *reply, const CK_UTF8CHAR *text, size_t size);
void message_write_bytes(struct message_reply *reply, struct bytes bytes);
void message_write_numbers(struct message_reply *reply, const CK_ULONG *numbers, size_t count);
/* For ay and au: only how long the array would be. */
void message_write_size(struct message_reply *reply, size_t size);
/* An array of size bytes for the caller to fill in. */
uint8_t *message_write_room(struct message_reply *reply, size_t size);
