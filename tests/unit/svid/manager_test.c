#include "tests/unit/svid/fixture.h"

#include <sys/mman.h>
#include <unistd.h>

static void tells_once_issued_and_shares_the_set(void **state)
{
    struct fixture *fixture = *state;
    struct watcher first;
    struct watcher second;
    fixture_add(fixture, "1", "a", "unix:uid:1");
    watcher_open(fixture, &first, "unix:uid:1 unix:gid:1");
    assert_int_equal(first.sets + first.failures, 0);
    FIXTURE_WAIT(fixture, first.sets == 1);
    watcher_assert(&first, "a");
    assert_int_equal(fixture->issuer.urgent_count, 1);
    const struct svid_x509 *svid = first.set->svids[0];
    assert_int_equal(svid->protection, KEY_PROTECTION_HARDWARE);
    assert_non_null(svid->key);
    assert_ptr_equal(key_keystore(svid->key), fixture->hardware);
    assert_memory_equal(svid->key_id, key_id(svid->key), KEY_ID_BYTES);
    assert_true(
        bytes_is_equal(key_public_der(svid->key), buffer_bytes(&fixture->issuer.last_public_key)));
    assert_ptr_equal(first.set->bundle, manager_bundle(fixture->manager));

    /* The second of the same kind, and one of another kind to whom the same applies. */
    watcher_open(fixture, &second, "unix:uid:1 unix:gid:1");
    assert_int_equal(second.sets, 1);
    assert_ptr_equal(second.set, first.set);
    watcher_close(&second);
    watcher_open(fixture, &second, "unix:uid:1 unix:gid:2");
    assert_int_equal(second.sets, 1);
    assert_ptr_equal(second.set, first.set);
    assert_int_equal(fixture->issuer.seen_count, 1);
    assert_int_equal(fixture->issuer.x509_issued, 1);
    watcher_close(&second);
    watcher_close(&first);

    /* It is kept for those who come again. */
    watcher_open(fixture, &second, "unix:uid:1 unix:gid:1");
    assert_int_equal(second.sets, 1);
    assert_int_equal(fixture->issuer.x509_issued, 1);
    watcher_close(&second);
}

static void nobody_gets_an_empty_set(void **state)
{
    struct fixture *fixture = *state;
    struct watcher watcher;
    fixture_add(fixture, "1", "a", "unix:uid:1 unix:gid:7");
    watcher_open(fixture, &watcher, "unix:uid:1");
    assert_int_equal(watcher.sets, 1);
    assert_int_equal(watcher.set->count, 0);
    /* An entry that does not apply changes nothing. */
    fixture_add(fixture, "2", "b", "unix:uid:2");
    fixture_settle(fixture);
    assert_int_equal(watcher.sets, 1);
    fixture_add(fixture, "3", "c", "unix:uid:1");
    FIXTURE_WAIT(fixture, watcher.sets == 2);
    watcher_assert(&watcher, "c");
    watcher_close(&watcher);
}

static void entries_come_change_and_go(void **state)
{
    struct fixture *fixture = *state;
    struct watcher watcher;
    fixture_add(fixture, "2", "b", "unix:uid:1");
    watcher_open(fixture, &watcher, "unix:path:/x unix:uid:1");
    FIXTURE_WAIT(fixture, watcher.sets == 1);
    fixture_add(fixture, "1", "a", "unix:uid:1");
    assert_int_equal(watcher.sets, 1); /* until it is issued */
    FIXTURE_WAIT(fixture, watcher.sets == 2);
    watcher_assert(&watcher, "a b");

    /* Gone in the same turn. */
    fixture_remove(fixture, "1");
    assert_int_equal(watcher.sets, 3);
    watcher_assert(&watcher, "b");

    /* Selectors that do not apply any more, and again do. */
    fixture_add(fixture, "2", "b", "unix:uid:9");
    assert_int_equal(watcher.sets, 4);
    assert_int_equal(watcher.set->count, 0);
    fixture_add(fixture, "2", "b", "unix:path:/x");
    FIXTURE_WAIT(fixture, watcher.sets == 5);
    watcher_assert(&watcher, "b");

    /* The last one. */
    fixture_remove(fixture, "2");
    assert_int_equal(watcher.sets, 6);
    assert_int_equal(watcher.set->count, 0);
    fixture_remove(fixture, "2");
    fixture_settle(fixture);
    assert_int_equal(watcher.sets, 6);
    watcher_close(&watcher);
}

