#include "agent/api/counters.h"

#include "agent/api/context.h"

/* In the order of api.c. */
static const char *const sockets[API_SERVERS] = {"api", "admin"};

void api_each_socket(const struct api *api,
                     void (*each)(void *user, const char *socket, size_t connections, size_t calls),
                     void *user)
{
    for (size_t i = 0; i < API_SERVERS; i++) {
        if (api->servers[i]) {
            each(user, sockets[i], rpc_server_connection_count(api->servers[i]),
                 rpc_server_call_count(api->servers[i]));
        }
    }
}
