#include "agent/api/claims.h"

#include "lib/base/memory.h"

/* All of a tree is allocated piece by piece, as protobuf-c's own free function expects. */

static int fill_value(const json_t *json, unsigned depth, Google__Protobuf__Value *value,
                      struct error *err);

static int fill_struct(const json_t *object, unsigned depth, Google__Protobuf__Struct *message,
                       struct error *err)
{
    const char *key = NULL;
    json_t *item = NULL;
    message->fields =
        memory_new_array(json_object_size(object), sizeof(Google__Protobuf__Struct__FieldsEntry *));
    json_object_foreach((json_t *)object, key, item)
    {
        Google__Protobuf__Struct__FieldsEntry *entry = NEW(Google__Protobuf__Struct__FieldsEntry);
        google__protobuf__struct__fields_entry__init(entry);
        message->fields[message->n_fields++] = entry;
        entry->key = memory_copy_text(key);
        entry->value = NEW(Google__Protobuf__Value);
        google__protobuf__value__init(entry->value);
        TRY(fill_value(item, depth, entry->value, err));
    }
    return 0;
}

static int fill_list(const json_t *array, unsigned depth, Google__Protobuf__ListValue *message,
                     struct error *err)
{
    size_t i = 0;
    json_t *item = NULL;
    message->values = memory_new_array(json_array_size(array), sizeof(Google__Protobuf__Value *));
    json_array_foreach(array, i, item)
    {
        Google__Protobuf__Value *value = NEW(Google__Protobuf__Value);
        google__protobuf__value__init(value);
        message->values[message->n_values++] = value;
        TRY(fill_value(item, depth, value, err));
    }
    return 0;
}

static int fill_object(const json_t *json, unsigned depth, Google__Protobuf__Value *value,
                       struct error *err)
{
    value->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE;
    value->struct_value = NEW(Google__Protobuf__Struct);
    google__protobuf__struct__init(value->struct_value);
    return fill_struct(json, depth, value->struct_value, err);
}

static int fill_array(const json_t *json, unsigned depth, Google__Protobuf__Value *value,
                      struct error *err)
{
    value->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE;
    value->list_value = NEW(Google__Protobuf__ListValue);
    google__protobuf__list_value__init(value->list_value);
    return fill_list(json, depth, value->list_value, err);
}

static int fill_value(const json_t *json, unsigned depth, Google__Protobuf__Value *value,
                      struct error *err)
{
    if (depth >= CLAIMS_DEPTH_MAX) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "the token's claims are nested deeper than %d levels", CLAIMS_DEPTH_MAX);
    }
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        return fill_object(json, depth + 1, value, err);
    case JSON_ARRAY:
        return fill_array(json, depth + 1, value, err);
    case JSON_STRING:
        value->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE;
        value->string_value = memory_copy_text(json_string_value(json));
        return 0;
    case JSON_INTEGER:
    case JSON_REAL:
        value->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE;
        value->number_value = json_number_value(json);
        return 0;
    case JSON_TRUE:
    case JSON_FALSE:
        value->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_BOOL_VALUE;
        value->bool_value = json_is_true(json);
        return 0;
    case JSON_NULL:
        break;
    }
    value->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_NULL_VALUE;
    value->null_value = GOOGLE__PROTOBUF__NULL_VALUE__NULL_VALUE;
    return 0;
}

int claims_to_struct(const json_t *claims, Google__Protobuf__Struct **ret_struct, struct error *err)
{
    Google__Protobuf__Struct *message = NEW(Google__Protobuf__Struct);
    google__protobuf__struct__init(message);
    if (fill_struct(claims, 0, message, err) < 0) {
        google__protobuf__struct__free_unpacked(message, NULL);
        return -1;
    }
    *ret_struct = message;
    return 0;
}
