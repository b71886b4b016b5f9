#include "tests/unit/cmocka_all.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ui.h>
#include <string.h>

#include "lib/base/memory.h"
#include "lib/base/pem.h"
#include "lib/base/text.h"

static X509 *certificate;
static char *plain, *encrypted;

/* Encrypted where there is a password; the caller frees it. */
static char *encode(const char *password)
{
    char *data = NULL;
    BIO *bio = BIO_new(BIO_s_mem());
    const EVP_CIPHER *cipher = password ? EVP_aes_128_cbc() : NULL;
    assert_true(PEM_ASN1_write_bio((i2d_of_void *)i2d_X509, PEM_STRING_X509, bio, certificate,
                                   cipher, NULL, 0, NULL, (void *)password) > 0);
    const long size = BIO_get_mem_data(bio, &data);
    char *text = text_format("%.*s", (int)size, data);
    BIO_free(bio);
    return text;
}

static int set_up(void **state)
{
    (void)state;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    certificate = X509_new();
    assert_non_null(key);
    assert_non_null(certificate);
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    assert_int_equal(X509_set_pubkey(certificate, key), 1);
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    EVP_PKEY_free(key);
    plain = encode(NULL);
    encrypted = encode("secret");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    X509_free(certificate);
    free(plain);
    free(encrypted);
    return 0;
}

/* How many there are, and what reading ends with. */
static void expect(const char *text, int count, int end)
{
    struct reader reader = reader_of(bytes_of_text(text));
    X509 *found = NULL;
    int got = 0;
    int read = 0;
    while ((got = pem_certificate_next(&reader, &found)) > 0) {
        assert_int_equal(X509_cmp(found, certificate), 0);
        X509_free(found);
        read++;
    }
    if (read != count || got != end) {
        fail_msg("%d and %d instead of %d and %d: %s", read, got, count, end, text);
    }
    if (end < 0) {
        assert_int_not_equal(ERR_peek_error(), 0);
    }
    ERR_clear_error();
}

static void certificates_are_read_past_all_else(void **state)
{
    (void)state;
    static const char key[] = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
    _cleanup_(free_cleanup) char *mixed =
        text_format("remark\n%s\n%s%sremark\n%s\nend", plain, key, plain, plain);
    expect("", 0, 0);
    expect("\n", 0, 0);
    expect("hello", 0, 0);
    expect(key, 0, 0);
    expect(plain, 1, 0);
    expect(mixed, 3, 0);
}

static void damaged_ones_are_told(void **state)
{
    (void)state;
    _cleanup_(free_cleanup) char *torn = memory_copy_text(plain);
    _cleanup_(free_cleanup) char *second = text_format("%s%.*s", plain, 100, plain);
    torn[strlen(torn) / 2] = '!';
    expect("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 0, -1);
    expect("-----BEGIN CERTIFICATE-----\nAAAA\n", 0, -1);
    expect(torn, 0, -1);
    expect(second, 1, -1);
}

static bool is_asked;

static int open_terminal(UI *ui)
{
    (void)ui;
    is_asked = true;
    return 0;
}

static void nobody_is_asked_for_a_password(void **state)
{
    (void)state;
    X509 *found = NULL;
    UI_METHOD *terminal = UI_create_method("terminal");
    assert_non_null(terminal);
    (void)UI_method_set_opener(terminal, open_terminal);
    UI_set_default_method(terminal);
    struct reader reader = reader_of(bytes_of_text(encrypted));
    assert_int_equal(pem_certificate_next(&reader, &found), -1);
    assert_int_equal(ERR_GET_REASON(ERR_peek_last_error()), PEM_R_BAD_PASSWORD_READ);
    assert_null(found);
    assert_false(is_asked);
    ERR_clear_error();
    UI_set_default_method(UI_OpenSSL());
    UI_destroy_method(terminal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(certificates_are_read_past_all_else),
        cmocka_unit_test(damaged_ones_are_told),
        cmocka_unit_test(nobody_is_asked_for_a_password),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
