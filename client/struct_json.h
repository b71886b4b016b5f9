/* google.protobuf.Struct as JSON. */
#pragma once

#include <google/protobuf/struct.pb-c.h>
#include <jansson.h>

#include "lib/base/error.h"

/* message NULL stands for an empty one. DataLoss where it is nested too deeply or is not UTF-8. The
 * caller decrefs. */
int struct_json(const Google__Protobuf__Struct *message, json_t **ret_object, struct error *err);
