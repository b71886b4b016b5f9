/* What generations, anchors and views are made of. For the files of this folder. */
#pragma once

#include <stdatomic.h>

#include "pkcs11/token/object.h"
#include "pkcs11/token/view.h"

enum {
    GENERATION_INTERMEDIATES_MAX = 12,
    ANCHORS_MAX = 256,
    GENERATION_LABEL_MAX_BYTES = 2048, /* a SPIFFE ID is at most that long */
};

/* In the order of their numbers. */
enum { GENERATION_OBJECTS = 3 };

struct token_generation {
    atomic_size_t references;
    struct key *key;
    int64_t expires_at_s;
    uint64_t tag;       /* for guards */
    struct facts facts; /* of key and leaf together */
    struct token_object objects[GENERATION_OBJECTS];
    struct authorities intermediates;
};

const struct token_object *generation_private_key(const struct token_generation *generation);
struct bytes generation_label(const struct token_generation *generation);

DEFINE_CLEANUP(struct token_generation, token_generation, token_generation_unref);

struct token_anchors {
    atomic_size_t references;
    struct authorities authorities;
};

DEFINE_CLEANUP(struct token_anchors, token_anchors, token_anchors_unref);

struct token_view {
    atomic_size_t references;
    struct token_generation **generations; /* listed ones first */
    size_t listed_count, generation_count;
    struct token_anchors *anchors; /* or NULL */
    /* Every object once: in the order in which searches find them, those that are listed first; and
     * in the order of handles. */
    const struct token_object **objects, **by_handle;
    size_t listed_object_count, object_count;
};

/* NULL: the view (which may be NULL) does not have it. */
const struct token_object *view_find(const struct token_view *view, CK_OBJECT_HANDLE handle);

/* The current view, but as far as it still has a generation that pinned lists and that is served at
 * now_s, that one is listed instead of its successor. A new reference. */
struct token_view *view_pin(struct token_view *current, const struct token_view *pinned,
                            int64_t now_s);
/* Whether its certificate has ended. */
bool generation_is_over(const struct token_generation *generation, int64_t now_s);
