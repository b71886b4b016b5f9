/* The subcommands; a file for each, or for a few that belong together. */
#pragma once

#include "client/command.h"

extern const struct command command_svid_fetch_x509, command_svid_watch;   /* svid.c */
extern const struct command command_svid_fetch_jwt, command_svid_validate; /* jwt.c */
extern const struct command command_entry_list, command_entry_add, command_entry_remove;
extern const struct command command_bundle_show;
extern const struct command command_key_list;
extern const struct command command_lock, command_lock_list, command_unlock; /* lock.c */
extern const struct command command_rule_test;                               /* rule.c */
extern const struct command command_identity_list;
extern const struct command command_audit_verify, command_audit_timeline, command_audit_export;
extern const struct command command_svid_evidence, command_attest_evidence; /* attest_evidence.c */
extern const struct command command_attest_show, command_attest_challenge, command_attest_verify;
extern const struct command command_baseline_record, command_baseline_list; /* attest_baseline.c */
extern const struct command command_baseline_announce, command_baseline_remove;
extern const struct command command_seal, command_seal_step, command_unseal; /* seal.c */
extern const struct command command_seal_approve;                            /* seal_approve.c */
extern const struct command command_devid_init, command_devid_csr, command_devid_install;
extern const struct command command_devid_certify; /* devid_certify.c */
extern const struct command command_health, command_reload;
extern const struct command command_helper;
