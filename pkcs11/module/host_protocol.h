/* What the agent and the process of an isolated module agree on. PKCS#11 calls travel as p11-kit
 * RPC over connections to the listening socket; the control socket (SOCK_SEQPACKET) carries one
 * report from the host (struct host_report) and then PINs to it, one a message, each followed by a
 * C_Login without PIN. */
#pragma once

#include "lib/base/error.h"

enum { HOST_DESCRIPTOR_LISTENER = 3, HOST_DESCRIPTOR_CONTROL = 4, HOST_DESCRIPTOR_END = 5 };
enum { HOST_PIN_MAX_BYTES = 255 };

/* Says how loading the module went: error.code is ERROR_OK when it serves. */
struct host_report {
    uint32_t version; /* HOST_PROTOCOL_VERSION: both come from one build */
    struct error error;
};
enum { HOST_PROTOCOL_VERSION = 1 };
