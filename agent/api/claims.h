/* JSON as google.protobuf.Struct. */
#pragma once

#include <google/protobuf/struct.pb-c.h>
#include <jansson.h>

#include "lib/base/error.h"

enum { CLAIMS_DEPTH_MAX = 16 };

/* claims: a JSON object; deeper nesting than CLAIMS_DEPTH_MAX is InvalidArgument. Free with
 * google__protobuf__struct__free_unpacked(…, NULL). */
int claims_to_struct(const json_t *claims, Google__Protobuf__Struct **ret_struct,
                     struct error *err);
