#include "tests/unit/cmocka_all.h"

#include "client/output.h"
#include "client/struct_json.h"
#include "lib/base/clock.h"
#include "lib/base/memory.h"

static void spans_have_two_units_at_most(void **state)
{
    (void)state;
    static const struct {
        int64_t seconds;
        const char *text;
    } cases[] = {
        {0, "0s"},       {59, "59s"},        {60, "1m"},    {61, "1m 1s"},    {3600, "1h"},
        {3661, "1h 1m"}, {86399, "23h 59m"}, {86400, "1d"}, {90061, "1d 1h"}, {86460, "1d"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(free_cleanup) char *text = output_span(cases[i].seconds);
        assert_string_equal(text, cases[i].text);
    }
}

static void what_is_over_says_so(void **state)
{
    (void)state;
    int64_t now_s = clock_now_s();
    _cleanup_(free_cleanup) char *past = output_time_left(now_s - 3600);
    _cleanup_(free_cleanup) char *future = output_time_left(now_s + 7230);
    assert_string_equal(past, "expired 1h ago");
    assert_string_equal(future, "2h left");
}

static void times_are_utc(void **state)
{
    (void)state;
    _cleanup_(free_cleanup) char *text = output_time(1700000000);
    _cleanup_(free_cleanup) char *json = output_time_json(1700000000);
    assert_string_equal(text, "2023-11-14 22:13:20 UTC");
    assert_string_equal(json, "2023-11-14T22:13:20Z");
}

static void whole_numbers_stay_whole(void **state)
{
    (void)state;
    Google__Protobuf__Value whole = GOOGLE__PROTOBUF__VALUE__INIT;
    Google__Protobuf__Value half = GOOGLE__PROTOBUF__VALUE__INIT;
    whole.kind_case = GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE;
    whole.number_value = 1700000000;
    half.kind_case = GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE;
    half.number_value = 0.5;
    Google__Protobuf__Struct__FieldsEntry fields[] = {GOOGLE__PROTOBUF__STRUCT__FIELDS_ENTRY__INIT,
                                                      GOOGLE__PROTOBUF__STRUCT__FIELDS_ENTRY__INIT};
    Google__Protobuf__Struct__FieldsEntry *pointers[] = {&fields[0], &fields[1]};
    fields[0].key = (char *)"exp";
    fields[0].value = &whole;
    fields[1].key = (char *)"half";
    fields[1].value = &half;
    Google__Protobuf__Struct message = GOOGLE__PROTOBUF__STRUCT__INIT;
    message.fields = pointers;
    message.n_fields = 2;
    struct error error;
    json_t *json = NULL;
    assert_int_equal(struct_json(&message, &json, &error), 0);
    _cleanup_(free_cleanup) char *text = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(text, "{\"exp\":1700000000,\"half\":0.5}");
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spans_have_two_units_at_most),
        cmocka_unit_test(what_is_over_says_so),
        cmocka_unit_test(times_are_utc),
        cmocka_unit_test(whole_numbers_stay_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
