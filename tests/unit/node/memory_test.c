#include "agent/node/memory.h"

#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "tests/unit/cmocka_all.h"

#define EK "AAEC"
#define AK "AAsAAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHw"
#define ATTESTED                                                                                   \
    "\"attested\":{\"ek\":\"" EK "\",\"ak\":\"" AK "\",\"primary\":\"" AK "\",\"clock\":5,"        \
    "\"resets\":4294967295,\"restarts\":2,\"safe\":true,\"boot_id\":\"b\",\"attested_at\":7}"

static char path[] = "/tmp/signet-memory-XXXXXX";

static int set_up(void **state)
{
    (void)state;
    int descriptor = mkstemp(path);
    return descriptor < 0 ? -1 : close(descriptor);
}

static int tear_down(void **state)
{
    (void)state;
    return unlink(path);
}

static int read_text(const char *text, struct node_memory *ret_memory, struct error *err)
{
    assert_int_equal(file_write_atomic(path, bytes_of_text(text), 0600, err), 0);
    return node_memory_read(path, ret_memory, err);
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    struct error err = {0};
    struct node_memory memory = {0};
    struct node_memory copy = {0};
    assert_int_equal(
        read_text("{\"version\":1," ATTESTED
                  ",\"counter\":9,\"counter_index\":25165831,\"making_index\":25165832,"
                  "\"making_boot_id\":\"m\",\"rolled_back\":\"why\"}",
                  &memory, &err),
        0);
    assert_true(memory.is_known);
    assert_int_equal(memory.ek_public.size, 3);
    assert_int_equal(memory.ak_name.size, 34);
    assert_int_equal(memory.clock.clock, 5);
    assert_int_equal(memory.clock.resetCount, UINT32_MAX);
    assert_int_equal(memory.clock.restartCount, 2);
    assert_int_equal(memory.clock.safe, TPM2_YES);
    assert_string_equal(memory.boot_id, "b");
    assert_int_equal(memory.attested_at_s, 7);
    assert_true(memory.has_counter);
    assert_int_equal(memory.counter, 9);
    assert_string_equal(memory.rolled_back, "why");
    node_memory_copy(&copy, &memory);
    node_memory_clear(&memory);

    assert_int_equal(node_memory_write(path, &copy, &err), 0);
    assert_int_equal(node_memory_read(path, &memory, &err), 0);
    assert_memory_equal(memory.ak_name.data, copy.ak_name.data, copy.ak_name.size);
    assert_true(bytes_is_equal(buffer_bytes(&memory.primary), buffer_bytes(&copy.primary)));
    assert_memory_equal(&memory.clock, &copy.clock, sizeof(copy.clock));
    assert_int_equal(memory.counter, 9);
    assert_int_equal(memory.counter_index, 25165831);
    assert_int_equal(memory.making_index, 25165832);
    assert_string_equal(memory.making_boot_id, "m");
    assert_string_equal(memory.rolled_back, "why");
    node_memory_clear(&memory);
    node_memory_clear(&copy);
}

/* A number alone: a node that was never attested is counted too. */
static void parts_may_be_missing(void **state)
{
    (void)state;
    struct error err = {0};
    struct node_memory memory = {0};
    assert_int_equal(read_text("{\"version\":1,\"counter\":0}", &memory, &err), 0);
    assert_false(memory.is_known);
    assert_true(memory.has_counter);
    assert_null(memory.rolled_back);
    node_memory_clear(&memory);
    assert_int_equal(read_text("{\"version\":1,\"making_index\":1}", &memory, &err), 0);
    assert_string_equal(memory.making_boot_id, "");
    node_memory_clear(&memory);
    assert_int_equal(read_text("{\"version\":1," ATTESTED "}", &memory, &err), 0);
    assert_false(memory.has_counter);
    node_memory_clear(&memory);
}

static void damage_is_told(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "{",
        "[]",
        "{}",
        "{\"version\":2}",
        "{\"version\":1,\"version\":1}",
        "{\"version\":1,\"more\":1}",
        "{\"version\":1,\"counter\":\"1\"}",
        "{\"version\":1,\"rolled_back\":1}",
        "{\"version\":1,\"counter_index\":4294967296}",
        "{\"version\":1,\"making_index\":-1}",
        "{\"version\":1,\"making_index\":1,\"making_boot_id\":2}",
        "{\"version\":1,\"making_index\":1,\"making_boot_id\":"
        "\"0123456789012345678901234567890123456789012345678901234567890123\"}",
        "{\"version\":1,\"attested\":{}}",
        "{\"version\":1,\"attested\":[]}",
        "{\"version\":1," ATTESTED ",\"attested\":null}",
        "{\"version\":1,\"attested\":{\"ek\":\"\",\"ak\":\"" AK "\",\"primary\":\"" AK
        "\",\"clock\":5,\"resets\":1,\"restarts\":2,\"safe\":true,\"boot_id\":\"b\","
        "\"attested_at\":7}}",
        "{\"version\":1,\"attested\":{\"ek\":\"" EK "\",\"ak\":\"" AK AK "\",\"primary\":\"" AK
        "\",\"clock\":5,\"resets\":1,\"restarts\":2,\"safe\":true,\"boot_id\":\"b\","
        "\"attested_at\":7}}",
        "{\"version\":1,\"attested\":{\"ek\":\"" EK "\",\"ak\":\"" AK "\",\"primary\":\"" AK
        "\",\"clock\":5,\"resets\":4294967296,\"restarts\":2,\"safe\":true,\"boot_id\":\"b\","
        "\"attested_at\":7}}",
        "{\"version\":1,\"attested\":{\"ek\":\"" EK "\",\"ak\":\"" AK "\",\"primary\":\"" AK
        "\",\"clock\":-5,\"resets\":1,\"restarts\":2,\"safe\":true,\"boot_id\":\"b\","
        "\"attested_at\":7}}",
        "{\"version\":1,\"attested\":{\"ek\":\"" EK "\",\"ak\":\"" AK "\",\"primary\":\"" AK
        "\",\"clock\":5,\"resets\":1,\"restarts\":2,\"safe\":true,\"boot_id\":"
        "\"0123456789012345678901234567890123456789012345678901234567890123\",\"attested_at\":7}}",
    };
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct error err = {0};
        struct node_memory memory = {0};
        if (read_text(texts[i], &memory, &err) == 0) {
            fail_msg("accepted: %s", texts[i]);
        }
        assert_int_equal(err.code, ERROR_DATA_LOSS);
        assert_non_null(strstr(err.text, path));
        assert_false(memory.is_known);
    }
    struct error err = {0};
    struct node_memory memory = {0};
    assert_int_equal(node_memory_read("/nonexistent/node.json", &memory, &err), -1);
    assert_int_equal(err.code, ERROR_NOT_FOUND);
}

static void this_boot_has_an_id(void **state)
{
    (void)state;
    char first[NODE_BOOT_ID_BYTES];
    char second[NODE_BOOT_ID_BYTES];
    node_boot_id(first);
    node_boot_id(second);
    assert_int_equal(strlen(first), 36);
    assert_string_equal(first, second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(parts_may_be_missing),
        cmocka_unit_test(damage_is_told),
        cmocka_unit_test(this_boot_has_an_id),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
