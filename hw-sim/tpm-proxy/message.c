#include "hw-sim/tpm-proxy/message.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/bytes.h"

enum { BACKLOG = 64 };

static uint32_t u32_at(const struct message *message, size_t offset)
{
    struct reader reader = reader_of((struct bytes){message->data, message->size});
    (void)reader_bytes(&reader, offset);
    return reader_u32(&reader);
}

static bool read_exactly(int descriptor, uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t count = read(descriptor, data, size);
        if (count == 0 || (count < 0 && errno != EINTR)) {
            return false;
        }
        data += count > 0 ? count : 0;
        size -= count > 0 ? (size_t)count : 0;
    }
    return true;
}

bool message_read(int descriptor, struct message *ret_message)
{
    ret_message->size = MESSAGE_HEADER_BYTES;
    if (!read_exactly(descriptor, ret_message->data, MESSAGE_HEADER_BYTES)) {
        return false;
    }
    size_t size = u32_at(ret_message, 2);
    if (size < MESSAGE_HEADER_BYTES || size > sizeof(ret_message->data)) {
        return false;
    }
    ret_message->size = size;
    return read_exactly(descriptor, ret_message->data + MESSAGE_HEADER_BYTES,
                        size - MESSAGE_HEADER_BYTES);
}

bool message_write(int descriptor, const struct message *message)
{
    return send(descriptor, message->data, message->size, MSG_NOSIGNAL) == (ssize_t)message->size;
}

uint32_t message_code(const struct message *message)
{
    return u32_at(message, 6);
}

void message_of_code(uint32_t code, struct message *ret_message)
{
    static const uint8_t head[] = {0x80, 0x01, 0, 0, 0, MESSAGE_HEADER_BYTES};
    ret_message->size = MESSAGE_HEADER_BYTES;
    memcpy(ret_message->data, head, sizeof(head));
    for (size_t i = 0; i < sizeof(code); i++) {
        ret_message->data[sizeof(head) + i] = (uint8_t)(code >> (24 - 8 * i));
    }
}

static bool set_address(const char *path, struct sockaddr_un *ret_address)
{
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(ret_address->sun_path)) {
        errno = ENAMETOOLONG;
        return false;
    }
    memcpy(ret_address->sun_path, path, strlen(path));
    return true;
}

int message_connect(const char *path)
{
    struct sockaddr_un address;
    if (!set_address(path, &address)) {
        return -1;
    }
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor >= 0 &&
        connect(descriptor, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        (void)close(descriptor);
        return -1;
    }
    return descriptor;
}

int message_listen(const char *path)
{
    struct sockaddr_un address;
    if (!set_address(path, &address)) {
        return -1;
    }
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)unlink(path);
    if (descriptor >= 0 &&
        (bind(descriptor, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
         listen(descriptor, BACKLOG) < 0)) {
        int reason = errno;
        (void)close(descriptor);
        errno = reason;
        return -1;
    }
    return descriptor;
}
