/* The embedded issuer's entries: from the admin API and the configuration, across restarts. */
#include "tests/unit/issuer/fixture.h"

static const char spiffe_id[] = "spiffe://example.org/a";

static struct entry *add(struct fixture *fixture, const char *id, const char *selector)
{
    struct fixture_answer answer = fixture_add(fixture, fixture_entry(id, selector));
    if (answer.is_failed) {
        fail_msg("%s", answer.failure.text);
    }
    return fixture_find(fixture, id);
}

static void test_entries(void **state)
{
    struct fixture *fixture = *state;
    struct error failure;
    fixture_open(fixture);
    const struct entry *entry = add(fixture, spiffe_id, "unix:uid:1");
    _cleanup_(free_cleanup) char *id = memory_copy_text(entry->id);
    assert_int_equal(strlen(id), 36);
    /* The same again is refused and says which one it is. */
    struct fixture_answer answer = fixture_add(fixture, fixture_entry(spiffe_id, "unix:uid:1"));
    assert_true(answer.is_failed);
    assert_int_equal(answer.failure.code, ERROR_ALREADY_EXISTS);
    assert_non_null(strstr(answer.failure.text, id));
    /* Other selectors make another entry. */
    assert_false(fixture_add(fixture, fixture_entry(spiffe_id, "unix:uid:2")).is_failed);
    answer = fixture_add(fixture, fixture_entry("spiffe://other.org/a", "unix:uid:1"));
    assert_int_equal(answer.failure.code, ERROR_INVALID_ARGUMENT);
    /* Configured ones. */
    struct entry *configured[] = {fixture_entry("spiffe://example.org/c", "unix:uid:3"),
                                  fixture_entry("spiffe://example.org/d", "unix:uid:3")};
    const struct issuer_operations *operations = fixture->issuer->operations;
    assert_int_equal(operations->entries_configure(fixture->issuer, configured, 2, &failure), 0);
    assert_int_equal(fixture->entry_count, 4);
    const struct entry *c = fixture_find(fixture, "spiffe://example.org/c");
    assert_true(c->is_configured);
    answer = fixture_remove_entry(fixture, c->id);
    assert_int_equal(answer.failure.code, ERROR_FAILED_PRECONDITION);
    assert_non_null(strstr(answer.failure.text, "signetd.conf"));
    answer = fixture_remove_entry(fixture, "no-such-id");
    assert_int_equal(answer.failure.code, ERROR_NOT_FOUND);
    answer = fixture_remove_entry(fixture, id);
    assert_false(answer.is_failed);
    assert_string_equal(answer.id, id);
    assert_int_equal(fixture->entry_count, 3);
    answer = fixture_remove_entry(fixture, id);
    assert_int_equal(answer.failure.code, ERROR_NOT_FOUND);
    /* A restart knows the added one, and of the configured ones what the configuration says. */
    fixture_reopen(fixture);
    assert_int_equal(fixture->entry_count, 1);
    entry_unref(configured[0]);
    entry_unref(configured[1]);
}

