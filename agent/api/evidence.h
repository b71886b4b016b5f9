/* HardwareIdentity.FetchEvidence: what the TPM says about the key of one of the caller's own
 * identities. */
#pragma once

#include "agent/api/context.h"
#include "proto/hardware.pb-c.h"

/* The handler. The identity is decided as for any fetch; in addition its rule must have
 * evidence = true. */
void evidence_start(struct api *api, struct rpc_call *call,
                    const Hardware__EvidenceRequest *request);
