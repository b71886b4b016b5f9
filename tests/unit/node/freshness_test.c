#include "agent/node/freshness.h"

#include "tests/unit/node/place.h"

enum { INDEX = 0x01800007 };

struct count {
    struct freshness freshness;
    struct node_memory memory;
    struct verdict verdict;
    char *path;
};

static void count_init(struct count *count, const struct place *place)
{
    *count = (struct count){.path = file_join(place->data_dir, "node.json")};
    count->freshness =
        (struct freshness){.keystore = place->keystore, .index = INDEX, .path = count->path};
}

/* As another process of the agent that reads the folder. */
static void restart(struct count *count)
{
    struct error err;
    node_memory_clear(&count->memory);
    count->freshness.stepped_ms = 0;
    if (node_memory_read(count->path, &count->memory, &err) < 0) {
        assert_int_equal(err.code, ERROR_NOT_FOUND);
    }
}

static void count_clear(struct count *count)
{
    node_memory_clear(&count->memory);
    verdict_clear(&count->verdict);
    free(count->path);
}

static const struct finding *judge(struct count *count)
{
    verdict_clear(&count->verdict);
    freshness_judge(&count->freshness, &count->memory, &count->verdict);
    return &count->verdict.claims[CLAIM_DATA_FRESH];
}

static void assert_fresh(struct count *count)
{
    const struct finding *finding = judge(count);
    if (finding->result != CLAIM_PROVEN) {
        fail_msg("%s", finding->text);
    }
}

static void assert_rolled_back(struct count *count, const char *why)
{
    const struct finding *finding = judge(count);
    assert_int_equal(finding->result, CLAIM_REFUTED);
    assert_int_equal(finding->reason, VERDICT_DATA_ROLLED_BACK);
    assert_true(count->verdict.required & 1U << CLAIM_DATA_FRESH);
    if (!strstr(finding->text, why) || !strstr(finding->text, "tpm2_nvundefine -C o 0x01800007")) {
        fail_msg("not \"%s\": %s", why, finding->text);
    }
}

/* What the file has. */
static uint64_t written(const struct count *count)
{
    struct node_memory memory = {0};
    struct error err;
    assert_int_equal(node_memory_read(count->path, &memory, &err), 0);
    uint64_t counter = memory.counter;
    assert_true(memory.has_counter);
    node_memory_clear(&memory);
    return counter;
}

static void write_number(struct count *count, uint64_t number)
{
    struct error err;
    node_memory_clear(&count->memory);
    count->memory.has_counter = true;
    count->memory.counter = number;
    count->memory.counter_index = INDEX;
    assert_int_equal(node_memory_write(count->path, &count->memory, &err), 0);
    restart(count);
}

static void it_goes_up_at_each_start(void **state)
{
    struct place *place = *state;
    struct count count;
    count_init(&count, place);
    restart(&count);
    assert_fresh(&count);
    uint64_t first = written(&count);
    assert_fresh(&count);
    assert_fresh(&count);
    assert_int_equal(written(&count), first); /* once a day */
    restart(&count);
    assert_fresh(&count);
    assert_int_equal(written(&count), first + 1);
    count.freshness.stepped_ms -= 24ULL * 3600 * 1000; /* a day later */
    assert_fresh(&count);
    assert_int_equal(written(&count), first + 2);
    count_clear(&count);
}

static void a_crash_between_is_no_rollback(void **state)
{
    struct place *place = *state;
    struct count count;
    count_init(&count, place);
    restart(&count);
    assert_fresh(&count);
    uint64_t first = written(&count);
    write_number(&count, first + 1); /* the number was written, the counter not stepped */
    assert_fresh(&count);
    assert_int_equal(written(&count), first + 1);
    restart(&count);
    assert_fresh(&count);
    assert_int_equal(written(&count), first + 2);
    count_clear(&count);
}

static void other_numbers_are_refused(void **state)
{
    static const struct {
        int64_t difference;
        const char *why;
    } cases[] = {{-1, "older"}, {-2, "older"}, {2, "counter"}, {1000, "counter"}};
    struct place *place = *state;
    struct count count;
    count_init(&count, place);
    restart(&count);
    assert_fresh(&count);
    uint64_t first = written(&count);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        write_number(&count, first + (uint64_t)cases[i].difference);
        assert_rolled_back(&count, cases[i].why);
        /* It stays so, whatever number the file gets. */
        restart(&count);
        assert_rolled_back(&count, cases[i].why);
        count.memory.counter = first;
        assert_rolled_back(&count, cases[i].why);
    }
    write_number(&count, first);
    assert_fresh(&count);
    count_clear(&count);
}

