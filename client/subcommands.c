#include "client/subcommands.h"

const struct command *const commands[] = {
    &command_svid_fetch_x509,
    &command_svid_fetch_jwt,
    &command_svid_validate,
    &command_svid_watch,
    &command_entry_list,
    &command_entry_add,
    &command_entry_remove,
    &command_bundle_show,
    &command_key_list,
    &command_lock_list, /* before the one whose name begins it */
    &command_lock,
    &command_unlock,
    &command_rule_test,
    &command_identity_list,
    &command_audit_verify,
    &command_audit_timeline,
    &command_audit_export,
    &command_health,
    &command_reload,
    &command_helper,
    NULL,
};
