/* Points in time, as people write them and as records have them. */
#pragma once

#include <stdint.h>

#include "audit/record.h"

/* Reads "2026-11-21T10:00:00Z" (RFC 3339, with fractions and any offset), "2026-11-21 10:00",
 * "2026-11-21 10:00:30" and "2026-11-21" in local time, or how long before now_ms: "2h". */
int audit_time_parse(const char *text, int64_t now_ms, int64_t *ret_ms, struct error *err);
/* As records have it. */
void audit_time_format(int64_t ms, char ret_time[AUDIT_TIME_BYTES + 1]);
/* What audit_time_format made. False: it is none such. */
bool audit_time_read(const char *time, int64_t *ret_ms);
/* "2026-11-21 11:00:00.123+01:00": local time; the caller frees it. */
char *audit_time_local(int64_t ms);
