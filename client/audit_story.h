/* A record of the audit log in words. */
#pragma once

#include <jansson.h>

#include "lib/base/bytes.h"

/* Appends one line, or two: when, what happened to whom, and on which grounds. Printable, whatever
 * the record has. */
void audit_story(const json_t *record, struct buffer *ret_text);
