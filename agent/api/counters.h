/* What the API serves right now, for metrics. Loop thread only. */
#pragma once

#include "agent/api/api.h"

/* socket: "api" or "admin"; calls: open ones, streams among them. */
void api_each_socket(const struct api *api,
                     void (*each)(void *user, const char *socket, size_t connections, size_t calls),
                     void *user);
