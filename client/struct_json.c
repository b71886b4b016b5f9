#include "client/struct_json.h"

enum { DEPTH_MAX = 32 };

static json_t *value_json(const Google__Protobuf__Value *value, unsigned depth);

static json_t *object_json(const Google__Protobuf__Struct *message, unsigned depth)
{
    json_t *object = json_object();
    for (size_t i = 0; i < message->n_fields; i++) {
        const Google__Protobuf__Struct__FieldsEntry *field = message->fields[i];
        json_t *value = field->value ? value_json(field->value, depth) : json_null();
        if (!value || json_object_set_new(object, field->key, value) < 0) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

static json_t *list_json(const Google__Protobuf__ListValue *message, unsigned depth)
{
    json_t *list = json_array();
    for (size_t i = 0; i < message->n_values; i++) {
        json_t *value = value_json(message->values[i], depth);
        if (!value || json_array_append_new(list, value) < 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* Struct has only floating point numbers; times and the like are shown as the integers that they
 * were. */
static json_t *number_json(double number)
{
    const double exact_limit = 9007199254740992.0;
    if (number >= -exact_limit && number <= exact_limit && (double)(json_int_t)number == number) {
        return json_integer((json_int_t)number);
    }
    /* JSON has no word for those; NULL would look like an error in the message. */
    json_t *real = json_real(number);
    return real ? real : json_null();
}

static json_t *value_json(const Google__Protobuf__Value *value, unsigned depth)
{
    if (depth >= DEPTH_MAX) {
        return NULL;
    }
    switch (value->kind_case) {
    case GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE:
        return number_json(value->number_value);
    case GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE:
        return json_string(value->string_value);
    case GOOGLE__PROTOBUF__VALUE__KIND_BOOL_VALUE:
        return json_boolean(value->bool_value);
    case GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE:
        return object_json(value->struct_value, depth + 1);
    case GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE:
        return list_json(value->list_value, depth + 1);
    default:
        return json_null();
    }
}

int struct_json(const Google__Protobuf__Struct *message, json_t **ret_object, struct error *err)
{
    json_t *object = message ? object_json(message, 0) : json_object();
    if (!object) {
        return error_set(
            err, ERROR_DATA_LOSS,
            "reading the claims in the agent's answer: nested too deeply or not UTF-8");
    }
    *ret_object = object;
    return 0;
}
