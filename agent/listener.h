/* A listening unix socket with a path of its own. */
#pragma once

#include <sys/types.h>

#include "lib/base/error.h"

struct listener {
    int descriptor; /* -1: handed on or none */
    char *path;     /* NULL: from the service manager, which also removes it */
    dev_t device;
    ino_t inode;
};

/* Creates the socket with the mode, which it has from the first moment on. A path that a living
 * process listens on is refused (AlreadyExists), as is one that is not a socket; what a dead one
 * left is taken over. The caller holds the folder's lock. */
int listener_open(const char *path, mode_t mode, struct listener *ret_listener, struct error *err);

/* Closes the descriptor unless handed on, and removes the socket from its folder unless another one
 * has taken its place. All zero but for descriptor -1 afterwards. */
void listener_close(struct listener *listener);
