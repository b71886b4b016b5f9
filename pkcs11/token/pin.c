#include <stdlib.h>
#include <string.h>

#include "lib/base/memory.h"
#include "pkcs11/token/generation.h"

/* Generations with distinct labels. */
struct choice {
    struct token_generation **generations;
    size_t count;
};

static int compare_labels(const void *a, const void *b)
{
    struct token_generation *const *first = a;
    struct token_generation *const *second = b;
    struct bytes left = generation_label(*first);
    struct bytes right = generation_label(*second);
    int order = memcmp(left.data, right.data, MIN(left.size, right.size));
    return order != 0 ? order : (left.size > right.size) - (left.size < right.size);
}

static struct choice new_choice(size_t most)
{
    return (struct choice){memory_new_array(most + 1, sizeof(struct token_generation *)), 0};
}

static void add(struct choice *choice, struct token_generation *generation)
{
    choice->generations[choice->count++] = generation;
}

static struct choice copy_sorted(const struct choice *choice)
{
    struct choice copy = new_choice(choice->count);
    for (size_t i = 0; i < choice->count; i++) {
        add(&copy, choice->generations[i]);
    }
    qsort(copy.generations, copy.count, sizeof(struct token_generation *), compare_labels);
    return copy;
}

/* The one with the same label in a sorted choice, or NULL. */
static struct token_generation *find_label(const struct choice *sorted,
                                           struct token_generation *generation)
{
    struct token_generation **found = bsearch(&generation, sorted->generations, sorted->count,
                                              sizeof(struct token_generation *), compare_labels);
    return found ? *found : NULL;
}

/* What pinned lists and current still has, listed or not; of what is over the successor shows. */
static void choose_pinned(struct choice *listed, const struct token_view *current,
                          const struct token_view *pinned, int64_t now_s)
{
    for (size_t i = 0; i < pinned->listed_count; i++) {
        const struct token_object *key =
            view_find(current, generation_private_key(pinned->generations[i])->handle);
        if (key && !generation_is_over(key->generation, now_s)) {
            add(listed, key->generation);
        }
    }
}

/* Identities that are new since. */
static void choose_new(struct choice *listed, const struct token_view *current)
{
    struct choice sorted = copy_sorted(listed);
    for (size_t i = 0; i < current->listed_count; i++) {
        if (!find_label(&sorted, current->generations[i])) {
            add(listed, current->generations[i]);
        }
    }
    free(sorted.generations);
}

static void choose_others(struct choice *retired, const struct choice *listed,
                          const struct token_view *current)
{
    struct choice sorted = copy_sorted(listed);
    for (size_t i = 0; i < current->generation_count; i++) {
        if (find_label(&sorted, current->generations[i]) != current->generations[i]) {
            add(retired, current->generations[i]);
        }
    }
    free(sorted.generations);
}

struct token_view *view_pin(struct token_view *current, const struct token_view *pinned,
                            int64_t now_s)
{
    struct choice listed = new_choice(pinned->listed_count + current->listed_count);
    struct choice retired = new_choice(current->generation_count);
    choose_pinned(&listed, current, pinned, now_s);
    choose_new(&listed, current);
    choose_others(&retired, &listed, current);
    struct token_view *view = token_view_new(listed.generations, listed.count, retired.generations,
                                             retired.count, current->anchors);
    free(listed.generations);
    free(retired.generations);
    return view;
}
