#include "agent/stored_sockets.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/base/memory.h"

struct stored_socket {
    uint64_t cookie;
    struct stored_descriptor *stored;
};

struct stored_sockets {
    struct stored_socket *items; /* in the order of cookies */
    size_t count;
};

uint64_t socket_cookie(int descriptor)
{
    uint64_t cookie = 0;
    socklen_t size = sizeof(cookie);
    return getsockopt(descriptor, SOL_SOCKET, SO_COOKIE, &cookie, &size) < 0 ? 0 : cookie;
}

static int compare_cookies(const void *a, const void *b)
{
    const struct stored_socket *left = a;
    const struct stored_socket *right = b;
    return (left->cookie > right->cookie) - (left->cookie < right->cookie);
}

struct stored_sockets *stored_sockets_new(struct passed_descriptors *passed, const char *name,
                                          uint64_t (*cookie_of)(int descriptor))
{
    struct stored_sockets *sockets = NEW(struct stored_sockets);
    sockets->items = memory_new_array(passed->stored_count + 1, sizeof(*sockets->items));
    for (size_t i = 0; i < passed->stored_count; i++) {
        struct stored_descriptor *stored = &passed->stored[i];
        bool is_meant = stored->descriptor >= 0 && strcmp(stored->name, name) == 0;
        uint64_t cookie = is_meant ? cookie_of(stored->descriptor) : 0;
        if (cookie != 0) {
            sockets->items[sockets->count++] = (struct stored_socket){cookie, stored};
        }
    }
    qsort(sockets->items, sockets->count, sizeof(*sockets->items), compare_cookies);
    return sockets;
}

void stored_sockets_free(struct stored_sockets *sockets)
{
    free(sockets->items);
    free(sockets);
}

struct stored_descriptor *stored_sockets_find(const struct stored_sockets *sockets, uint64_t cookie)
{
    const struct stored_socket wanted = {.cookie = cookie};
    const struct stored_socket *found =
        bsearch(&wanted, sockets->items, sockets->count, sizeof(wanted), compare_cookies);
    return found && found->stored->descriptor >= 0 ? found->stored : NULL;
}
