/* Names of users and groups. The system's name service may be slow or remote, so it is asked on a
 * thread of the pool, and its answers are kept for a while. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum name_kind { NAME_KIND_USER, NAME_KIND_GROUP };

struct name_question {
    enum name_kind kind;
    uint32_t number;
    /* The answer: */
    char *name; /* NULL: it has none, or the service failed. The caller frees it */
    bool has_failed;
};

/* Asks the name service. Any thread; blocks. */
void name_ask(struct name_question *question);

/* Answers that were had. Loop thread. */
struct names;

struct names *names_new(void);
void names_free(struct names *names);
/* Whether there is an answer that is not too old; then *ret_name is the name, or NULL for none,
 * borrowed until names_store. */
bool names_find(struct names *names, enum name_kind kind, uint32_t number, const char **ret_name);
/* Keeps the answer for a minute, a failure for some seconds; takes the name. */
void names_store(struct names *names, struct name_question *question);
