/* Attributes in p11-kit's RPC. Their values are encoded by what they are: a byte, a number of 64
 * bits, or an array of bytes; see message.h. Every thread. */
#pragma once

#include "pkcs11/token/message.h"

/* The readers of aA and fA for message_read_arguments. */
void message_read_attributes(struct reader *reader, struct message_arguments *arguments);
void message_read_attribute_rooms(struct reader *reader, struct message_arguments *arguments);
/* A size and as many bytes, or the mark that says NULL, which is empty. */
struct bytes message_read_sized(struct reader *reader);

/* Writes aAu, the values of attributes that were asked as fA, by the buffer rules of
 * C_GetAttributeValue: a value that the client has no room for is left out, and its length too. rv:
 * what getting the values gave. Returns CKR_OK where the reply is written and carries the code;
 * else an error to reply instead. */
CK_RV message_write_attributes(struct message_reply *reply, const CK_ATTRIBUTE *asked,
                               const CK_ATTRIBUTE *values, size_t count, CK_RV rv);
