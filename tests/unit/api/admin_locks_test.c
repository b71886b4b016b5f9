#include "tests/unit/api/fixture.h"

#include <glob.h>
#include <sys/stat.h>

#include "agent/api/context.h"
#include "agent/audit/audit.h"
#include "proto/admin.pb-c.h"
#include "proto/hardware.pb-c.h"

#define ADMIN_METHOD(name) "/signet.admin.v1.Admin/" name
#define HARDWARE_METHOD "/signet.workload.v1.HardwareIdentity/FetchX509Identities"
#define ID "spiffe://example.org/web"

struct admin {
    struct fixture *fixture;
    struct rpc_client *client;
    struct audit *audit; /* NULL: none */
    char *audit_folder;
    sem_t audit_stopped;
};

static void remove_files(const char *pattern)
{
    glob_t found = {0};
    if (glob(pattern, 0, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++) {
            (void)remove(found.gl_pathv[i]);
        }
    }
    globfree(&found);
}

static int open_admin(void **state)
{
    struct admin *admin = NEW(struct admin);
    assert_int_equal(fixture_open((void **)&admin->fixture), 0);
    admin->client = dial(admin->fixture->admin_path, false);
    admin->audit_folder = file_join(admin->fixture->folder, "audit");
    set_entry(admin->fixture, "e1", ID);
    assert_int_equal(sem_init(&admin->audit_stopped, 0, 0), 0);
    *state = admin;
    return 0;
}

static void audit_has_stopped(void *user)
{
    (void)sem_post(&((struct admin *)user)->audit_stopped);
}

static void stop_audit(struct fixture *fixture, void *argument)
{
    struct admin *admin = argument;
    fixture->api->config.audit = NULL;
    audit_stop(take_ptr(admin->audit), audit_has_stopped, admin);
}

static int close_admin(void **state)
{
    static const char *const files[] = {"audit/keys/*", "audit/keys", "audit/*",
                                        "audit",        "audit.away", "locks.json*"};
    struct admin *admin = *state;
    rpc_client_free(admin->client);
    if (admin->audit) {
        on_loop(admin->fixture, stop_audit, admin);
        assert_int_equal(sem_wait(&admin->audit_stopped), 0);
    }
    char *folder = memory_copy_text(admin->fixture->folder);
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        _cleanup_(free_cleanup) char *pattern = file_join(folder, files[i]);
        remove_files(pattern);
    }
    (void)sem_destroy(&admin->audit_stopped);
    int result = fixture_close((void **)&admin->fixture);
    free(folder);
    free(admin->audit_folder);
    free(admin);
    return result;
}

static int call(struct admin *admin, const char *method, const ProtobufCMessage *request,
                const ProtobufCMessageDescriptor *descriptor, ProtobufCMessage **ret_response,
                struct error *err)
{
    *err = (struct error){0};
    return rpc_client_call(admin->client, method, request, descriptor, ret_response, err);
}

static int lock(struct admin *admin, const char *kind, const char *what,
                Admin__LockResponse **ret_response, struct error *err)
{
    Admin__LockRequest request = ADMIN__LOCK_REQUEST__INIT;
    request.kind = (char *)kind;
    request.what = (char *)what;
    request.reason = (char *)"incident 7";
    return call(admin, ADMIN_METHOD("Lock"), &request.base, &admin__lock_response__descriptor,
                (ProtobufCMessage **)ret_response, err);
}

static int unlock(struct admin *admin, const char *kind, const char *what, const char *id,
                  struct error *err)
{
    ProtobufCMessage *response = NULL;
    Admin__UnlockRequest request = ADMIN__UNLOCK_REQUEST__INIT;
    request.kind = (char *)kind;
    request.what = (char *)what;
    request.id = (char *)id;
    int result = call(admin, ADMIN_METHOD("Unlock"), &request.base,
                      &admin__unlock_response__descriptor, &response, err);
    if (result == 0) {
        assert_int_equal(((Admin__UnlockResponse *)response)->n_locks, 1);
        protobuf_c_message_free_unpacked(response, NULL);
    }
    return result;
}

static size_t count_locks(struct admin *admin)
{
    struct error error;
    ProtobufCMessage *response = NULL;
    const Admin__ListLocksRequest request = ADMIN__LIST_LOCKS_REQUEST__INIT;
    assert_int_equal(call(admin, ADMIN_METHOD("ListLocks"), &request.base,
                          &admin__list_locks_response__descriptor, &response, &error),
                     0);
    size_t count = ((Admin__ListLocksResponse *)response)->n_locks;
    protobuf_c_message_free_unpacked(response, NULL);
    return count;
}