static void test_configure(void **state)
{
    struct fixture *fixture = *state;
    struct error failure;
    fixture->now_s = 1800000000;
    fixture_open(fixture);
    const struct issuer_operations *operations = fixture->issuer->operations;
    struct entry *entries[] = {fixture_entry("spiffe://example.org/a", "unix:uid:1"),
                               fixture_entry("spiffe://example.org/b", "unix:uid:1"),
                               fixture_entry("spiffe://example.org/c", "unix:uid:1")};
    assert_int_equal(operations->entries_configure(fixture->issuer, entries, 2, &failure), 0);
    assert_int_equal(fixture->entry_sets, 2);
    /* The same again changes nothing. */
    fixture->now_s += 100;
    assert_int_equal(operations->entries_configure(fixture->issuer, entries, 2, &failure), 0);
    assert_int_equal(fixture->entry_sets, 2);
    /* A changed one keeps its id and date; one is new, one gone. */
    entries[1]->x509_svid_ttl_s = 60;
    assert_int_equal(operations->entries_configure(fixture->issuer, entries + 1, 2, &failure), 0);
    assert_int_equal(fixture->entry_sets, 4);
    assert_int_equal(fixture->entry_removals, 1);
    const struct entry *b = fixture_find(fixture, "spiffe://example.org/b");
    const struct entry *c = fixture_find(fixture, "spiffe://example.org/c");
    assert_int_equal(b->revision, 2);
    assert_int_equal(b->x509_svid_ttl_s, 60);
    assert_int_equal(b->created_at_s, 1800000000);
    assert_int_equal(c->created_at_s, 1800000100);
    /* All or nothing: one bad, or one twice, and nothing has changed. */
    struct entry *bad[] = {entries[0], fixture_entry("spiffe://example.org/d", "unix:uid:")};
    assert_int_equal(operations->entries_configure(fixture->issuer, bad, 2, &failure), -1);
    assert_int_equal(failure.code, ERROR_INVALID_ARGUMENT);
    struct entry *twice[] = {entries[0], entries[1], entries[0]};
    assert_int_equal(operations->entries_configure(fixture->issuer, twice, 3, &failure), -1);
    assert_int_equal(failure.code, ERROR_ALREADY_EXISTS);
    assert_non_null(strstr(failure.text, "spiffe://example.org/a"));
    assert_int_equal(fixture->entry_sets, 4);
    assert_int_equal(fixture->entry_removals, 1);
    /* Dates outlive a restart, here configured before the start as the agent does. */
    operations->entry_seen(fixture->issuer, b);
    fixture_close(fixture);
    fixture->now_s += 100;
    assert_int_equal(fixture_try_open(fixture, &failure), 0);
    assert_int_equal(operations->entries_configure(fixture->issuer, entries, 3, &failure), 0);
    fixture_start(fixture);
    assert_int_equal(fixture_find(fixture, "spiffe://example.org/a")->created_at_s, 1800000200);
    assert_int_equal(fixture_find(fixture, "spiffe://example.org/b")->created_at_s, 1800000000);
    assert_int_equal(fixture_find(fixture, "spiffe://example.org/c")->created_at_s, 1800000100);
    assert_true(fixture_find(fixture, "spiffe://example.org/b")->was_seen);
    assert_false(fixture_find(fixture, "spiffe://example.org/c")->was_seen);
    fixture_close(fixture);
    assert_int_equal(fixture_query(fixture, "SELECT count(*) FROM configured_entry"), 3);
    for (size_t i = 0; i < ARRAY_SIZE(entries); i++) {
        entry_unref(entries[i]);
    }
    entry_unref(bad[1]);
}

/* An entry that was added and is then written into the configuration is one entry, not two. */
static void test_adoption(void **state)
{
    struct fixture *fixture = *state;
    struct error failure;
    fixture->now_s = 1800000000;
    fixture_open(fixture);
    const struct entry *added = add(fixture, spiffe_id, "unix:uid:1");
    fixture->issuer->operations->entry_seen(fixture->issuer, added);
    fixture->now_s += 100;
    struct entry *entry = fixture_entry(spiffe_id, "unix:uid:1");
    assert_int_equal(
        fixture->issuer->operations->entries_configure(fixture->issuer, &entry, 1, &failure), 0);
    assert_int_equal(fixture->entry_count, 1);
    const struct entry *configured = fixture_find(fixture, spiffe_id);
    assert_true(configured->is_configured);
    assert_true(configured->was_seen);
    assert_int_equal(configured->created_at_s, 1800000000);
    fixture_close(fixture);
    assert_int_equal(fixture_query(fixture, "SELECT count(*) FROM entry"), 0);
    assert_int_equal(fixture_query(fixture, "SELECT created_at FROM configured_entry"), 1800000000);
    assert_int_equal(fixture_query(fixture, "SELECT was_seen FROM configured_entry"), 1);
    entry_unref(entry);
}

static void test_seen(void **state)
{
    struct fixture *fixture = *state;
    fixture_open(fixture);
    const struct entry *entry = add(fixture, spiffe_id, "unix:uid:1");
    (void)add(fixture, "spiffe://example.org/b", "unix:uid:1");
    assert_false(entry->was_seen);
    fixture->issuer->operations->entry_seen(fixture->issuer, entry);
    fixture->issuer->operations->entry_seen(fixture->issuer, entry);
    fixture_reopen(fixture);
    assert_true(fixture_find(fixture, spiffe_id)->was_seen);
    assert_false(fixture_find(fixture, "spiffe://example.org/b")->was_seen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_entries, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_configure, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_adoption, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_seen, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
