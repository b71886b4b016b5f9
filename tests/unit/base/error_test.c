#include "tests/unit/cmocka_all.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <string.h>

#include "lib/base/error.h"

static void context_goes_before_the_text(void **state)
{
    (void)state;
    struct error err;
    assert_int_equal(error_set(&err, ERROR_NOT_FOUND, "opening %s", "x"), -1);
    assert_int_equal(error_prepend(&err, "reading the configuration %s", "y"), -1);
    assert_string_equal(err.text, "reading the configuration y: opening x");
    assert_int_equal(err.code, ERROR_NOT_FOUND);
}

static void long_texts_are_cut(void **state)
{
    (void)state;
    struct error err;
    char huge[2000];
    memset(huge, 'h', sizeof(huge) - 1);
    huge[sizeof(huge) - 1] = '\0';
    error_set(&err, ERROR_INTERNAL, "%s", huge);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
    error_prepend(&err, "%s", huge);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
    error_set(&err, ERROR_INTERNAL, "short");
    for (int i = 0; i < 1000; i++) {
        error_prepend(&err, "more");
    }
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
}

static void a_text_cannot_break_a_log(void **state)
{
    (void)state;
    struct error err;
    error_set(&err, ERROR_INTERNAL, "opening %s", "a\nb\x1b]0;title\x07");
    assert_null(strpbrk(err.text, "\n\x1b\x07"));
}

static void errno_chooses_the_code(void **state)
{
    (void)state;
    static const struct {
        int number;
        enum error_code code;
    } cases[] = {{ENOENT, ERROR_NOT_FOUND},
                 {EACCES, ERROR_PERMISSION_DENIED},
                 {ENOSPC, ERROR_RESOURCE_EXHAUSTED},
                 {EEXIST, ERROR_ALREADY_EXISTS},
                 {EIO, ERROR_UNAVAILABLE}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct error err;
        error_set_errno(&err, cases[i].number, "doing it");
        assert_int_equal(err.code, cases[i].code);
        assert_memory_equal(err.text, "doing it: ", 10);
    }
}

static void openssl_says_why(void **state)
{
    (void)state;
    struct error err;
    const uint8_t garbage[] = "garbage";
    const uint8_t *at = garbage;
    assert_null(d2i_PUBKEY(NULL, &at, sizeof(garbage)));
    error_set_openssl(&err, ERROR_INVALID_ARGUMENT, "parsing a key");
    assert_memory_equal(err.text, "parsing a key: ", 15);
    error_set_openssl(&err, ERROR_INTERNAL, "again");
    assert_string_equal(err.text, "again: OpenSSL gave no reason");
}

static void openssl_says_what_the_keystore_said(void **state)
{
    (void)state;
    struct error err;
    ERR_raise_data(ERR_LIB_PROV, ERR_R_OPERATION_FAIL, "an older text");
    ERR_raise_data(ERR_LIB_PROV, ERR_R_OPERATION_FAIL, "the token was removed");
    ERR_raise(ERR_LIB_X509, ERR_R_EVP_LIB);
    ERR_raise(ERR_LIB_ASN1, ERR_R_EVP_LIB);
    error_set_openssl(&err, ERROR_UNAVAILABLE, "signing");
    assert_non_null(strstr(err.text, "(the token was removed)"));
    assert_int_equal(ERR_peek_error(), 0);
    ERR_raise(ERR_LIB_X509, ERR_R_MALLOC_FAILURE);
    ERR_raise(ERR_LIB_X509, ERR_R_EVP_LIB);
    error_set_openssl(&err, ERROR_INTERNAL, "signing");
    assert_string_equal(err.text, "signing: EVP lib");
}

static void codes_become_exit_codes(void **state)
{
    (void)state;
    assert_int_equal(error_exit_code(ERROR_OK), 0);
    assert_int_equal(error_exit_code(ERROR_UNAVAILABLE), 1);
    assert_int_equal(error_exit_code(ERROR_INVALID_ARGUMENT), 2);
    assert_int_equal(error_exit_code(ERROR_PERMISSION_DENIED), 3);
    assert_string_equal(error_code_name(ERROR_UNAUTHENTICATED), "Unauthenticated");
    assert_string_equal(error_code_name((enum error_code)99), "Unknown");
    assert_int_equal(error_set(NULL, ERROR_INTERNAL, "nobody listens"), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(context_goes_before_the_text),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(a_text_cannot_break_a_log),
        cmocka_unit_test(errno_chooses_the_code),
        cmocka_unit_test(openssl_says_why),
        cmocka_unit_test(openssl_says_what_the_keystore_said),
        cmocka_unit_test(codes_become_exit_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
