/* Files of the time zone database: whatever is accepted answers for any moment, with a next change
 * that lies ahead. A text without the magic number is read as a footer. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

#include "agent/policy/zone.h"
#include "agent/policy/zone_rule.h"

static const int64_t moments_s[] = {-ZONE_MOMENT_MAX, -10000000000, -1,         0,
                                    951782400,        1795262400,   4102444800, ZONE_MOMENT_MAX};

static void check(int64_t moment_s, int32_t offset_s, int64_t until_s)
{
    const int32_t days_s = 8 * 86400;
    if (until_s <= moment_s || offset_s < -days_s || offset_s > days_s) {
        abort();
    }
}

static void parse_footer(struct bytes text)
{
    struct zone_rule rule;
    struct error err;
    if (zone_rule_parse(text, &rule, &err) < 0) {
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(moments_s); i++) {
        int64_t until_s;
        int32_t offset_s = zone_rule_offset_s(&rule, moments_s[i], &until_s);
        check(moments_s[i], offset_s, until_s);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(zone_cleanup) struct zone *zone = NULL;
    struct error err = {0};
    if (zone_parse((struct bytes){data, size}, &zone, &err) < 0) {
        if (err.code != ERROR_DATA_LOSS) {
            abort();
        }
        parse_footer((struct bytes){data, size});
        return 0;
    }
    for (size_t i = 0; i < ARRAY_SIZE(moments_s); i++) {
        int64_t until_s;
        int32_t offset_s = zone_offset_s(zone, moments_s[i], &until_s);
        check(moments_s[i], offset_s, until_s);
    }
    return 0;
}
