/* Time zones of the system's database: files in TZif (RFC 8536 3, RFC 9636 for version 4), whose
 * footer goes on for ever. Immutable once read; every thread. */
#pragma once

#include "lib/base/bytes.h"
#include "lib/base/macro.h"

struct zone;

enum { ZONE_FILE_MAX_BYTES = 65536, ZONE_NAME_MAX_BYTES = 64 };

/* Reads the zone of the name, such as "Europe/Berlin", from /usr/share/zoneinfo. InvalidArgument:
 * no such name; DataLoss: its file is not what it should be. */
int zone_open(const char *name, struct zone **ret_zone, struct error *err);
/* A file's contents. DataLoss: what is wrong with them. */
int zone_parse(struct bytes contents, struct zone **ret_zone, struct error *err);
void zone_free(struct zone *zone);
DEFINE_CLEANUP(struct zone, zone, zone_free);

/* Seconds east of UTC at the moment (seconds since 1970, within ZONE_MOMENT_MAX of it), and the
 * moment, later than that, from which it may be others (INT64_MAX: never). */
#define ZONE_MOMENT_MAX ((int64_t)1 << 48)
int32_t zone_offset_s(const struct zone *zone, int64_t moment_s, int64_t *ret_until_s);
