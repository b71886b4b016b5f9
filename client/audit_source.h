/* Which audit log is meant: the one that a path names, or that of the agent that runs. */
#pragma once

#include "audit/reader.h"
#include "client/command.h"

struct audit_source {
    char *path;
    bool is_live; /* asked of the agent; then: */
    struct audit_link
        live;      /* a record that is on disk, as the agent has it; sequence 0: none yet */
    char *failure; /* why it cannot write now; "": it can */
};

/* By the operand, else the agent is asked for its folder. */
int audit_source_find(const struct arguments *arguments, struct audit_source *ret_source,
                      struct error *err);
void audit_source_clear(struct audit_source *source);

/* "SEQUENCE:HASH" */
int audit_link_parse(const char *text, struct audit_link *ret_link, struct error *err);
