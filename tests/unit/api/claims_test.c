#include "tests/unit/cmocka_all.h"

#include <string.h>

#include "agent/api/claims.h"
#include "lib/base/memory.h"

static const Google__Protobuf__Value *find(const Google__Protobuf__Struct *message, const char *key)
{
    for (size_t i = 0; i < message->n_fields; i++) {
        if (strcmp(message->fields[i]->key, key) == 0) {
            return message->fields[i]->value;
        }
    }
    fail_msg("%s is missing", key);
    return NULL;
}

static Google__Protobuf__Struct *convert(const char *text)
{
    struct error error;
    Google__Protobuf__Struct *message = NULL;
    json_t *json = json_loads(text, 0, NULL);
    assert_non_null(json);
    assert_int_equal(claims_to_struct(json, &message, &error), 0);
    json_decref(json);
    return message;
}

static void every_type_arrives(void **state)
{
    (void)state;
    Google__Protobuf__Struct *message =
        convert("{\"aud\":[\"a\",\"b\"],\"exp\":1700000000,\"half\":0.5,\"ok\":true,\"no\":false,"
                "\"none\":null,\"in\":{\"x\":\"y\"}}");
    assert_int_equal(message->n_fields, 7);
    const Google__Protobuf__Value *audience = find(message, "aud");
    assert_int_equal(audience->kind_case, GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE);
    assert_int_equal(audience->list_value->n_values, 2);
    assert_string_equal(audience->list_value->values[1]->string_value, "b");
    assert_true(find(message, "exp")->number_value == 1700000000.0);
    assert_true(find(message, "half")->number_value == 0.5);
    assert_true(find(message, "ok")->bool_value);
    assert_int_equal(find(message, "no")->kind_case, GOOGLE__PROTOBUF__VALUE__KIND_BOOL_VALUE);
    assert_false(find(message, "no")->bool_value);
    assert_int_equal(find(message, "none")->kind_case, GOOGLE__PROTOBUF__VALUE__KIND_NULL_VALUE);
    assert_string_equal(find(find(message, "in")->struct_value, "x")->string_value, "y");
    google__protobuf__struct__free_unpacked(message, NULL);
}

static void it_survives_the_wire(void **state)
{
    (void)state;
    Google__Protobuf__Struct *message = convert("{\"none\":null,\"no\":false,\"l\":[],\"o\":{}}");
    size_t size = google__protobuf__struct__get_packed_size(message);
    _cleanup_(free_cleanup) uint8_t *packed = memory_new(size);
    assert_int_equal(google__protobuf__struct__pack(message, packed), size);
    google__protobuf__struct__free_unpacked(message, NULL);
    message = google__protobuf__struct__unpack(NULL, size, packed);
    assert_non_null(message);
    assert_int_equal(find(message, "none")->kind_case, GOOGLE__PROTOBUF__VALUE__KIND_NULL_VALUE);
    assert_int_equal(find(message, "no")->kind_case, GOOGLE__PROTOBUF__VALUE__KIND_BOOL_VALUE);
    assert_int_equal(find(message, "l")->kind_case, GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE);
    google__protobuf__struct__free_unpacked(message, NULL);
}

/* {"a":[[[...]]]} with that many brackets. */
static json_t *nested(size_t depth)
{
    json_t *inner = json_array();
    for (size_t i = 1; i < depth; i++) {
        json_t *outer = json_array();
        json_array_append_new(outer, inner);
        inner = outer;
    }
    return json_pack("{s:o}", "a", inner);
}

static void nesting_is_bounded(void **state)
{
    (void)state;
    static const struct {
        size_t depth;
        int result;
    } cases[] = {{1, 0}, {CLAIMS_DEPTH_MAX, 0}, {CLAIMS_DEPTH_MAX + 1, -1}, {1000, -1}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct error error = {0};
        Google__Protobuf__Struct *message = NULL;
        json_t *json = nested(cases[i].depth);
        assert_int_equal(claims_to_struct(json, &message, &error), cases[i].result);
        json_decref(json);
        if (cases[i].result == 0) {
            google__protobuf__struct__free_unpacked(message, NULL);
        } else {
            assert_int_equal(error.code, ERROR_INVALID_ARGUMENT);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_arrives),
        cmocka_unit_test(it_survives_the_wire),
        cmocka_unit_test(nesting_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