static void an_entry_removed_while_issued_is_not_told(void **state)
{
    struct fixture *fixture = *state;
    struct watcher watcher;
    fixture->issuer.is_held = true;
    fixture_add(fixture, "1", "a", "unix:uid:1");
    watcher_open(fixture, &watcher, "unix:uid:1");
    FIXTURE_WAIT(fixture, fixture->issuer.x509_count == 1);
    fixture_remove(fixture, "1");
    assert_int_equal(watcher.sets, 1);
    assert_int_equal(watcher.set->count, 0);
    fixture->issuer.is_held = false;
    fake_wake(&fixture->issuer);
    FIXTURE_WAIT(fixture, issuances_count(&fixture->manager->issuances) == 0);
    assert_int_equal(watcher.sets, 1);
    watcher_close(&watcher);
}

static struct entry *changed_dns(struct entry *entry)
{
    text_list_add(&entry->dns_names, "a.example.org");
    return entry;
}

static struct entry *changed_ttl(struct entry *entry)
{
    entry->x509_svid_ttl_s = 77;
    return entry;
}

static struct entry *changed_hint(struct entry *entry)
{
    free(entry->hint);
    entry->hint = memory_copy_text("internal");
    return entry;
}

static struct entry *changed_seen(struct entry *entry)
{
    entry->was_seen = true;
    return entry;
}

static struct entry *changed_id(struct entry *entry)
{
    free(entry->spiffe_id);
    entry->spiffe_id = memory_copy_text("spiffe://example.org/other");
    return entry;
}

