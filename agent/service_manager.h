/* What systemd wants to know and has to give. Without systemd everything here does nothing. Loop
 * thread. */
#pragma once

#include <stdbool.h>
#include <uv.h>

#include "lib/base/error.h"

/* What an earlier process of the agent left with service_manager_store. */
struct stored_descriptor {
    char *name;
    int descriptor;
};

/* Descriptors passed at the start. */
struct passed_descriptors {
    int api, admin, pkcs11; /* listening sockets by these names; -1 where one was not passed */
    struct stored_descriptor *stored;
    size_t stored_count;
};

/* Listening sockets must be unix stream sockets. Unknown names are closed with a warning in the
 * log. With an error nothing has to be cleared. */
int service_manager_receive(struct passed_descriptors *ret_passed, struct error *err);
/* Closes what was not taken. All zero but for descriptors -1 afterwards. */
void passed_descriptors_clear(struct passed_descriptors *passed);

/* Leaves a descriptor (not taken) with the service manager for the next process of the agent, under
 * a name that begins with SERVICE_MANAGER_STORED; several may have one name. Unavailable: there is
 * no service manager, or it does not take it (FileDescriptorStoreMax=). */
#define SERVICE_MANAGER_STORED "token-"
bool service_manager_is_there(void);
int service_manager_store(const char *name, int descriptor, struct error *err);
/* The service manager may close all that it has under this name. */
void service_manager_forget(const char *name);

/* State lines of sd_notify(3). */
void service_manager_notify(const char *format, ...) _printf_(1, 2);

/* Shows the service manager that the loop turns, where it asked for that. The timer must be closed
 * by uv_close when *ret_is_open. */
void service_manager_watchdog(uv_loop_t *loop, uv_timer_t *timer, bool *ret_is_open);
