/* Sockets that the service manager has passed back, found by their cookies (socket(7), SO_COOKIE).
 * Thousands of them are looked up at a start: each is asked for its cookie once. Loop thread. */
#pragma once

#include "agent/service_manager.h"

struct stored_sockets;

/* The same for a socket in every process that has it; 0: it is none. */
uint64_t socket_cookie(int descriptor);

/* Those of passed, which is borrowed, with that name; cookie_of is socket_cookie but in tests. */
struct stored_sockets *stored_sockets_new(struct passed_descriptors *passed, const char *name,
                                          uint64_t (*cookie_of)(int descriptor));
void stored_sockets_free(struct stored_sockets *sockets);
/* NULL: there is none, or its descriptor was taken. */
struct stored_descriptor *stored_sockets_find(const struct stored_sockets *sockets,
                                              uint64_t cookie);

DEFINE_CLEANUP(struct stored_sockets, stored_sockets, stored_sockets_free);