/* A crash while the counter was made, and before anybody knew. */
static void a_crash_at_the_first_start(void **state)
{
    struct place *place = *state;
    struct count count;
    struct error err;
    count_init(&count, place);
    restart(&count);
    count.freshness.path = "/nonexistent/node.json"; /* no disk: nothing is made */
    assert_int_equal(judge(&count)->result, CLAIM_NOT_PROVEN);
    const char *const read_public[] = {"tpm2_nvreadpublic", "0x01800007", NULL};
    assert_int_equal(setenv("TPM2TOOLS_TCTI", place->swtpm.tcti, 1), 0);
    assert_int_not_equal(swtpm_run(read_public), 0);
    count.freshness.path = count.path;
    assert_fresh(&count);

    node_memory_clear(&count.memory);
    count.memory.making_index = INDEX;
    node_boot_id(count.memory.making_boot_id);
    assert_int_equal(node_memory_write(count.path, &count.memory, &err), 0);
    restart(&count);
    assert_fresh(&count);
    restart(&count);
    assert_int_equal(count.memory.making_index, 0);
    assert_fresh(&count);
    count_clear(&count);
}

/* Anybody who puts an old folder back can say in it that the counter was being made. */
static void a_mark_of_another_boot_is_not_honoured(void **state)
{
    static const char *const boot_ids[] = {"", "of another boot"};
    struct place *place = *state;
    struct count count;
    struct error err;
    count_init(&count, place);
    restart(&count);
    assert_fresh(&count);
    for (size_t i = 0; i < ARRAY_SIZE(boot_ids); i++) {
        node_memory_clear(&count.memory);
        count.memory.making_index = INDEX;
        memcpy(count.memory.making_boot_id, boot_ids[i], strlen(boot_ids[i]) + 1);
        assert_int_equal(node_memory_write(count.path, &count.memory, &err), 0);
        restart(&count);
        assert_rolled_back(&count, "does not know of it");
    }
    count_clear(&count);
}

/* The settings name another index. */
static void another_counter_is_a_new_one(void **state)
{
    struct place *place = *state;
    struct count count;
    count_init(&count, place);
    restart(&count);
    assert_fresh(&count);
    restart(&count);
    count.freshness.index = INDEX + 1;
    assert_fresh(&count);
    restart(&count);
    assert_fresh(&count);
    /* What is of the first one now is old. */
    restart(&count);
    count.freshness.index = INDEX;
    assert_rolled_back(&count, "does not know of it");
    count_clear(&count);
}

/* The folder that knows of no counter, and the counter that is gone. */
static void what_is_missing_is_told(void **state)
{
    const char *const undefine[] = {"tpm2_nvundefine", "-C", "o", "0x01800007", NULL};
    struct place *place = *state;
    struct count count;
    count_init(&count, place);
    restart(&count);
    assert_fresh(&count);
    assert_int_equal(unlink(count.path), 0);
    restart(&count);
    assert_rolled_back(&count, "does not know of it");
    restart(&count);
    assert_rolled_back(&count, "does not know of it");

    /* As the owner does who means it. */
    assert_int_equal(unlink(count.path), 0);
    place_tool(place, undefine);
    restart(&count);
    assert_fresh(&count);
    place_tool(place, undefine);
    restart(&count);
    assert_rolled_back(&count, "is gone");
    count_clear(&count);
}

static void without_an_index_nothing_is_claimed(void **state)
{
    struct place *place = *state;
    struct count count;
    count_init(&count, place);
    count.freshness.index = 0;
    assert_int_equal(judge(&count)->result, CLAIM_NOT_JUDGED);
    assert_int_equal(count.verdict.required, 0);
    assert_int_equal(access(count.path, F_OK), -1);
    count_clear(&count);
}

/* A number that is not on the disk was not counted: else the next start would find it missing. */
static void a_disk_that_fails_does_not_count(void **state)
{
    struct place *place = *state;
    struct count count;
    count_init(&count, place);
    restart(&count);
    assert_fresh(&count);
    uint64_t first = written(&count);
    count.freshness.stepped_ms = 0;
    count.freshness.path = "/nonexistent/node.json";
    assert_fresh(&count);
    assert_int_equal(count.memory.counter, first);
    count.freshness.path = count.path;
    assert_fresh(&count);
    assert_int_equal(written(&count), first + 1);
    restart(&count);
    assert_fresh(&count);
    count_clear(&count);
}

static void a_tpm_that_is_away_proves_nothing(void **state)
{
    struct place *place = *state;
    struct count count;
    count_init(&count, place);
    restart(&count);
    assert_fresh(&count);
    swtpm_kill(&place->swtpm, SIGKILL);
    const struct finding *finding = judge(&count);
    assert_int_equal(finding->result, CLAIM_NOT_PROVEN);
    assert_int_equal(finding->reason, VERDICT_TPM_UNREACHABLE);
    count_clear(&count);
}

#define PLACE_TEST(test) cmocka_unit_test_setup_teardown(test, place_set_up, place_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE_TEST(it_goes_up_at_each_start),
        PLACE_TEST(a_crash_between_is_no_rollback),
        PLACE_TEST(other_numbers_are_refused),
        PLACE_TEST(a_crash_at_the_first_start),
        PLACE_TEST(a_mark_of_another_boot_is_not_honoured),
        PLACE_TEST(another_counter_is_a_new_one),
        PLACE_TEST(what_is_missing_is_told),
        PLACE_TEST(without_an_index_nothing_is_claimed),
        PLACE_TEST(a_disk_that_fails_does_not_count),
        PLACE_TEST(a_tpm_that_is_away_proves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
