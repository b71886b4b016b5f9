#include "agent/api/encoding.h"

size_t identity_set_count(const struct identity_set *set, identity_filter *is_wanted)
{
    size_t count = 0;
    for (size_t i = 0; i < set->count; i++) {
        count += is_wanted(set->svids[i]) ? 1 : 0;
    }
    return count;
}

/* The next chosen identity at or after *position. */
static const struct svid_x509 *next(const struct identity_set *set, size_t *position,
                                    identity_filter *is_wanted)
{
    while (*position < set->count) {
        const struct svid_x509 *svid = set->svids[(*position)++];
        if (is_wanted(svid)) {
            return svid;
        }
    }
    return NULL;
}

static bool says_the_same(const struct identity_set *a, const struct identity_set *b,
                          identity_filter *is_wanted)
{
    size_t in_a = 0;
    size_t in_b = 0;
    const struct svid_x509 *of_a = NULL;
    const struct svid_x509 *of_b = NULL;
    do {
        of_a = next(a, &in_a, is_wanted);
        of_b = next(b, &in_b, is_wanted);
        if (of_a != of_b) {
            return false;
        }
    } while (of_a);
    return a->bundle == b->bundle ||
           bytes_is_equal(buffer_bytes(&a->bundle->x509_der), buffer_bytes(&b->bundle->x509_der));
}

static void free_message(void *encoding)
{
    rpc_message_unref(encoding);
}

bool identity_set_reuse(struct identity_set *set, const struct identity_set *before, size_t slot,
                        identity_filter *is_wanted)
{
    if (set->encodings[slot]) {
        return true;
    }
    if (!before || !before->encodings[slot] || !says_the_same(set, before, is_wanted)) {
        return false;
    }
    identity_set_keep(set, slot, rpc_message_ref(before->encodings[slot]));
    return true;
}

void identity_set_keep(struct identity_set *set, size_t slot, struct rpc_message *message)
{
    set->encodings[slot] = message;
    set->free_encoding = free_message;
}
