#include "tests/unit/api/fixture.h"

#include "proto/admin.pb-c.h"
#include "proto/hardware.pb-c.h"
#include "proto/health.pb-c.h"
#include "proto/workload.pb-c.h"

#define WORKLOAD_METHOD(name) "/SpiffeWorkloadAPI/" name
#define HARDWARE_METHOD "/signet.workload.v1.HardwareIdentity/FetchX509Identities"

static const Workload__X509SVIDRequest x509_request = WORKLOAD__X509_SVIDREQUEST__INIT;
static const Workload__X509BundlesRequest bundles_request = WORKLOAD__X509_BUNDLES_REQUEST__INIT;
static const Workload__JWTBundlesRequest jwt_bundles_request = WORKLOAD__JWTBUNDLES_REQUEST__INIT;
static const Hardware__X509IdentitiesRequest hardware_request =
    HARDWARE__X509_IDENTITIES_REQUEST__INIT;

/* The call fails at once or with its first message. */
static void fails(struct rpc_client *client, const char *method, const ProtobufCMessage *request,
                  enum error_code code, const char *text)
{
    struct error error = {0};
    ProtobufCMessage *response = NULL;
    int result = rpc_client_stream(client, method, request, &error);
    if (result == 0) {
        result =
            rpc_client_next(client, &workload__x509_svidresponse__descriptor, &response, &error);
    }
    assert_int_equal(result, -1);
    assert_int_equal(error.code, code);
    if (!strstr(error.text, text)) {
        fail_msg("%s: \"%s\" is not in \"%s\"", method, text, error.text);
    }
}

static Workload__X509SVIDResponse *next_svids(struct rpc_client *client)
{
    struct error error = {0};
    ProtobufCMessage *response = NULL;
    if (rpc_client_next(client, &workload__x509_svidresponse__descriptor, &response, &error) != 1) {
        fail_msg("%s", error.text);
    }
    return (Workload__X509SVIDResponse *)response;
}

static void begin(struct rpc_client *client, const char *method, const ProtobufCMessage *request)
{
    struct error error = {0};
    if (rpc_client_stream(client, method, request, &error) < 0) {
        fail_msg("%s", error.text);
    }
}

static void the_security_header_is_needed(void **state)
{
    struct fixture *fixture = *state;
    static const char *const values[] = {NULL, "", "false", "TRUE", "true "};
    set_entry(fixture, "a", "spiffe://example.org/delivered/a");
    for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
        _cleanup_(rpc_client_free_cleanup) struct rpc_client *client =
            dial(fixture->api_path, false);
        if (values[i]) {
            rpc_client_set_metadata(client, "workload.spiffe.io", values[i]);
        }
        fails(client, WORKLOAD_METHOD("FetchX509SVID"), &x509_request.base, ERROR_INVALID_ARGUMENT,
              "security header missing from request");
        fails(client, HARDWARE_METHOD, &hardware_request.base, ERROR_INVALID_ARGUMENT,
              "security header missing from request");
    }
}

static void without_identity_everything_is_denied(void **state)
{
    struct fixture *fixture = *state;
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client = dial(fixture->api_path, true);
    struct wanted_entry other = {"a", "spiffe://example.org/delivered/a", "unix:uid:4000000000"};
    on_loop(fixture, set_entry_on_loop, &other);
    char *audience = (char *)"ledger";
    Workload__JWTSVIDRequest jwt_request = WORKLOAD__JWTSVIDREQUEST__INIT;
    jwt_request.audience = &audience;
    jwt_request.n_audience = 1;
    const struct {
        const char *method;
        const ProtobufCMessage *request;
    } cases[] = {
        {WORKLOAD_METHOD("FetchX509SVID"), &x509_request.base},
        {WORKLOAD_METHOD("FetchX509Bundles"), &bundles_request.base},
        {WORKLOAD_METHOD("FetchJWTBundles"), &jwt_bundles_request.base},
        {WORKLOAD_METHOD("FetchJWTSVID"), &jwt_request.base},
        {HARDWARE_METHOD, &hardware_request.base},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        fails(client, cases[i].method, cases[i].request, ERROR_PERMISSION_DENIED,
              "no identity issued");
    }
}

