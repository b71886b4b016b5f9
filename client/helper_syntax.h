/* The syntax of the helper's configuration, that of signetd.conf: KEY = VALUE, KEY = {A, B} and
 * BLOCK "title" { ... }, all of which libconfuse reads too. libconfuse itself skips characters that
 * it does not know, accepts blocks that are never closed and miscounts lines, so it would need a
 * scanner as long as this before it. */
#pragma once

#include "lib/base/bytes.h"

struct helper_syntax {
    void *state;
    int (*open)(void *state, const char *block, const char *title, struct error *err);
    /* index counts the items of a list; 0 for a value alone. */
    int (*value)(void *state, const char *key, size_t index, const char *value, struct error *err);
    int (*close)(void *state, struct error *err);
};

/* Reads the text and tells the handler, whose failures end it. Errors begin "NAME:LINE: ". */
int helper_syntax_read(struct bytes text, const char *name, const struct helper_syntax *handler,
                       struct error *err);
