/* The first look at a configuration's text. libconfuse skips characters that it does not know,
 * accepts a block that is never closed, replaces a variable that is not set by nothing, and
 * miscounts lines after comments; so it only gets text that has none of these. Every thread. */
#pragma once

#include "lib/base/bytes.h"

struct config_scan {
    struct buffer text;    /* with its NUL; each line where it was, comments gone */
    unsigned *block_lines; /* of the opening brace of each block, in their order */
    size_t block_count;
    unsigned pin_line; /* the latest line with a key called pin: nothing of it is ever repeated */
};

/* name is the file's, for error texts, which begin "NAME:LINE: ". */
int config_scan(struct bytes text, const char *name, struct config_scan *ret_scan,
                struct error *err);
/* Frees what it holds. Also for _cleanup_. */
void config_scan_clear(struct config_scan *scan);
