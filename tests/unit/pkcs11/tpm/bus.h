/* Somebody on the wires between host and TPM: a socket that passes commands on to a swtpm and lets
 * a test read, change or answer them. One command at a time, on a thread of its own. */
#pragma once

#include "tests/unit/pkcs11/tpm/device.h"

#include <pthread.h>

enum { BUS_MESSAGE_MAX = 4096, BUS_HEADER_BYTES = 10 };

struct bus_message {
    uint8_t data[BUS_MESSAGE_MAX];
    size_t size;
};

struct bus {
    const struct swtpm *swtpm;
    char socket[104];
    char tcti[136];
    int listener;
    int stop[2];
    pthread_t thread;

    /* Set while no command is under way. */
    pthread_mutex_t mutex;
    /* Sees a command; may change it. True: ret_answer is the answer, the TPM is not asked. */
    bool (*on_command)(struct bus *bus, struct bus_message *command,
                       struct bus_message *ret_answer);
    /* Sees the answer to a command; may change it. */
    void (*on_answer)(struct bus *bus, const struct bus_message *command,
                      struct bus_message *answer);
    void *user;
    size_t commands; /* how many passed */
};

static inline uint32_t bus_u32(const struct bus_message *message, size_t offset)
{
    struct reader reader = reader_of((struct bytes){message->data, message->size});
    (void)reader_bytes(&reader, offset);
    return reader_u32(&reader);
}

static inline TPM2_CC bus_code(const struct bus_message *message)
{
    return bus_u32(message, 6);
}

static inline bool bus_read_exactly(int descriptor, uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t count = read(descriptor, data, size);
        if (count <= 0) {
            return false;
        }
        data += count;
        size -= (size_t)count;
    }
    return true;
}

static inline bool bus_read(int descriptor, struct bus_message *ret)
{
    ret->size = BUS_HEADER_BYTES;
    if (!bus_read_exactly(descriptor, ret->data, BUS_HEADER_BYTES)) {
        return false;
    }
    size_t size = bus_u32(ret, 2);
    if (size < BUS_HEADER_BYTES || size > sizeof(ret->data)) {
        return false;
    }
    ret->size = size;
    return bus_read_exactly(descriptor, ret->data + BUS_HEADER_BYTES, size - BUS_HEADER_BYTES);
}

static inline bool bus_write(int descriptor, const struct bus_message *message)
{
    return send(descriptor, message->data, message->size, MSG_NOSIGNAL) == (ssize_t)message->size;
}

static inline bool bus_ask(const struct bus *bus, const struct bus_message *command,
                           struct bus_message *ret_answer)
{
    struct sockaddr_un address = swtpm_address(bus->swtpm->socket);
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is_done = connect(descriptor, (struct sockaddr *)&address, sizeof(address)) == 0 &&
                   bus_write(descriptor, command) && bus_read(descriptor, ret_answer);
    (void)close(descriptor);
    return is_done;
}

static inline void bus_pass(struct bus *bus, int client)
{
    static _Thread_local struct bus_message command;
    static _Thread_local struct bus_message answer;
    if (!bus_read(client, &command)) {
        return;
    }
    pthread_mutex_lock(&bus->mutex);
    bus->commands++;
    bool is_answered = bus->on_command && bus->on_command(bus, &command, &answer);
    if (!is_answered) {
        is_answered = bus_ask(bus, &command, &answer);
        if (is_answered && bus->on_answer) {
            bus->on_answer(bus, &command, &answer);
        }
    }
    pthread_mutex_unlock(&bus->mutex);
    if (is_answered) {
        (void)bus_write(client, &answer);
    }
}

static inline void *bus_main(void *argument)
{
    struct bus *bus = argument;
    for (;;) {
        struct pollfd polled[] = {{bus->listener, POLLIN, 0}, {bus->stop[0], POLLIN, 0}};
        (void)poll(polled, 2, -1);
        if (polled[1].revents) {
            return NULL;
        }
        int client = accept4(bus->listener, NULL, NULL, SOCK_CLOEXEC);
        if (client >= 0) {
            bus_pass(bus, client);
            (void)close(client);
        }
    }
}

static inline void bus_new(struct bus *bus, const struct swtpm *swtpm)
{
    char real_control[128];
    char control[128];
    *bus = (struct bus){.swtpm = swtpm, .mutex = PTHREAD_MUTEX_INITIALIZER};
    (void)snprintf(bus->socket, sizeof(bus->socket), "%s/bus", swtpm->folder);
    (void)snprintf(bus->tcti, sizeof(bus->tcti), "swtpm:path=%s", bus->socket);
    (void)snprintf(real_control, sizeof(real_control), "%s.ctrl", swtpm->socket);
    (void)snprintf(control, sizeof(control), "%s.ctrl", bus->socket);
    struct sockaddr_un address = swtpm_address(bus->socket);
    bus->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(symlink(real_control, control), 0);
    assert_int_equal(bind(bus->listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(bus->listener, 8), 0);
    assert_int_equal(pipe2(bus->stop, O_CLOEXEC), 0);
    assert_int_equal(pthread_create(&bus->thread, NULL, bus_main, bus), 0);
}

static inline void bus_free(struct bus *bus)
{
    char control[128];
    assert_int_equal(write(bus->stop[1], "", 1), 1);
    assert_int_equal(pthread_join(bus->thread, NULL), 0);
    (void)close(bus->listener);
    (void)close(bus->stop[0]);
    (void)close(bus->stop[1]);
    (void)snprintf(control, sizeof(control), "%s.ctrl", bus->socket);
    (void)unlink(control);
    (void)unlink(bus->socket);
}

/* Changes what the bus does, between commands. */
static inline void bus_set(struct bus *bus,
                           bool (*on_command)(struct bus *bus, struct bus_message *command,
                                              struct bus_message *ret_answer),
                           void (*on_answer)(struct bus *bus, const struct bus_message *command,
                                             struct bus_message *answer),
                           void *user)
{
    pthread_mutex_lock(&bus->mutex);
    bus->on_command = on_command;
    bus->on_answer = on_answer;
    bus->user = user;
    bus->commands = 0;
    pthread_mutex_unlock(&bus->mutex);
}

static inline void bus_put_u32(struct bus_message *message, size_t offset, uint32_t value)
{
    for (size_t i = 0; i < 4; i++) {
        message->data[offset + i] = (uint8_t)(value >> (24 - 8 * i));
    }
}

/* An answer that is an error. */
static inline void bus_error(struct bus_message *ret_answer, TSS2_RC rc)
{
    *ret_answer = (struct bus_message){.data = {0x80, 0x01, 0, 0, 0, BUS_HEADER_BYTES},
                                       .size = BUS_HEADER_BYTES};
    bus_put_u32(ret_answer, 6, rc);
}
