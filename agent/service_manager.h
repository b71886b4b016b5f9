/* What systemd wants to know and has to give. Without systemd everything here does nothing. Loop
 * thread. */
#pragma once

#include <stdbool.h>
#include <uv.h>

#include "lib/base/error.h"

/* Sockets passed by name: "api" and "admin"; -1 where one was not. Others are closed with a warning
 * in the log. An error: one of the two is not a listening unix stream socket. */
int service_manager_listeners(int *ret_api, int *ret_admin, struct error *err);

/* State lines of sd_notify(3). */
void service_manager_notify(const char *format, ...) _printf_(1, 2);

/* Shows the service manager that the loop turns, where it asked for that. The timer must be closed
 * by uv_close when *ret_is_open. */
void service_manager_watchdog(uv_loop_t *loop, uv_timer_t *timer, bool *ret_is_open);
