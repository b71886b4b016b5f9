/* The parts of SpiffeWorkloadAPI that have files of their own. Each is a method's handler; user is
 * the api. */
#pragma once

#include "agent/api/context.h"

/* workload_jwt.c */
void workload_fetch_jwt_svid(struct rpc_call *call, const ProtobufCMessage *request, void *user);
void workload_validate_jwt_svid(struct rpc_call *call, const ProtobufCMessage *request, void *user);