static int next_identities(struct rpc_client *client, struct error *err)
{
    ProtobufCMessage *response = NULL;
    *err = (struct error){0};
    int result =
        rpc_client_next(client, &hardware__x509_identities_response__descriptor, &response, err);
    if (result > 0) {
        protobuf_c_message_free_unpacked(response, NULL);
    }
    return result;
}

static struct rpc_client *begin_stream(struct admin *admin)
{
    struct error error = {0};
    const Hardware__X509IdentitiesRequest request = HARDWARE__X509_IDENTITIES_REQUEST__INIT;
    struct rpc_client *client = dial(admin->fixture->api_path, true);
    assert_int_equal(rpc_client_stream(client, HARDWARE_METHOD, &request.base, &error), 0);
    return client;
}

/* A stream that is open ends with the reason, one that comes is refused, until the unlock. */
static void stops_at_once(void **state)
{
    static const struct {
        const char *kind, *what;
    } cases[] = {
        {"spiffe_id", ID}, {"spiffe_id", "spiffe://example.org/*"}, {"node", ""}, {"pid", NULL}};
    struct admin *admin = *state;
    struct error error;
    _cleanup_(free_cleanup) char *pid = text_format("%d", getpid());
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        Admin__LockResponse *response = NULL;
        const char *what = cases[i].what ? cases[i].what : pid;
        struct rpc_client *stream = begin_stream(admin);
        assert_int_equal(next_identities(stream, &error), 1);
        assert_int_equal(lock(admin, cases[i].kind, what, &response, &error), 0);
        assert_int_equal(response->processes, 1);
        assert_true(response->identities >= 1);
        assert_string_equal(response->lock->reason, "incident 7");
        assert_string_equal(response->lock->what, what);
        assert_non_null(strstr(response->lock->by, pid));
        protobuf_c_message_free_unpacked(&response->base, NULL);
        assert_int_equal(next_identities(stream, &error), -1);
        assert_int_equal(error.code, ERROR_PERMISSION_DENIED);
        assert_non_null(strstr(error.text, "incident 7"));
        rpc_client_free(stream);

        stream = begin_stream(admin);
        assert_int_equal(next_identities(stream, &error), -1);
        assert_int_equal(error.code, ERROR_PERMISSION_DENIED);
        rpc_client_free(stream);
        assert_int_equal(count_locks(admin), 1);
        assert_int_equal(unlock(admin, cases[i].kind, what, "", &error), 0);
        assert_int_equal(count_locks(admin), 0);
        stream = begin_stream(admin);
        assert_int_equal(next_identities(stream, &error), 1);
        rpc_client_free(stream);
    }
}

static void wrong_requests(void **state)
{
    struct admin *admin = *state;
    Admin__LockResponse *response = NULL;
    static const struct {
        const char *kind, *what;
        const char *text;
    } locks[] = {
        {"", "", "a lock is of"}, {"host", "", "a lock is of"},    {"spiffe_id", "x", "spiffe://"},
        {"pid", "x", "a pid is"}, {"executable", "/x", "sha256:"}, {"node", "x", "of nothing else"},
    };
    static const struct {
        const char *kind, *what, *id;
        enum error_code code;
    } unlocks[] = {
        {"", "", "", ERROR_INVALID_ARGUMENT},
        {"node", "", "0123456789abcdef", ERROR_INVALID_ARGUMENT},
        {"node", "", "", ERROR_NOT_FOUND},
        {"", "", "0123456789abcdef", ERROR_NOT_FOUND},
        {"", "", "x", ERROR_NOT_FOUND},
        {"spiffe_id", "*", "", ERROR_NOT_FOUND},
    };
    struct error error;
    for (size_t i = 0; i < ARRAY_SIZE(locks); i++) {
        assert_int_equal(lock(admin, locks[i].kind, locks[i].what, &response, &error), -1);
        assert_int_equal(error.code, ERROR_INVALID_ARGUMENT);
        if (!strstr(error.text, locks[i].text)) {
            fail_msg("%s", error.text);
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(unlocks); i++) {
        assert_int_equal(unlock(admin, unlocks[i].kind, unlocks[i].what, unlocks[i].id, &error),
                         -1);
        assert_int_equal(error.code, unlocks[i].code);
    }
    assert_int_equal(count_locks(admin), 0);
}

/* With records. */

static void start_audit(struct fixture *fixture, void *argument)
{
    struct admin *admin = argument;
    struct error error = {0};
    const struct audit_config config = {
        .log = {.folder = admin->audit_folder, .file_max_bytes = 1 << 20},
        .on_failure = AUDIT_ON_FAILURE_DENY,
        .head_interval_s = 60,
    };
    if (audit_new(&fixture->loop, &config, &admin->audit, &error) < 0) {
        fail_msg("%s", error.text);
    }
    fixture->api->config.audit = admin->audit;
}

static void read_log(struct admin *admin, struct buffer *ret_text)
{
    glob_t found = {0};
    _cleanup_(free_cleanup) char *pattern = file_join(admin->audit_folder, "*.jsonl");
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        assert_int_equal(buffer_read_file(found.gl_pathv[i], 1 << 20, ret_text, NULL), 0);
    }
    globfree(&found);
    buffer_append_u8(ret_text, 0);
}

