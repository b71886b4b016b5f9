/* The commands of a TPM 2.0 by name, and how long a real discrete one takes for each. */
#pragma once

#include "hw-sim/tpm-proxy/message.h"

/* The code of "Sign", "TPM2_Sign", "0x15d" or "349"; 0 when it is none of these. */
uint32_t pace_command_code(const char *name);
/* The name of a code without "TPM2_", or its number in buffer. */
const char *pace_command_name(uint32_t code, char buffer[16]);

/* Milliseconds from command to answer on a discrete TPM. The answer tells RSA from ECC. */
unsigned pace_discrete_ms(uint32_t code, const struct message *answer);