static void each_service_tells_of_its_kind_of_key(void **state)
{
    struct fixture *fixture = *state;
    struct error error = {0};
    set_entry(fixture, "a", "spiffe://example.org/delivered/a");
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *svids = dial(fixture->api_path, true);
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *kept = dial(fixture->api_path, true);
    fails(kept, HARDWARE_METHOD, &hardware_request.base, ERROR_PERMISSION_DENIED, "FetchX509SVID");
    begin(svids, WORKLOAD_METHOD("FetchX509SVID"), &x509_request.base);
    Workload__X509SVIDResponse *response = next_svids(svids);
    assert_int_equal(response->n_svids, 1);
    assert_string_equal(response->svids[0]->spiffe_id, "spiffe://example.org/delivered/a");
    const uint8_t *der = response->svids[0]->x509_svid_key.data;
    EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &der, (long)response->svids[0]->x509_svid_key.len);
    assert_non_null(key);
    EVP_PKEY_free(key);
    workload__x509_svidresponse__free_unpacked(response, NULL);

    on_loop(fixture, remove_entry_on_loop, (void *)"a");
    set_entry(fixture, "b", "spiffe://example.org/kept");
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *again = dial(fixture->api_path, true);
    fails(again, WORKLOAD_METHOD("FetchX509SVID"), &x509_request.base, ERROR_PERMISSION_DENIED,
          "/run/test/pkcs11.sock");
    begin(kept, HARDWARE_METHOD, &hardware_request.base);
    ProtobufCMessage *message = NULL;
    assert_int_equal(
        rpc_client_next(kept, &hardware__x509_identities_response__descriptor, &message, &error),
        1);
    const Hardware__X509IdentitiesResponse *identities =
        (const Hardware__X509IdentitiesResponse *)message;
    assert_int_equal(identities->n_identities, 1);
    assert_string_equal(identities->identities[0]->protection, "guarded");
    assert_string_equal(identities->identities[0]->keystore, "memory");
    assert_non_null(strstr(identities->identities[0]->key_uri, "object=kept"));
    protobuf_c_message_free_unpacked(message, NULL);
}

static void a_stream_follows_and_ends_with_the_last_identity(void **state)
{
    struct fixture *fixture = *state;
    struct error error = {0};
    ProtobufCMessage *none = NULL;
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client = dial(fixture->api_path, true);
    set_entry(fixture, "a", "spiffe://example.org/delivered/a");
    begin(client, WORKLOAD_METHOD("FetchX509SVID"), &x509_request.base);
    workload__x509_svidresponse__free_unpacked(next_svids(client), NULL);
    set_entry(fixture, "b", "spiffe://example.org/delivered/b");
    Workload__X509SVIDResponse *both = next_svids(client);
    assert_int_equal(both->n_svids, 2);
    workload__x509_svidresponse__free_unpacked(both, NULL);
    on_loop(fixture, remove_entry_on_loop, (void *)"a");
    Workload__X509SVIDResponse *one = next_svids(client);
    assert_int_equal(one->n_svids, 1);
    assert_string_equal(one->svids[0]->spiffe_id, "spiffe://example.org/delivered/b");
    workload__x509_svidresponse__free_unpacked(one, NULL);
    on_loop(fixture, remove_entry_on_loop, (void *)"b");
    assert_int_equal(
        rpc_client_next(client, &workload__x509_svidresponse__descriptor, &none, &error), -1);
    assert_int_equal(error.code, ERROR_PERMISSION_DENIED);
    assert_string_equal(error.text, "no identity issued");
}

/* A change of the other kind of key, or of JWT keys alone, is no news for X.509 streams: what they
 * get next is the change that concerns them. */
