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
extern const struct command command_health, command_reload;
extern const struct command command_helper;
