/* What a verifier brings along: the evidence, and whom it believes. */
#pragma once

#include "attest/ek.h"
#include "attest/evidence.h"
#include "client/command.h"
#include "lib/base/secret.h"

/* Of the file, or of standard input where the path is "-". DataLoss: it is no evidence. */
int attest_input_evidence(const char *path, struct evidence *ret_evidence, struct error *err);

/* Adds --ek-cas and --ek-hash; *trust is made where it is NULL. InvalidArgument where then nobody
 * is believed. */
int attest_input_ek_trust(const struct arguments *arguments, struct ek_trust **trust,
                          struct error *err);

/* The secret of a challenge, as hexadecimal in a file for its owner alone. */
int attest_input_write_secret(const char *path, const struct secret *secret, struct error *err);
int attest_input_read_secret(const char *path, struct secret *ret_secret, struct error *err);
