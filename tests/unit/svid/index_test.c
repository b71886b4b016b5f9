#include "tests/unit/cmocka_all.h"

#include <stdio.h>
#include <string.h>

#include "agent/svid/index.h"
#include "lib/base/memory.h"

struct thing {
    struct index_item item;
    struct text_list needed;
    int number;
};

struct found {
    int sum;
    size_t count;
};

static void make_list(const char *text, struct text_list *list)
{
    char *copy = memory_copy_text(text);
    char *rest = copy;
    for (char *item = strtok_r(rest, " ", &rest); item; item = strtok_r(NULL, " ", &rest)) {
        text_list_add(list, item);
    }
    free(copy);
    text_list_sort_unique(list);
}

static void visit(struct index_item *item, void *user)
{
    struct found *found = user;
    found->sum += container_of(item, struct thing, item)->number;
    found->count++;
}

static void count_watch(struct index_watch *watch, void *user)
{
    (void)watch;
    ++*(size_t *)user;
}

static const char *const needed[] = {
    "unix:uid:1",                       /* 1 */
    "unix:uid:1 unix:path:/a",          /* 2 */
    "unix:path:/a",                     /* 4 */
    "unix:gid:1 unix:group:x",          /* 8 */
    "unix:uid:1 unix:gid:1 unix:user:u" /* 16 */
};

static void matches_subsets_only(void **state)
{
    static const struct {
        const char *present;
        int sum;
    } table[] = {
        {"", 0},
        {"unix:uid:1", 1},
        {"unix:uid:11", 0},
        {"unix:uid:1 unix:path:/a", 7},
        {"unix:uid:2 unix:path:/a", 4},
        {"unix:gid:1", 0},
        {"unix:gid:1 unix:group:x", 8},
        {"unix:gid:1 unix:uid:1 unix:user:u unix:path:/b", 17},
        {"unix:gid:1 unix:group:x unix:path:/a unix:uid:1 unix:user:u", 31},
    };
    (void)state;
    struct index index = {0};
    struct thing things[ARRAY_SIZE(needed)] = {0};
    for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
        things[i].number = 1 << i;
        make_list(needed[i], &things[i].needed);
        index_add(&index, &things[i].item, &things[i].needed);
    }
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        struct text_list present = {0};
        struct found found = {0};
        struct index_watch watch;
        make_list(table[i].present, &present);
        index_match(&index, &present, visit, &found);
        assert_int_equal(found.sum, table[i].sum);
        /* The other way about says the same. */
        index_watch_add(&index, &watch, &present);
        for (size_t j = 0; j < ARRAY_SIZE(needed); j++) {
            size_t watchers = 0;
            index_watchers(&index, &things[j].needed, count_watch, &watchers);
            assert_int_equal(watchers, (table[i].sum >> j) & 1);
        }
        index_watch_remove(&index, &watch);
        text_list_clear(&present);
    }
    for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
        index_remove(&index, &things[i].item);
        text_list_clear(&things[i].needed);
    }
    assert_null(index.buckets); /* nothing is left behind */
}

static void spreads_over_what_tells_entries_apart(void **state)
{
    enum { COUNT = 2000 };
    static const struct {
        const char *shared, *own; /* what all have, and the start of what each has for itself */
    } shapes[] = {
        {"unix:uid:0", "unix:path:/bin/"},           /* the own one is of the rarer kind */
        {"unix:path:/usr/bin/python3", "unix:uid:"}, /* the shared one is */
        {"unix:path:/x unix:user:root", "unix:gid:"},
    };
    (void)state;
    for (size_t shape = 0; shape < ARRAY_SIZE(shapes); shape++) {
        struct index index = {0};
        struct thing *things = memory_new_array(COUNT, sizeof(*things));
        size_t in_first_bucket = 0;
        for (int i = 0; i < COUNT; i++) {
            char *text = text_format("%s %s%d", shapes[shape].shared, shapes[shape].own, i);
            make_list(text, &things[i].needed);
            free(text);
            index_add(&index, &things[i].item, &things[i].needed);
            in_first_bucket += things[i].item.bucket == things[0].item.bucket;
        }
        assert_in_range(in_first_bucket, 1, 3);
        for (int i = 0; i < COUNT; i++) {
            index_remove(&index, &things[i].item);
            text_list_clear(&things[i].needed);
        }
        free(things);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_subsets_only),
        cmocka_unit_test(spreads_over_what_tells_entries_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