static void a_change_reissues_what_it_concerns(void **state)
{
    static const struct {
        struct entry *(*change)(struct entry *entry);
        unsigned sets, reissued, failures;
        const char *protection;
    } table[] = {
        {changed_dns, 2, 1, 0, "hardware"},  {changed_ttl, 2, 1, 0, "hardware"},
        {changed_hint, 1, 0, 0, "hardware"}, {changed_seen, 0, 0, 0, "hardware"},
        {changed_id, 1, 1, 1, "hardware"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        struct fixture *fixture = *state;
        struct watcher watcher;
        fixture_add(fixture, "1", "a", "unix:uid:1");
        watcher_open(fixture, &watcher, "unix:uid:1");
        FIXTURE_WAIT(fixture, watcher.sets == 1);
        size_t issued = fixture->issuer.x509_issued;
        fixture_set(fixture, table[i].change(fixture_entry(fixture, "1", "a", "unix:uid:1")));
        FIXTURE_WAIT(fixture, watcher.sets == 1 + table[i].sets);
        fixture_settle(fixture);
        assert_int_equal(watcher.sets, 1 + table[i].sets);
        assert_int_equal(watcher.failures, table[i].failures);
        assert_int_equal(fixture->issuer.x509_issued - issued, table[i].reissued);
        if (table[i].change == changed_hint) {
            assert_string_equal(watcher.set->svids[0]->entry->hint, "internal");
        }
        watcher_close(&watcher);
        fixture_remove(fixture, "1");
    }
}

static void hints_are_unique_among_a_callers_identities(void **state)
{
    static const struct {
        const char *id, *path, *hint;
        int64_t created_at_s;
    } entries[] = {
        {"1", "young", "x", 30}, {"2", "old", "x", 10}, {"3", "alike", "x", 10},
        {"4", "none", "", 5},    {"5", "none2", "", 4}, {"6", "other", "y", 50},
    };
    struct fixture *fixture = *state;
    struct watcher watcher;
    for (size_t i = 0; i < ARRAY_SIZE(entries); i++) {
        struct entry *entry = fixture_entry(fixture, entries[i].id, entries[i].path, "unix:uid:1");
        free(entry->hint);
        entry->hint = memory_copy_text(entries[i].hint);
        entry->created_at_s = entries[i].created_at_s;
        fixture_set(fixture, entry);
    }
    watcher_open(fixture, &watcher, "unix:uid:1");
    FIXTURE_WAIT(fixture, watcher.sets == 1);
    watcher_assert(&watcher, "old none none2 other");
    assert_int_equal(fixture->issuer.x509_issued, 4); /* nothing for what is hidden */
    /* Whoever kept the hint goes: the next takes it. */
    fixture_remove(fixture, "2");
    FIXTURE_WAIT(fixture, watcher.sets == 3);
    watcher_assert(&watcher, "alike none none2 other");
    fixture_remove(fixture, "3");
    FIXTURE_WAIT(fixture, watcher.sets == 5);
    watcher_assert(&watcher, "young none none2 other");
    watcher_close(&watcher);
}

static void rules_say_how_the_key_is_kept(void **state)
{
    static const struct {
        enum key_protection protection;
        enum key_type type;
        const char *keystore, *name;
        unsigned ttl_limit_s;
    } table[] = {
        {KEY_PROTECTION_HARDWARE, KEY_TYPE_EC_P384, NULL, "hardware", 0},
        {KEY_PROTECTION_HARDWARE, KEY_TYPE_EC_P256, "hsm", "hardware", 0},
        {KEY_PROTECTION_GUARDED, KEY_TYPE_EC_P256, NULL, "guarded", 0},
        {KEY_PROTECTION_GUARDED, KEY_TYPE_EC_P384, "memory", "guarded", 0},
        {KEY_PROTECTION_DELIVERED, KEY_TYPE_EC_P256, NULL, "delivered", 600},
        {KEY_PROTECTION_DELIVERED, KEY_TYPE_RSA_2048, NULL, "delivered", 600},
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        struct watcher watcher;
        manager_set_rules(fixture->manager,
                          fixture_rule("*", table[i].protection, table[i].type, table[i].keystore));
        fixture_add(fixture, "1", "a", "unix:uid:1");
        watcher_open(fixture, &watcher, "unix:uid:1");
        FIXTURE_WAIT(fixture, watcher.sets == 1);
        const struct svid_x509 *svid = watcher.set->svids[0];
        assert_int_equal(svid->protection, table[i].protection);
        assert_int_equal(svid->key_type, table[i].type);
        assert_int_equal(svid->issued_at_s, fixture_now_s());
        assert_string_equal(fixture->issuer.last_protection, table[i].name);
        assert_int_equal(fixture->issuer.last_ttl_limit_s, table[i].ttl_limit_s);
        bool is_delivered = table[i].protection == KEY_PROTECTION_DELIVERED;
        assert_true(is_delivered == (svid->key == NULL));
        assert_true(is_delivered == (svid->pkcs8.size > 0));
        if (svid->key) {
            assert_int_equal(key_type(svid->key), table[i].type);
            assert_memory_equal(svid->key_id, key_id(svid->key), KEY_ID_BYTES);
        } else {
            assert_int_equal(svid->expires_at_s, fixture_now_s() + 600);
        }
        watcher_close(&watcher);
        fixture_remove(fixture, "1");
    }
}

static void a_change_of_rules_takes_effect_at_once(void **state)
{
    static const struct {
        const char *what;
        enum key_protection protection;
        enum key_type type;
        const char *pattern, *keystore;
        bool is_told_at_once; /* before there is another */
        unsigned issued;
    } table[] = {
        {"the same again", KEY_PROTECTION_GUARDED, KEY_TYPE_EC_P256, "*", NULL, false, 0},
        {"another key type", KEY_PROTECTION_GUARDED, KEY_TYPE_EC_P384, "*", NULL, false, 1},
        {"less protection", KEY_PROTECTION_DELIVERED, KEY_TYPE_EC_P256, "*", NULL, false, 1},
        {"more protection", KEY_PROTECTION_HARDWARE, KEY_TYPE_EC_P256, "*", NULL, true, 1},
        {"no rule matches", KEY_PROTECTION_GUARDED, KEY_TYPE_EC_P256, "spiffe://example.org/other",
         NULL, true, 0},
        {"no such keystore", KEY_PROTECTION_HARDWARE, KEY_TYPE_EC_P256, "*", "tpm", true, 0},
        {"not hardware", KEY_PROTECTION_HARDWARE, KEY_TYPE_EC_P256, "*", "memory", true, 0},
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        struct watcher watcher;
        manager_set_rules(fixture->manager,
                          fixture_rule("*", KEY_PROTECTION_GUARDED, KEY_TYPE_EC_P256, NULL));
        fixture_add(fixture, "1", "a", "unix:uid:1");
        watcher_open(fixture, &watcher, "unix:uid:1");
        FIXTURE_WAIT(fixture, watcher.sets == 1);
        size_t issued = fixture->issuer.x509_issued;
        manager_set_rules(fixture->manager, fixture_rule(table[i].pattern, table[i].protection,
                                                         table[i].type, table[i].keystore));
        assert_int_equal(watcher.sets + watcher.failures, 1 + table[i].is_told_at_once);
        FIXTURE_WAIT(fixture, fixture->issuer.x509_issued == issued + table[i].issued);
        fixture_settle(fixture);
        if (table[i].issued > 0) {
            watcher_assert(&watcher, "a");
            assert_int_equal(watcher.set->svids[0]->protection, table[i].protection);
        } else if (table[i].is_told_at_once) {
            struct manager_counters counters;
            manager_counters(fixture->manager, &counters);
            assert_int_equal(counters.svids, 0);
            assert_int_equal(watcher.set->count, 0);
            assert_int_equal(watcher.failures, 0);
        }
        watcher_close(&watcher);
        fixture_remove(fixture, "1");
    }
}

static void delivered_bytes_go_with_the_last_reference(void **state)
{
    struct fixture *fixture = *state;
    struct watcher watcher;
    manager_set_rules(fixture->manager,
                      fixture_rule("*", KEY_PROTECTION_DELIVERED, KEY_TYPE_EC_P256, NULL));
    fixture_add(fixture, "1", "a", "unix:uid:1");
    watcher_open(fixture, &watcher, "unix:uid:1");
    FIXTURE_WAIT(fixture, watcher.sets == 1);
    struct svid_x509 *svid = svid_x509_ref(watcher.set->svids[0]);
    fixture_remove(fixture, "1");
    watcher_close(&watcher);
    fixture_settle(fixture);
    /* Nobody but this test has it. */
    assert_int_equal(svid->references, 1);
    assert_true(svid->pkcs8.size > 0);
    uintptr_t page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
    void *page = (void *)((uintptr_t)svid->pkcs8.data & ~(page_bytes - 1));
    unsigned char is_there;
    assert_int_equal(mincore(page, page_bytes, &is_there), 0);
    svid_x509_unref(svid);
    assert_int_equal(mincore(page, page_bytes, &is_there), -1); /* the page itself is gone */
}

static void known_workloads_find_theirs_issued_ahead(void **state)
{
    struct fixture *fixture = *state;
    struct watcher watcher;
    struct entry *entry = fixture_entry(fixture, "1", "a", "unix:uid:1");
    entry->was_seen = true;
    fixture_set(fixture, entry);
    FIXTURE_WAIT(fixture, fixture->issuer.x509_issued == 1);
    assert_int_equal(fixture->issuer.background_count, 1);
    watcher_open(fixture, &watcher, "unix:uid:1");
    assert_int_equal(watcher.sets, 1);
    assert_int_equal(fixture->issuer.seen_count, 0);
    watcher_close(&watcher);
}

static void a_workload_that_comes_hurries_what_is_under_way(void **state)
{
    struct fixture *fixture = *state;
    struct watcher watcher;
    struct entry *entry = fixture_entry(fixture, "1", "a", "unix:uid:1");
    entry->was_seen = true;
    fixture->issuer.is_held = true;
    fixture_set(fixture, entry);
    FIXTURE_WAIT(fixture, fixture->issuer.x509_count == 1);
    watcher_open(fixture, &watcher, "unix:uid:1");
    /* The issuer cannot be hurried: it is asked once more. */
    FIXTURE_WAIT(fixture, fixture->issuer.x509_count == 2);
    assert_int_equal(fixture->issuer.urgent_count, 1);
    fixture->issuer.is_held = false;
    fake_wake(&fixture->issuer);
    FIXTURE_WAIT(fixture, watcher.sets == 1);
    fixture_settle(fixture);
    assert_int_equal(watcher.sets, 1);
    watcher_close(&watcher);
}

static void ready_keys_spare_the_first_workload_the_wait(void **state)
{
    struct fixture *fixture = *state;
    struct watcher watcher;
    fixture_add(fixture, "1", "a", "unix:uid:1");
    FIXTURE_WAIT(fixture, key_pool_ready_count(fixture->manager->pool) == 2);
    atomic_store(&fake_hardware_fails, true);
    watcher_open(fixture, &watcher, "unix:uid:1");
    FIXTURE_WAIT(fixture, watcher.sets == 1);
    watcher_assert(&watcher, "a");
    watcher_close(&watcher);
}

static void a_new_bundle_is_told(void **state)
{
    struct fixture *fixture = *state;
    struct watcher watcher;
    struct watcher nobody;
    fixture_add(fixture, "1", "a", "unix:uid:1");
    watcher_open(fixture, &watcher, "unix:uid:1");
    watcher_open(fixture, &nobody, "unix:uid:2");
    FIXTURE_WAIT(fixture, watcher.sets == 1);
    struct bundle *bundle = fake_bundle(2);
    fixture->issuer.listener.bundle_changed(fixture->issuer.listener.user, bundle);
    bundle_unref(bundle);
    assert_int_equal(watcher.sets, 2);
    assert_int_equal(watcher.set->bundle->sequence, 2);
    assert_int_equal(nobody.sets, 1); /* nothing new to whom nothing applies */
    watcher_close(&nobody);
    watcher_close(&watcher);
}

static void a_callback_may_end_its_subscription(void **state)
{
    struct fixture *fixture = *state;
    struct watcher watchers[3];
    fixture_add(fixture, "1", "a", "unix:uid:1");
    for (size_t i = 0; i < ARRAY_SIZE(watchers); i++) {
        watcher_open(fixture, &watchers[i], "unix:uid:1");
        watchers[i].must_end = true;
    }
    FIXTURE_WAIT(fixture, watchers[2].sets == 1);
    struct manager_counters counters;
    manager_counters(fixture->manager, &counters);
    assert_int_equal(counters.subscriptions, 0);
    for (size_t i = 0; i < ARRAY_SIZE(watchers); i++) {
        assert_int_equal(watchers[i].sets, 1);
        watcher_close(&watchers[i]);
    }
}

static void what_can_be_issued_is_told_without_the_rest(void **state)
{
    struct fixture *fixture = *state;
    struct watcher watcher;
    fixture_add(fixture, "1", "a", "unix:uid:1");
    watcher_open(fixture, &watcher, "unix:uid:1");
    FIXTURE_WAIT(fixture, watcher.sets == 1);
    fixture->issuer.failure = "no more";
    fixture_add(fixture, "2", "b", "unix:uid:1");
    fixture_settle(fixture);
    assert_int_equal(watcher.sets, 1); /* nothing new, but no loss either */
    assert_int_equal(watcher.failures, 0);
    watcher_close(&watcher);
    watcher_open(fixture, &watcher, "unix:uid:1");
    assert_int_equal(watcher.sets, 1);
    watcher_assert(&watcher, "a");
    fixture->issuer.failure = NULL;
    fixture_pass(fixture, 70000);
    FIXTURE_WAIT(fixture, watcher.sets == 2);
    watcher_assert(&watcher, "a b");
    watcher_close(&watcher);
}

static struct rules *half_in_hardware(void)
{
    struct rules *rules =
        fixture_rule("spiffe://example.org/h/*", KEY_PROTECTION_HARDWARE, KEY_TYPE_EC_P256, "hsm");
    rules->items = memory_resize_array(rules->items, 2, sizeof(struct rule));
    rules->items[rules->count++] =
        (struct rule){.pattern = memory_copy_text("*"), .protection = KEY_PROTECTION_GUARDED};
    return rules;
}

static void a_keystore_that_hangs_holds_up_its_own_only(void **state)
{
    struct fixture *fixture = *state;
    struct watcher watcher;
    struct watcher later;
    fake_hardware_stop();
    manager_set_rules(fixture->manager, half_in_hardware());
    fixture_add(fixture, "1", "h/1", "unix:uid:1");
    fixture_add(fixture, "2", "m", "unix:uid:1");
    watcher_open(fixture, &watcher, "unix:uid:1");
    FIXTURE_WAIT(fixture, fixture->issuer.x509_issued == 1);
    fixture_turn(fixture);
    assert_int_equal(watcher.sets + watcher.failures, 0);
    fixture_pass(fixture, ISSUANCE_OVERDUE_MS);
    assert_int_equal(watcher.sets, 1);
    watcher_assert(&watcher, "m");
    watcher_open(fixture, &later, "unix:uid:1");
    assert_int_equal(later.sets, 1);
    watcher_close(&later);

    /* Who has nothing else goes on waiting. */
    fixture_add(fixture, "3", "h/3", "unix:uid:2");
    watcher_open(fixture, &later, "unix:uid:2");
    fixture_pass(fixture, ISSUANCE_OVERDUE_MS);
    fixture_turn(fixture);
    assert_int_equal(later.sets + later.failures, 0);

    fake_hardware_go_on();
    FIXTURE_WAIT(fixture, watcher.sets == 2 && later.sets == 1);
    watcher_assert(&watcher, "h/1 m");
    assert_int_equal(watcher.failures + later.failures, 0);
    watcher_close(&watcher);
    watcher_close(&later);
}

static void a_keystore_that_hangs_takes_no_places_from_others(void **state)
{
    enum { HUNG = ISSUANCES_URGENT_MAX + 1 };
    struct fixture *fixture = *state;
    struct watcher watcher;
    struct watcher other;
    fake_hardware_stop();
    manager_set_rules(fixture->manager, half_in_hardware());
    for (int i = 0; i < HUNG; i++) {
        char id[16];
        (void)snprintf(id, sizeof(id), "h/%d", i);
        fixture_add(fixture, id, id, "unix:uid:1");
    }
    fixture_add(fixture, "m", "m", "unix:uid:2");
    watcher_open(fixture, &watcher, "unix:uid:1");
    FIXTURE_WAIT(fixture, fixture->manager->issuances.place_counts[true] == ISSUANCES_URGENT_MAX);
    watcher_open(fixture, &other, "unix:uid:2");
    fixture_pass(fixture, ISSUANCE_OVERDUE_MS);
    FIXTURE_WAIT(fixture, other.sets == 1);
    fake_hardware_go_on();
    FIXTURE_WAIT(fixture, watcher.set && watcher.set->count == HUNG);
    assert_int_equal(fixture->manager->issuances.place_counts[true], 0);
    watcher_close(&watcher);
    watcher_close(&other);
}

static void count_svid(void *user, struct svid_x509 *svid)
{
    assert_non_null(svid->entry);
    ++*(size_t *)user;
}

static void append_id(void *user, struct entry *entry)
{
    buffer_append_text(user, entry->id);
}

static void admin_sees_entries_and_svids(void **state)
{
    struct fixture *fixture = *state;
    struct watcher watcher;
    struct manager_counters counters;
    struct buffer ids = {0};
    size_t svids = 0;
    fixture_add(fixture, "3", "c", "unix:uid:1");
    fixture_add(fixture, "1", "a", "unix:uid:1");
    fixture_add(fixture, "2", "b", "unix:uid:2");
    watcher_open(fixture, &watcher, "unix:uid:1");
    manager_counters(fixture->manager, &counters);
    assert_int_equal(counters.svids, 0);
    assert_int_equal(counters.next_expiry_s, 0);
    FIXTURE_WAIT(fixture, watcher.sets == 1);
    manager_each_entry(fixture->manager, append_id, &ids);
    assert_int_equal(ids.size, 3);
    assert_memory_equal(ids.data, "123", 3);
    buffer_clear(&ids);
    manager_each_svid(fixture->manager, count_svid, &svids);
    assert_int_equal(svids, 2);
    manager_counters(fixture->manager, &counters);
    assert_int_equal(counters.entries, 3);
    assert_int_equal(counters.svids, 2);
    assert_int_equal(counters.subscriptions, 1);
    assert_int_equal(counters.issued, 2);
    assert_int_equal(counters.next_expiry_s, fixture_now_s() + FIXTURE_LIFE_S);
    watcher_close(&watcher);
}

static void names_the_key_by_a_pkcs11_uri(void **state)
{
    struct fixture *fixture = *state;
    struct watcher watcher;
    fixture_add(fixture, "1", "payments/api-v1.2_x", "unix:uid:1");
    watcher_open(fixture, &watcher, "unix:uid:1");
    FIXTURE_WAIT(fixture, watcher.sets == 1);
    char *uri = svid_x509_key_uri(watcher.set->svids[0]);
    static const char start[] = "pkcs11:token=signet;object=payments%2Fapi-v1.2_x;id=%";
    assert_memory_equal(uri, start, strlen(start));
    assert_int_equal(strlen(uri), strlen(start) - 1 + 3 * KEY_ID_BYTES + strlen(";type=private"));
    assert_non_null(strstr(uri, ";type=private"));
    free(uri);
    watcher_close(&watcher);
}

static void stops_with_work_in_hand(void **state)
{
    struct fixture *fixture = *state;
    struct watcher watcher;
    fixture->issuer.is_held = true;
    for (int i = 0; i < 100; i++) {
        char id[16];
        (void)snprintf(id, sizeof(id), "%d", i);
        fixture_add(fixture, id, "a", "unix:uid:1");
    }
    watcher_open(fixture, &watcher, "unix:uid:1");
    FIXTURE_WAIT(fixture, fixture->issuer.x509_count == ISSUANCES_URGENT_MAX);
    watcher_close(&watcher);
    manager_stop(fixture->manager, fixture_stopped, fixture);
    fixture_turn(fixture);
    assert_false(fixture->is_stopped);
    fixture->issuer.is_held = false;
    fake_wake(&fixture->issuer);
    FIXTURE_WAIT(fixture, fixture->is_stopped);
    assert_int_equal(fixture->issuer.x509_issued, ISSUANCES_URGENT_MAX);
}

#define FIXTURE_TEST(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(tells_once_issued_and_shares_the_set),
        FIXTURE_TEST(nobody_gets_an_empty_set),
        FIXTURE_TEST(entries_come_change_and_go),
        FIXTURE_TEST(an_entry_removed_while_issued_is_not_told),
        FIXTURE_TEST(a_change_reissues_what_it_concerns),
        FIXTURE_TEST(hints_are_unique_among_a_callers_identities),
        FIXTURE_TEST(rules_say_how_the_key_is_kept),
        FIXTURE_TEST(a_change_of_rules_takes_effect_at_once),
        FIXTURE_TEST(delivered_bytes_go_with_the_last_reference),
        FIXTURE_TEST(known_workloads_find_theirs_issued_ahead),
        FIXTURE_TEST(a_workload_that_comes_hurries_what_is_under_way),
        FIXTURE_TEST(ready_keys_spare_the_first_workload_the_wait),
        FIXTURE_TEST(a_new_bundle_is_told),
        FIXTURE_TEST(a_callback_may_end_its_subscription),
        FIXTURE_TEST(what_can_be_issued_is_told_without_the_rest),
        FIXTURE_TEST(a_keystore_that_hangs_holds_up_its_own_only),
        FIXTURE_TEST(a_keystore_that_hangs_takes_no_places_from_others),
        FIXTURE_TEST(admin_sees_entries_and_svids),
        FIXTURE_TEST(names_the_key_by_a_pkcs11_uri),
        FIXTURE_TEST(stops_with_work_in_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