static void equal_answers_are_not_sent_again(void **state)
{
    struct fixture *fixture = *state;
    struct error error = {0};
    bool yes = true;
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *svids = dial(fixture->api_path, true);
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *jwts = dial(fixture->api_path, true);
    set_entry(fixture, "a", "spiffe://example.org/delivered/a");
    begin(svids, WORKLOAD_METHOD("FetchX509SVID"), &x509_request.base);
    workload__x509_svidresponse__free_unpacked(next_svids(svids), NULL);
    begin(jwts, WORKLOAD_METHOD("FetchJWTBundles"), &jwt_bundles_request.base);
    ProtobufCMessage *bundle = NULL;
    const ProtobufCMessageDescriptor *of_bundles = &workload__jwtbundles_response__descriptor;
    assert_int_equal(rpc_client_next(jwts, of_bundles, &bundle, &error), 1);
    protobuf_c_message_free_unpacked(bundle, NULL);

    set_entry(fixture, "k", "spiffe://example.org/kept");
    on_loop(fixture, set_bundle_on_loop, &yes);
    assert_int_equal(rpc_client_next(jwts, of_bundles, &bundle, &error), 1);
    const Workload__JWTBundlesResponse *told = (const Workload__JWTBundlesResponse *)bundle;
    assert_int_equal(told->n_bundles, 1);
    assert_string_equal(told->bundles[0]->key, "spiffe://example.org");
    assert_non_null(
        memmem(told->bundles[0]->value.data, told->bundles[0]->value.len, "\"kid\"", 5));
    protobuf_c_message_free_unpacked(bundle, NULL);

    set_entry(fixture, "b", "spiffe://example.org/delivered/b");
    Workload__X509SVIDResponse *next = next_svids(svids);
    assert_int_equal(next->n_svids, 2);
    workload__x509_svidresponse__free_unpacked(next, NULL);
}

static void wrong_requests_are_told(void **state)
{
    struct fixture *fixture = *state;
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client = dial(fixture->api_path, true);
    set_entry(fixture, "a", "spiffe://example.org/delivered/a");
    static const struct {
        const char *audience, *spiffe_id, *text;
        enum error_code code;
    } jwt_cases[] = {
        {NULL, "", "audience must be specified", ERROR_INVALID_ARGUMENT},
        {"", "", "audience must be specified", ERROR_INVALID_ARGUMENT},
        {"\xff", "", "not UTF-8", ERROR_INVALID_ARGUMENT},
        {"a", "nonsense", "invalid requested SPIFFE ID: ", ERROR_INVALID_ARGUMENT},
        {"a", "spiffe://example.org/other", "no identity issued", ERROR_PERMISSION_DENIED},
    };
    for (size_t i = 0; i < ARRAY_SIZE(jwt_cases); i++) {
        Workload__JWTSVIDRequest request = WORKLOAD__JWTSVIDREQUEST__INIT;
        char *audience = (char *)jwt_cases[i].audience;
        request.audience = &audience;
        request.n_audience = audience ? 1 : 0;
        request.spiffe_id = (char *)jwt_cases[i].spiffe_id;
        fails(client, WORKLOAD_METHOD("FetchJWTSVID"), &request.base, jwt_cases[i].code,
              jwt_cases[i].text);
    }
    static const struct {
        const char *audience, *svid, *text;
    } validate_cases[] = {
        {"", "x", "audience must be specified"},
        {"a", "", "svid must be specified"},
        {"a", "x.y.z", ""},
    };
    for (size_t i = 0; i < ARRAY_SIZE(validate_cases); i++) {
        Workload__ValidateJWTSVIDRequest request = WORKLOAD__VALIDATE_JWTSVIDREQUEST__INIT;
        request.audience = (char *)validate_cases[i].audience;
        request.svid = (char *)validate_cases[i].svid;
        fails(client, WORKLOAD_METHOD("ValidateJWTSVID"), &request.base, ERROR_INVALID_ARGUMENT,
              validate_cases[i].text);
    }
    fails(client, WORKLOAD_METHOD("FetchWITSVID"), &x509_request.base, ERROR_UNIMPLEMENTED, "");
    fails(client, WORKLOAD_METHOD("Nonsense"), &x509_request.base, ERROR_UNIMPLEMENTED, "");
}

