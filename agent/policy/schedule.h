/* Times of day and week in a time zone: when a rule lets an identity be used. Immutable; every
 * thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/error.h"

struct schedule;

/* text: ranges separated by ", ", each "DAYS HH:MM-HH:MM" or "HH:MM-HH:MM" (every day); DAYS are
 * days and ranges of them as "Mon-Fri" or "Sat,Sun". An end before its start goes on into the next
 * day; 24:00 is allowed as an end. zone: a name of the time zone database, such as "Europe/Berlin",
 * or "UTC". InvalidArgument with what was expected. The zone's file is read once, from
 * /usr/share/zoneinfo. */
int schedule_new(const char *text, const char *zone, struct schedule **ret_schedule,
                 struct error *err);
struct schedule *schedule_ref(struct schedule *schedule);
void schedule_unref(struct schedule *schedule);
/* Whether the moment (seconds since 1970) lies in it, and the next moment at which that changes
 * (INT64_MAX: never). Through changes to and from daylight saving time it is the clock on the wall
 * that counts. */
bool schedule_has(const struct schedule *schedule, int64_t now_s, int64_t *ret_until_s);
/* As written, with the zone. Borrowed. */
const char *schedule_text(const struct schedule *schedule);
/* The moment by the schedule's clock on the wall, as "Mon 2026-11-23 08:00". */
enum { SCHEDULE_MOMENT_BYTES = 40 };
void schedule_format(const struct schedule *schedule, int64_t moment_s,
                     char ret_text[SCHEDULE_MOMENT_BYTES]);
