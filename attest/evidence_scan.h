/* Reads the JSON of evidence and challenges: objects of known members, strings of base64 or hex,
 * whole numbers. A pull reader of its own, since evidence comes from anybody, is up to 32 MiB and
 * judged a thousand times a second: nothing is built up or copied but the bytes themselves. It
 * reads a part of JSON (RFC 8259): escapes in strings are refused, for no member needs one. Every
 * thread. */
#pragma once

#include "lib/base/text.h"

struct scan {
    struct reader reader;
    const char *where; /* the member that is read, for error texts */
    struct error *err;
};

struct scan_member {
    const char *name;
    int (*read)(struct scan *scan, const struct scan_member *member, void *field);
    size_t offset; /* of the field in what holds the members */
    bool is_required;
    size_t minimum, maximum;           /* bytes that a string stands for */
    const struct scan_member *members; /* of an object; the last one has no name */
};

/* One object and nothing behind it. InvalidArgument names the member. */
int scan_document(struct bytes json, const struct scan_member *members, void *target,
                  struct error *err);

/* Readers for the table. The field: void: an object in the same struct. */
int scan_object(struct scan *scan, const struct scan_member *member, void *field);
/* struct buffer. */
int scan_base64(struct scan *scan, const struct scan_member *member, void *field);
/* int64_t, not negative. */
int scan_seconds(struct scan *scan, const struct scan_member *member, void *field);
/* The version: must be member->maximum. No field. */
int scan_version(struct scan *scan, const struct scan_member *member, void *field);

/* Steps for readers of one's own. */
int scan_refuse(struct scan *scan, const char *why);
int scan_text(struct scan *scan, struct bytes *ret_text);
/* Before each item of '[' or '{', which bracket opens (*is_first: true the first time): 1 there is
 * one, 0 the end, -1. */
int scan_next(struct scan *scan, char bracket, bool *is_first);
/* The name before an object's value. */
int scan_name(struct scan *scan, struct bytes *ret_name);