static void health_is_told(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        const char *service;
        enum error_code code;
    } cases[] = {
        {"", ERROR_OK},
        {"SpiffeWorkloadAPI", ERROR_OK},
        {"signet.workload.v1.HardwareIdentity", ERROR_OK},
        {"grpc.health.v1.Health", ERROR_OK},
        {"nonsense", ERROR_NOT_FOUND},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(rpc_client_free_cleanup) struct rpc_client *client =
            dial(i % 2 ? fixture->admin_path : fixture->api_path, false);
        Health__HealthCheckRequest request = HEALTH__HEALTH_CHECK_REQUEST__INIT;
        struct error error = {0};
        ProtobufCMessage *response = NULL;
        request.service = (char *)cases[i].service;
        int result = rpc_client_call(client, "/grpc.health.v1.Health/Check", &request.base,
                                     &health__health_check_response__descriptor, &response, &error);
        assert_int_equal(result, cases[i].code ? -1 : 0);
        if (result == 0) {
            assert_int_equal(((Health__HealthCheckResponse *)response)->status,
                             HEALTH__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING);
            protobuf_c_message_free_unpacked(response, NULL);
        }
        assert_int_equal(error.code, cases[i].code);
    }
}

static size_t count_page(struct rpc_client *client, char **token, uint32_t size)
{
    Admin__ListEntriesRequest request = ADMIN__LIST_ENTRIES_REQUEST__INIT;
    struct error error = {0};
    ProtobufCMessage *response = NULL;
    request.page_token = *token;
    request.page_size = size;
    assert_int_equal(rpc_client_call(client, "/signet.admin.v1.Admin/ListEntries", &request.base,
                                     &admin__list_entries_response__descriptor, &response, &error),
                     0);
    const Admin__ListEntriesResponse *page = (const Admin__ListEntriesResponse *)response;
    size_t count = page->n_entries;
    free(*token);
    *token = memory_copy_text(page->next_page_token);
    protobuf_c_message_free_unpacked(response, NULL);
    return count;
}

static void entries_come_in_pages(void **state)
{
    struct fixture *fixture = *state;
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client = dial(fixture->admin_path, false);
    _cleanup_(free_cleanup) char *token = memory_copy_text("");
    static const char *const ids[] = {"c", "a", "e", "b", "d"};
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
        _cleanup_(free_cleanup) char *spiffe_id = text_format("spiffe://example.org/%s", ids[i]);
        set_entry(fixture, ids[i], spiffe_id);
    }
    assert_int_equal(count_page(client, &token, 2), 2);
    assert_string_equal(token, "b");
    assert_int_equal(count_page(client, &token, 3), 3);
    assert_string_equal(token, "");
    assert_int_equal(count_page(client, &token, 0), 5);
}

static void wrong_entries_are_refused(void **state)
{
    struct fixture *fixture = *state;
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client = dial(fixture->admin_path, false);
    static const struct {
        const char *id, *spiffe_id, *selector;
        enum error_code code;
    } cases[] = {
        {"", "spiffe://example.org/web", "unix:uid:1", ERROR_OK},
        {"mine", "spiffe://example.org/web", "unix:uid:1", ERROR_INVALID_ARGUMENT},
        {"", "spiffe://example.net/web", "unix:uid:1", ERROR_INVALID_ARGUMENT},
        {"", "spiffe://example.org", "unix:uid:1", ERROR_INVALID_ARGUMENT},
        {"", "spiffe://example.org/web", "unix:uid:x", ERROR_INVALID_ARGUMENT},
        {"", "", "unix:uid:1", ERROR_INVALID_ARGUMENT},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        Admin__Entry entry = ADMIN__ENTRY__INIT;
        Admin__AddEntryRequest request = ADMIN__ADD_ENTRY_REQUEST__INIT;
        char *selector = (char *)cases[i].selector;
        struct error error = {0};
        ProtobufCMessage *response = NULL;
        request.entry = &entry;
        entry.id = (char *)cases[i].id;
        entry.spiffe_id = (char *)cases[i].spiffe_id;
        entry.selectors = &selector;
        entry.n_selectors = 1;
        int result = rpc_client_call(client, "/signet.admin.v1.Admin/AddEntry", &request.base,
                                     &admin__add_entry_response__descriptor, &response, &error);
        assert_int_equal(error.code, cases[i].code);
        if (result == 0) {
            protobuf_c_message_free_unpacked(response, NULL);
        }
    }
    const Admin__AddEntryRequest empty = ADMIN__ADD_ENTRY_REQUEST__INIT;
    fails(client, "/signet.admin.v1.Admin/AddEntry", &empty.base, ERROR_INVALID_ARGUMENT,
          "no entry");
    const Admin__RemoveEntryRequest no_id = ADMIN__REMOVE_ENTRY_REQUEST__INIT;
    fails(client, "/signet.admin.v1.Admin/RemoveEntry", &no_id.base, ERROR_INVALID_ARGUMENT, "id");
}

