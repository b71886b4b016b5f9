/* The parts of the admin API that have files of their own. Each is a method's handler; user is the
 * api. */
#pragma once

#include "attest/pcr.h"
#include "lib/rpc/server.h"
#include "proto/admin.pb-c.h"

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
/* admin_attestation.c */
void admin_get_attestation(struct rpc_call *call, const ProtobufCMessage *request, void *user);
void admin_make_evidence(struct rpc_call *call, const ProtobufCMessage *request, void *user);
/* Where there is nothing to tell, as there is no block node. */
void admin_refuse_without_node(struct rpc_call *call);
struct admin_pcrs {
    Admin__Pcr items[PCR_BANKS_MAX * PCR_COUNT], *pointers[PCR_BANKS_MAX * PCR_COUNT];
    size_t count;
};
/* Values are borrowed. */
void admin_fill_pcrs(const struct pcr_set *set, struct admin_pcrs *ret_pcrs);
/* admin_baselines.c */
void admin_record_baseline(struct rpc_call *call, const ProtobufCMessage *request, void *user);
void admin_announce_baseline(struct rpc_call *call, const ProtobufCMessage *request, void *user);
void admin_list_baselines(struct rpc_call *call, const ProtobufCMessage *request, void *user);
void admin_remove_baseline(struct rpc_call *call, const ProtobufCMessage *request, void *user);
