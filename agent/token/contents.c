/* From SVIDs to PKCS#11 objects, each made once and shared by all who have it. */
#include <string.h>

#include "agent/spiffe_id.h"
#include "agent/token/state.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

static struct token_anchors *anchors_of(struct tokens *tokens, struct bundle *bundle)
{
    struct error err;
    if (!bundle || bundle == tokens->anchors_bundle) {
        return bundle ? tokens->anchors : NULL;
    }
    contents_clear(tokens);
    tokens->anchors_bundle = bundle_ref(bundle);
    if (token_anchors_new(buffer_bytes(&bundle->x509_der), &tokens->anchors, &err) < 0) {
        log_error("the trust bundle is not on the PKCS#11 tokens: %s", err.text);
    }
    return tokens->anchors;
}

/* NULL for keys that are delivered, which no token has. */
static struct token_generation *generation_of(struct svid_x509 *svid)
{
    struct error err;
    if (!svid->key || svid->generation) {
        return svid->generation;
    }
    const char *path = spiffe_id_path(svid->entry->spiffe_id);
    const struct token_generation_config config = {
        .label = *path == '/' ? path + 1 : path,
        .key = svid->key,
        .chain = buffer_bytes(&svid->chain),
        .expires_at_s = svid->expires_at_s,
        .tag = access_tag(svid),
    };
    if (token_generation_new(&config, &svid->generation, &err) < 0) {
        log_error("an X.509-SVID is not on the PKCS#11 tokens spiffe_id=%s serial=%s: %s",
                  svid->entry->spiffe_id, svid->serial, err.text);
    }
    return svid->generation;
}

struct generations {
    struct token_generation **items;
    size_t count;
};

static void generations_add(struct generations *generations, struct svid_x509 *svid)
{
    struct token_generation *generation = generation_of(svid);
    if (generation) {
        generations->items[generations->count++] = generation;
    }
}

/* Two entries may give a process the same SPIFFE ID; a label has one generation. */
static bool is_label_taken(const struct identity_set *set, size_t index)
{
    for (size_t i = 0; i < index; i++) {
        if (set->svids[i]->key &&
            strcmp(set->svids[i]->entry->spiffe_id, set->svids[index]->entry->spiffe_id) == 0) {
            return true;
        }
    }
    return false;
}

static struct token_view *make(struct tokens *tokens, const struct identity_set *set)
{
    struct generations listed = {0};
    struct generations retired = {0};
    size_t older = 0;
    for (size_t i = 0; i < set->count; i++) {
        older += 1 + svid_x509_previous_count(set->svids[i]);
    }
    listed.items = memory_new_array(set->count, sizeof(struct token_generation *));
    retired.items = memory_new_array(older, sizeof(struct token_generation *));
    for (size_t i = 0; i < set->count; i++) {
        struct svid_x509 *svid = set->svids[i];
        generations_add(is_label_taken(set, i) ? &retired : &listed, svid);
        while ((svid = svid->previous) != NULL) {
            generations_add(&retired, svid);
        }
    }
    struct token_view *view = token_view_new(listed.items, listed.count, retired.items,
                                             retired.count, anchors_of(tokens, set->bundle));
    free((void *)listed.items);
    free((void *)retired.items);
    return view;
}

struct token_view *contents_of_set(struct tokens *tokens, struct identity_set *set)
{
    if (!set->token_view) {
        set->token_view = make(tokens, set);
    }
    return set->token_view;
}

struct token_view *contents_of_nobody(void)
{
    return token_view_new(NULL, 0, NULL, 0, NULL);
}

void contents_clear(struct tokens *tokens)
{
    if (tokens->anchors) {
        token_anchors_unref(take_ptr(tokens->anchors));
    }
    if (tokens->anchors_bundle) {
        bundle_unref(take_ptr(tokens->anchors_bundle));
    }
}
