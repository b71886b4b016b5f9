/* The parts of the admin API that have files of their own. Each is a method's handler; user is the
 * api. */
#pragma once

#include "lib/rpc/server.h"

/* admin_entries.c */
void admin_list_entries(struct rpc_call *call, const ProtobufCMessage *request, void *user);
void admin_add_entry(struct rpc_call *call, const ProtobufCMessage *request, void *user);
void admin_remove_entry(struct rpc_call *call, const ProtobufCMessage *request, void *user);
/* admin_locks.c */
void admin_lock(struct rpc_call *call, const ProtobufCMessage *request, void *user);
void admin_unlock(struct rpc_call *call, const ProtobufCMessage *request, void *user);
void admin_list_locks(struct rpc_call *call, const ProtobufCMessage *request, void *user);
/* admin_rules.c */
void admin_test_rule(struct rpc_call *call, const ProtobufCMessage *request, void *user);
/* admin_identities.c */
void admin_list_identities(struct rpc_call *call, const ProtobufCMessage *request, void *user);
/* admin_audit.c */
void admin_get_audit(struct rpc_call *call, const ProtobufCMessage *request, void *user);
