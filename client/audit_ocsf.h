/* A record of the audit log as an event of OCSF 1.3 (schema.ocsf.io). docs/audit.md has the table.
 */
#pragma once

#include <jansson.h>

/* NULL: the record is none that is mapped, such as a signed head. The caller decrefs. */
json_t *audit_ocsf(const json_t *record);