/* Each is on disk when it is answered. */
static void recorded(void **state)
{
    struct admin *admin = *state;
    struct error error;
    Admin__LockResponse *response = NULL;
    ProtobufCMessage *added = NULL, *removed = NULL;
    char *selectors[] = {(char *)"unix:uid:1"};
    Admin__Entry entry = ADMIN__ENTRY__INIT;
    Admin__AddEntryRequest add = ADMIN__ADD_ENTRY_REQUEST__INIT;
    Admin__RemoveEntryRequest remove = ADMIN__REMOVE_ENTRY_REQUEST__INIT;
    on_loop(admin->fixture, start_audit, admin);
    entry.spiffe_id = (char *)"spiffe://example.org/added";
    entry.selectors = selectors;
    entry.n_selectors = 1;
    add.entry = &entry;
    remove.id = (char *)"e1";
    assert_int_equal(call(admin, ADMIN_METHOD("AddEntry"), &add.base,
                          &admin__add_entry_response__descriptor, &added, &error),
                     0);
    assert_int_equal(call(admin, ADMIN_METHOD("RemoveEntry"), &remove.base,
                          &admin__remove_entry_response__descriptor, &removed, &error),
                     0);
    assert_int_equal(lock(admin, "spiffe_id", "spiffe://example.org/*", &response, &error), 0);
    assert_int_equal(unlock(admin, "", "", response->lock->id, &error), 0);

    _cleanup_(buffer_clear) struct buffer text = {0};
    read_log(admin, &text);
    static const enum audit_action actions[] = {AUDIT_ENTRY_SET, AUDIT_ENTRY_REMOVED, AUDIT_LOCKED,
                                                AUDIT_UNLOCKED};
    const char *rest = (const char *)text.data;
    for (size_t i = 0; i < ARRAY_SIZE(actions); i++) {
        _cleanup_(free_cleanup) char *wanted =
            text_format("\"event.action\":\"%s\"", audit_action_name(actions[i]));
        const char *found = strstr(rest, wanted);
        if (!found) {
            fail_msg("%s is not in %s", wanted, (const char *)text.data);
            break;
        }
        rest = found;
    }
    assert_non_null(strstr((const char *)text.data, "incident 7"));
    protobuf_c_message_free_unpacked(added, NULL);
    protobuf_c_message_free_unpacked(removed, NULL);
    protobuf_c_message_free_unpacked(&response->base, NULL);
}

/* Where nothing can be recorded a lock is in force all the same, and nothing is opened. */
static void not_recorded(void **state)
{
    struct admin *admin = *state;
    struct error error;
    Admin__LockResponse *response = NULL;
    on_loop(admin->fixture, start_audit, admin);
    _cleanup_(free_cleanup) char *moved = text_format("%s.away", admin->audit_folder);
    assert_int_equal(rename(admin->audit_folder, moved), 0);
    assert_int_equal(close(creat(admin->audit_folder, 0600)), 0);
    assert_int_equal(lock(admin, "spiffe_id", ID, &response, &error), -1);
    assert_int_equal(error.code, ERROR_UNAVAILABLE);
    assert_non_null(strstr(error.text, "in force"));
    assert_int_equal(count_locks(admin), 1);
    assert_int_equal(unlock(admin, "spiffe_id", ID, "", &error), -1);
    assert_int_equal(error.code, ERROR_UNAVAILABLE);
    assert_non_null(strstr(error.text, "nothing is unlocked"));
    assert_int_equal(count_locks(admin), 1);
    struct rpc_client *stream = begin_stream(admin);
    assert_int_equal(next_identities(stream, &error), -1);
    assert_int_equal(error.code, ERROR_PERMISSION_DENIED);
    rpc_client_free(stream);
    /* So that it can be taken down. */
    assert_int_equal(unlink(admin->audit_folder), 0);
    assert_int_equal(rename(moved, admin->audit_folder), 0);
}

int main(void)
{
#define WITH_ADMIN(test) cmocka_unit_test_setup_teardown(test, open_admin, close_admin)
    const struct CMUnitTest tests[] = {
        WITH_ADMIN(stops_at_once),
        WITH_ADMIN(wrong_requests),
        WITH_ADMIN(recorded),
        WITH_ADMIN(not_recorded),
    };
    struct error error;
    return secret_init(&error) < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
