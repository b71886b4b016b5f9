#include "lib/base/memory.h"
#include "pkcs11/token/generation.h"

int token_anchors_new(struct bytes certificates, struct token_anchors **ret_anchors,
                      struct error *err)
{
    _cleanup_(token_anchors_cleanup) struct token_anchors *anchors = NEW(struct token_anchors);
    atomic_init(&anchors->references, 1);
    if (authorities_read(&anchors->authorities, certificates, ANCHORS_MAX, &object_class_anchor,
                         err) < 0) {
        return error_prepend(err, "preparing the token objects of a trust bundle");
    }
    *ret_anchors = take_ptr(anchors);
    return 0;
}

struct token_anchors *token_anchors_ref(struct token_anchors *anchors)
{
    (void)atomic_fetch_add_explicit(&anchors->references, 1, memory_order_relaxed);
    return anchors;
}

void token_anchors_unref(struct token_anchors *anchors)
{
    if (atomic_fetch_sub(&anchors->references, 1) != 1) {
        return;
    }
    authorities_clear(&anchors->authorities);
    free(anchors);
}
