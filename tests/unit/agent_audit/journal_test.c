/* The journal as a second place for records. */
#include "tests/unit/agent_audit/fixture.h"

#include <sys/socket.h>
#include <sys/un.h>

#include "agent/audit/journal.h"

enum { MESSAGE_MAX_BYTES = 1 << 18 };

static int listen_as_journal(const struct fixture *fixture, char **ret_path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    *ret_path = file_join(fixture->folder, "journal");
    assert_true(strlen(*ret_path) < sizeof(address.sun_path));
    memcpy(address.sun_path, *ret_path, strlen(*ret_path));
    int listener = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(listener >= 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    return listener;
}

/* The next message; the caller frees it. NULL: none. */
static char *receive(int listener)
{
    char *message = memory_new(MESSAGE_MAX_BYTES + 1);
    ssize_t size = recv(listener, message, MESSAGE_MAX_BYTES, MSG_DONTWAIT);
    if (size < 0) {
        free(message);
        return NULL;
    }
    return message;
}

/* The value of a field; the caller frees it. NULL: it has none. */
static char *field_of(const char *message, const char *name)
{
    size_t size = strlen(name);
    for (const char *line = message; line && *line; line = strchr(line, '\n') + 1) {
        if (strncmp(line, name, size) == 0 && line[size] == '=') {
            return text_format("%.*s", (int)strcspn(line + size + 1, "\n"), line + size + 1);
        }
        if (!strchr(line, '\n')) {
            break;
        }
    }
    return NULL;
}

static void assert_field(const char *message, const char *name, const char *value)
{
    _cleanup_(free_cleanup) char *found = field_of(message, name);
    if (!value) {
        assert_null(found);
        return;
    }
    assert_non_null(found);
    assert_string_equal(found, value);
}

static void records_reach_the_journal(void **state)
{
    struct fixture *fixture = *state;
    _cleanup_(free_cleanup) char *path = NULL;
    _cleanup_(file_close_cleanup) int listener = listen_as_journal(fixture, &path);
    fixture->config.is_journald = true;
    fixture->config.journal_path = path;
    fixture_start(fixture);
    _cleanup_(free_cleanup) char *started = receive(listener);
    assert_field(started, "SIGNET_ACTION", "started");
    assert_field(started, "SIGNET_SPIFFE_ID", NULL);
    const struct audit_event event = {.action = AUDIT_DENIED,
                                      .is_failure = true,
                                      .spiffe_id = "spiffe://example.org/a\nPRIORITY=0",
                                      .reason = "two\nlines"};
    audit_write(fixture->audit, &event);
    _cleanup_(free_cleanup) char *denied = receive(listener);
    assert_field(denied, "SIGNET_ACTION", "denied");
    assert_field(denied, "PRIORITY", "4");
    assert_field(denied, "SYSLOG_IDENTIFIER", "signetd");
    assert_field(denied, "SIGNET_SPIFFE_ID", "spiffe://example.org/a?PRIORITY=0");
    assert_field(denied, "MESSAGE",
                 "spiffe://example.org/a?PRIORITY=0 was refused to the agent: two?lines");
    _cleanup_(free_cleanup) char *record = field_of(denied, "SIGNET_RECORD");
    json_t *root = json_loads(record, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(root, "event.reason")), "two?lines");
    json_decref(root);
}

/* Full, or not there: the log goes on, and it is counted. */
static void a_journal_in_trouble_is_not_waited_for(void **state)
{
    struct fixture *fixture = *state;
    _cleanup_(free_cleanup) char *path = NULL;
    _cleanup_(file_close_cleanup) int listener = listen_as_journal(fixture, &path);
    struct audit_journal *journal = NULL;
    struct error err;
    const struct audit_event event = {.action = AUDIT_STOPPED};
    assert_int_equal(audit_journal_new(path, &journal, &err), 0);
    for (unsigned i = 0; i < 10000; i++) {
        audit_journal_send(journal, &event, bytes_of_text("\"a\":1"));
    }
    uint64_t dropped = audit_journal_dropped(journal);
    assert_true(dropped > 0);
    for (char *message = receive(listener); message; message = receive(listener)) {
        free(message);
    }
    audit_journal_send(journal, &event, bytes_of_text("\"a\":2"));
    assert_int_equal(audit_journal_dropped(journal), dropped);
    assert_int_equal(unlink(path), 0);
    audit_journal_send(journal, &event, bytes_of_text("\"a\":3"));
    assert_int_equal(audit_journal_dropped(journal), dropped + 1);
    audit_journal_free(journal);
    fixture->config.is_journald = true;
    fixture->config.journal_path = path;
    fixture_start(fixture);
    assert_true(fixture_commit(fixture, "one"));
    fixture_stop(fixture);
}

static void what_is_too_large_goes_without_its_record(void **state)
{
    struct fixture *fixture = *state;
    _cleanup_(free_cleanup) char *path = NULL;
    _cleanup_(file_close_cleanup) int listener = listen_as_journal(fixture, &path);
    struct audit_journal *journal = NULL;
    struct error err;
    const size_t huge = (size_t)16 << 20;
    _cleanup_(free_cleanup) uint8_t *body = memory_new(huge);
    const struct audit_event event = {.action = AUDIT_STOPPED};
    memset(body, 'x', huge);
    assert_int_equal(audit_journal_new(path, &journal, &err), 0);
    audit_journal_send(journal, &event, (struct bytes){body, huge});
    _cleanup_(free_cleanup) char *message = receive(listener);
    assert_non_null(message);
    assert_field(message, "MESSAGE", "the agent stopped");
    assert_field(message, "PRIORITY", "6");
    assert_field(message, "SIGNET_RECORD", NULL);
    assert_int_equal(audit_journal_dropped(journal), 0);
    audit_journal_free(journal);
}

static void a_path_too_long_is_refused(void **state)
{
    char path[300];
    struct audit_journal *journal = NULL;
    struct error err;
    (void)state;
    memset(path, 'a', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    assert_int_equal(audit_journal_new(path, &journal, &err), -1);
    assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(records_reach_the_journal),
        FIXTURE_TEST(a_journal_in_trouble_is_not_waited_for),
        FIXTURE_TEST(what_is_too_large_goes_without_its_record),
        FIXTURE_TEST(a_path_too_long_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
