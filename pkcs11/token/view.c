#include <stdlib.h>
#include <string.h>

#include "lib/base/memory.h"
#include "pkcs11/token/generation.h"

/* An object and its place in the order in which searches find it. */
struct found {
    const struct token_object *object;
    size_t place;
};

static int compare_places(const void *a, const void *b)
{
    const struct found *left = a;
    const struct found *right = b;
    return (left->place > right->place) - (left->place < right->place);
}

static int compare_handles(const void *a, const void *b)
{
    const struct found *left = a;
    const struct found *right = b;
    CK_OBJECT_HANDLE first = left->object->handle;
    CK_OBJECT_HANDLE second = right->object->handle;
    return first != second ? (first > second) - (first < second) : compare_places(a, b);
}

struct collection {
    struct found *found;
    size_t count;
};

static void collect(struct collection *collection, const struct token_object *object)
{
    collection->found[collection->count] = (struct found){object, collection->count};
    collection->count++;
}

static void collect_own(struct collection *collection, const struct token_view *view, size_t from,
                        size_t to)
{
    for (size_t i = from; i < to; i++) {
        for (size_t j = 0; j < GENERATION_OBJECTS; j++) {
            collect(collection, &view->generations[i]->objects[j]);
        }
    }
}

static void collect_authorities(struct collection *collection,
                                const struct authorities *authorities)
{
    for (size_t i = 0; i < authorities->count; i++) {
        collect(collection, &authorities->items[i]->object);
    }
}

static void collect_intermediates(struct collection *collection, const struct token_view *view,
                                  size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        collect_authorities(collection, &view->generations[i]->intermediates);
    }
}

static size_t count_all(const struct token_view *view)
{
    size_t count = view->anchors ? view->anchors->authorities.count : 0;
    for (size_t i = 0; i < view->generation_count; i++) {
        count += GENERATION_OBJECTS + view->generations[i]->intermediates.count;
    }
    return count;
}

/* The identities' own objects come first, since some programs take the first certificate that they
 * find; an anchor comes before the same certificate as an intermediate. Returns how many of them
 * are listed. */
static size_t collect_all(struct collection *collection, const struct token_view *view)
{
    collect_own(collection, view, 0, view->listed_count);
    if (view->anchors) {
        collect_authorities(collection, &view->anchors->authorities);
    }
    collect_intermediates(collection, view, 0, view->listed_count);
    size_t listed = collection->count;
    collect_own(collection, view, view->listed_count, view->generation_count);
    collect_intermediates(collection, view, view->listed_count, view->generation_count);
    return listed;
}

/* Of those with one handle only the first stays. */
static void drop_repeated(struct collection *collection)
{
    size_t kept = 0;
    for (size_t i = 0; i < collection->count; i++) {
        if (kept == 0 ||
            collection->found[kept - 1].object->handle != collection->found[i].object->handle) {
            collection->found[kept++] = collection->found[i];
        }
    }
    collection->count = kept;
}

static const struct token_object **copy_objects(const struct collection *collection)
{
    const struct token_object **objects =
        memory_new_array(collection->count + 1, sizeof(struct token_object *));
    for (size_t i = 0; i < collection->count; i++) {
        objects[i] = collection->found[i].object;
    }
    return objects;
}

static void index_objects(struct token_view *view)
{
    struct collection all = {memory_new_array(count_all(view) + 1, sizeof(struct found)), 0};
    size_t listed = collect_all(&all, view);
    qsort(all.found, all.count, sizeof(struct found), compare_handles);
    drop_repeated(&all);
    view->by_handle = copy_objects(&all);
    qsort(all.found, all.count, sizeof(struct found), compare_places);
    view->objects = copy_objects(&all);
    view->object_count = all.count;
    while (view->listed_object_count < all.count &&
           all.found[view->listed_object_count].place < listed) {
        view->listed_object_count++;
    }
    free(all.found);
}

struct token_view *token_view_new(struct token_generation *const *listed, size_t listed_count,
                                  struct token_generation *const *retired, size_t retired_count,
                                  struct token_anchors *anchors)
{
    struct token_view *view = NEW(struct token_view);
    atomic_init(&view->references, 1);
    view->generations =
        memory_new_array(listed_count + retired_count + 1, sizeof(struct token_generation *));
    for (size_t i = 0; i < listed_count; i++) {
        view->generations[i] = token_generation_ref(listed[i]);
    }
    for (size_t i = 0; i < retired_count; i++) {
        view->generations[listed_count + i] = token_generation_ref(retired[i]);
    }
    view->listed_count = listed_count;
    view->generation_count = listed_count + retired_count;
    view->anchors = anchors ? token_anchors_ref(anchors) : NULL;
    index_objects(view);
    return view;
}

struct token_view *token_view_ref(struct token_view *view)
{
    (void)atomic_fetch_add_explicit(&view->references, 1, memory_order_relaxed);
    return view;
}

void token_view_unref(struct token_view *view)
{
    if (atomic_fetch_sub(&view->references, 1) != 1) {
        return;
    }
    for (size_t i = 0; i < view->generation_count; i++) {
        token_generation_unref(view->generations[i]);
    }
    if (view->anchors) {
        token_anchors_unref(view->anchors);
    }
    free(view->generations);
    free(view->objects);
    free(view->by_handle);
    free(view);
}

static int compare_with_handle(const void *key, const void *item)
{
    CK_OBJECT_HANDLE handle = *(const CK_OBJECT_HANDLE *)key;
    const struct token_object *const *object = item;
    return (handle > (*object)->handle) - (handle < (*object)->handle);
}

const struct token_object *view_find(const struct token_view *view, CK_OBJECT_HANDLE handle)
{
    const struct token_object **found =
        view ? bsearch(&handle, view->by_handle, view->object_count, sizeof(struct token_object *),
                       compare_with_handle)
             : NULL;
    return found ? *found : NULL;
}
