#include <stdlib.h>
#include <string.h>

#include "include/signet/evidence.h"
#include "tests/unit/cmocka_all.h"

static void a_request_that_cannot_be_is_refused_at_once(void **state)
{
    (void)state;
    static const uint8_t nonce[SIGNET_NONCE_MAX_BYTES + 1] = {0};
    const size_t whole = sizeof(struct signet_evidence_request);
    const struct {
        struct signet_evidence_request request;
        const char *text;
    } cases[] = {
        {{.struct_size = 0, .nonce = nonce, .nonce_size = 8}, "struct_size"},
        {{.struct_size = whole + 8, .nonce = nonce, .nonce_size = 8}, "older than the program"},
        {{.struct_size = whole, .nonce = NULL, .nonce_size = 8}, "the nonce has 0 bytes"},
        {{.struct_size = whole, .nonce = nonce, .nonce_size = 7}, "the nonce has 7 bytes"},
        {{.struct_size = whole, .nonce = nonce, .nonce_size = 33}, "the nonce has 33 bytes"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct signet_error error = {0};
        char *evidence = NULL;
        assert_int_equal(signet_evidence_fetch(&cases[i].request, &evidence, &error), -1);
        assert_int_equal(error.code, SIGNET_INVALID_ARGUMENT);
        assert_non_null(strstr(error.text, cases[i].text));
        assert_null(evidence);
    }
}

/* By socket_path, else by the environment. */
static void without_an_agent_the_socket_is_named(void **state)
{
    (void)state;
    static const uint8_t nonce[SIGNET_NONCE_MIN_BYTES] = {0};
    struct signet_evidence_request request = {
        .struct_size = sizeof(request), .nonce = nonce, .nonce_size = sizeof(nonce)};
    struct signet_error error = {0};
    char *evidence = NULL;
    assert_int_equal(unsetenv("SPIFFE_ENDPOINT_SOCKET"), 0);
    assert_int_equal(setenv("SIGNET_RUN_DIR", "/no/such/folder", 1), 0);
    assert_int_equal(signet_evidence_fetch(&request, &evidence, &error), -1);
    assert_int_equal(error.code, SIGNET_UNAVAILABLE);
    assert_non_null(strstr(error.text, "/no/such/folder/api.sock"));
    assert_int_equal(setenv("SPIFFE_ENDPOINT_SOCKET", "unix:///no/such/socket", 1), 0);
    assert_int_equal(signet_evidence_fetch(&request, &evidence, &error), -1);
    assert_non_null(strstr(error.text, "/no/such/socket"));
    request.socket_path = "/no/such/other";
    assert_int_equal(signet_evidence_fetch(&request, &evidence, &error), -1);
    assert_non_null(strstr(error.text, "/no/such/other"));
    request.socket_path = NULL;
    assert_int_equal(setenv("SPIFFE_ENDPOINT_SOCKET", "tcp:127.0.0.1:80", 1), 0);
    assert_int_equal(signet_evidence_fetch(&request, &evidence, &error), -1);
    assert_int_equal(error.code, SIGNET_INVALID_ARGUMENT);
    /* Nobody has to ask why. */
    assert_int_equal(signet_evidence_fetch(&request, &evidence, NULL), -1);
    signet_evidence_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_that_cannot_be_is_refused_at_once),
        cmocka_unit_test(without_an_agent_the_socket_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
