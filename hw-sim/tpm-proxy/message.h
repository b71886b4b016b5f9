/* Commands to a TPM and its answers as they pass on a socket (TPM 2.0 Part 1 18). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MESSAGE_MAX_BYTES = 4096, MESSAGE_HEADER_BYTES = 10 };

struct message {
    uint8_t data[MESSAGE_MAX_BYTES];
    size_t size;
};

/* One whole message; false when the peer hung up, or sent what cannot be one. */
bool message_read(int descriptor, struct message *ret_message);
bool message_write(int descriptor, const struct message *message);

/* Of a command its code, of an answer the response code. */
uint32_t message_code(const struct message *message);

/* The answer that is nothing but a response code. */
void message_of_code(uint32_t code, struct message *ret_message);

/* A connection to the unix socket path, -1 when there is none. */
int message_connect(const char *path);
/* A socket that listens at path, -1 with errno set when it cannot. */
int message_listen(const char *path);
