#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "attest/ek_cache.h"

static const struct ek_validity validity = {100, 200};

struct key {
    uint8_t data[EK_CACHE_KEY_BYTES];
};

static struct key key_of(uint32_t number)
{
    struct key key = {0};
    memcpy(key.data, &number, sizeof(number));
    return key;
}

static bool has(struct ek_cache *cache, uint32_t number, int64_t now_s)
{
    return ek_cache_has(cache, key_of(number).data, now_s);
}

static void put(struct ek_cache *cache, uint32_t number)
{
    ek_cache_put(cache, key_of(number).data, &validity);
}

static void knows_times(void **state)
{
    struct ek_cache *cache = ek_cache_new();
    (void)state;
    assert_false(has(cache, 1, 150));
    put(cache, 1);
    assert_true(has(cache, 1, 100));
    assert_true(has(cache, 1, 199));
    assert_false(has(cache, 1, 99));
    assert_false(has(cache, 1, 200));
    assert_false(has(cache, 2, 150));
    ek_cache_put(cache, key_of(1).data, &(struct ek_validity){300, 400});
    assert_false(has(cache, 1, 150));
    assert_true(has(cache, 1, 350));
    ek_cache_free(cache);
}

static void forgets_what_is_not_asked_for(void **state)
{
    struct ek_cache *cache = ek_cache_new();
    (void)state;
    for (uint32_t i = 0; i < EK_CACHE_MAX; i++) {
        put(cache, i);
    }
    assert_true(has(cache, 0, 150));
    put(cache, EK_CACHE_MAX);
    assert_true(has(cache, 0, 150));
    assert_false(has(cache, 1, 150));
    assert_true(has(cache, 2, 150));
    for (uint32_t i = 0; i < 3 * EK_CACHE_MAX; i++) {
        put(cache, 10000 + i);
    }
    size_t kept = 0;
    for (uint32_t i = 0; i < 3 * EK_CACHE_MAX; i++) {
        kept += has(cache, 10000 + i, 150);
    }
    assert_int_equal(kept, EK_CACHE_MAX);
    ek_cache_free(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_times),
        cmocka_unit_test(forgets_what_is_not_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