static void keys_are_listed_with_type_and_age(void **state)
{
    static const struct {
        const char *spiffe_id, *protection, *keystore;
    } cases[] = {{"spiffe://example.org/delivered/a", "delivered", ""},
                 {"spiffe://example.org/kept", "guarded", "memory"}};
    struct fixture *fixture = *state;
    int64_t started_s = clock_now_s();
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *api = dial(fixture->api_path, true);
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *admin = dial(fixture->admin_path, false);
    const Admin__ListKeysRequest list_keys = ADMIN__LIST_KEYS_REQUEST__INIT;
    ProtobufCMessage *message = NULL;
    struct error error = {0};
    set_entry(fixture, "a", cases[0].spiffe_id);
    set_entry(fixture, "b", cases[1].spiffe_id);
    begin(api, WORKLOAD_METHOD("FetchX509SVID"), &x509_request.base);
    workload__x509_svidresponse__free_unpacked(next_svids(api), NULL);
    assert_int_equal(rpc_client_call(admin, "/signet.admin.v1.Admin/ListKeys", &list_keys.base,
                                     &admin__list_keys_response__descriptor, &message, &error),
                     0);
    const Admin__ListKeysResponse *response = (const Admin__ListKeysResponse *)message;
    assert_int_equal(response->n_keys, ARRAY_SIZE(cases));
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const Admin__Key *key = response->keys[i];
        assert_string_equal(key->spiffe_id, cases[i].spiffe_id);
        assert_string_equal(key->protection, cases[i].protection);
        assert_string_equal(key->keystore, cases[i].keystore);
        assert_string_equal(key->type, "ec-p256");
        assert_in_range(key->created_at, started_s, clock_now_s());
    }
    protobuf_c_message_free_unpacked(message, NULL);
}

/* The admin API is not to be had on the socket that is open to all. */
static void sockets_have_their_own_services(void **state)
{
    struct fixture *fixture = *state;
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *api = dial(fixture->api_path, true);
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *admin = dial(fixture->admin_path, true);
    const Admin__ListKeysRequest list_keys = ADMIN__LIST_KEYS_REQUEST__INIT;
    fails(api, "/signet.admin.v1.Admin/ListKeys", &list_keys.base, ERROR_UNIMPLEMENTED, "");
    fails(admin, WORKLOAD_METHOD("FetchX509SVID"), &x509_request.base, ERROR_UNIMPLEMENTED, "");
}

static void stopping_ends_streams(void **state)
{
    struct fixture *fixture = *state;
    struct error error = {0};
    ProtobufCMessage *none = NULL;
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client = dial(fixture->api_path, true);
    set_entry(fixture, "a", "spiffe://example.org/delivered/a");
    begin(client, WORKLOAD_METHOD("FetchX509SVID"), &x509_request.base);
    workload__x509_svidresponse__free_unpacked(next_svids(client), NULL);
    on_loop(fixture, stop_api, NULL);
    assert_int_equal(
        rpc_client_next(client, &workload__x509_svidresponse__descriptor, &none, &error), -1);
    assert_int_equal(error.code, ERROR_UNAVAILABLE);
}

#define WITH_API(test) cmocka_unit_test_setup_teardown(test, fixture_open, fixture_close)

static int guard_memory(void **state)
{
    (void)state;
    return secret_init(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_API(the_security_header_is_needed),
        WITH_API(without_identity_everything_is_denied),
        WITH_API(each_service_tells_of_its_kind_of_key),
        WITH_API(a_stream_follows_and_ends_with_the_last_identity),
        WITH_API(equal_answers_are_not_sent_again),
        WITH_API(wrong_requests_are_told),
        WITH_API(health_is_told),
        WITH_API(entries_come_in_pages),
        WITH_API(wrong_entries_are_refused),
        WITH_API(keys_are_listed_with_type_and_age),
        WITH_API(sockets_have_their_own_services),
        WITH_API(stopping_ends_streams),
    };
    return cmocka_run_group_tests(tests, guard_memory, NULL);
}
