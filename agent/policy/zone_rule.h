/* The footer of a zone's file: what goes on for ever after its last transition, as the variable TZ
 * of POSIX with the extensions of RFC 8536 3.3.1. Immutable once read; every thread. */
#pragma once

#include <stdbool.h>

#include "lib/base/bytes.h"

/* A day of each year and the second of it, which may lie on days around. */
struct zone_rule_day {
    enum {
        ZONE_RULE_JULIAN, /* Jn: 1 to 365, February 29 is never counted */
        ZONE_RULE_DAY,    /* n: 0 to 365 */
        ZONE_RULE_WEEKDAY /* Mm.w.d */
    } kind;
    int32_t day; /* of ZONE_RULE_WEEKDAY: 0 is Sunday */
    int32_t month, week;
    int32_t time_s;
};

struct zone_rule {
    int32_t standard_s, daylight_s; /* east of UTC */
    bool has_daylight;
    struct zone_rule_day starts, ends; /* of daylight saving time, by the clock before each */
};

/* DataLoss: it is none, with what was expected. */
int zone_rule_parse(struct bytes text, struct zone_rule *ret_rule, struct error *err);
/* As zone_offset_s. */
int32_t zone_rule_offset_s(const struct zone_rule *rule, int64_t moment_s, int64_t *ret_until_s);
