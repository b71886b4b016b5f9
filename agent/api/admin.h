/* The parts of the admin API that have files of their own. Each is a method's handler; user is the
 * api. */
#pragma once

#include "lib/rpc/server.h"

/* admin_entries.c */
void admin_list_entries(struct rpc_call *call, const ProtobufCMessage *request, void *user);
void admin_add_entry(struct rpc_call *call, const ProtobufCMessage *request, void *user);
void admin_remove_entry(struct rpc_call *call, const ProtobufCMessage *request, void *user);
