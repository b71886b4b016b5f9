/* The address at which p11-kit-client.so finds an isolated module. p11-kit connects to a path, and
 * reads it only once from the environment; so the path goes through a descriptor of this process
 * ("/proc/self/fd/N/s") behind which a new private folder is put at each start. The folder and the
 * socket exist in the file system only while the connections are being made. */
#pragma once

#include "lib/base/error.h"

struct host_socket {
    int folder;       /* the N above, for life */
    char *parent;     /* of the folder, while it exists */
    char address[80]; /* for P11_KIT_SERVER_ADDRESS */
    char path[64];    /* the socket's, in this process */
};

int host_socket_init(struct host_socket *socket, struct error *err);
void host_socket_clear(struct host_socket *socket);

/* A listening socket at the address; the caller closes it. */
int host_socket_listen(struct host_socket *socket, int backlog, int *ret_listener,
                       struct error *err);
/* Takes folder and socket out of the file system. */
void host_socket_hide(struct host_socket *socket);
/* p11-kit leaves its connections open across exec: closes that hole, and counts the connections to
 * this address whose listener is of this process. */
unsigned host_socket_protect(const struct host_socket *socket);
