/* Folders of CA certificates, as operators fill them. */
#include "tests/unit/attest/ek_maker.h"

#include <ftw.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/memory.h"

static char folder[64];
static struct buffer pem, der;

static int remove_entry(const char *path, const struct stat *status, int flag, struct FTW *walk)
{
    (void)status;
    (void)flag;
    return walk->level > 0 ? remove(path) : 0;
}

static void empty_folder(void)
{
    assert_int_equal(nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static void put(const char *name, struct bytes contents)
{
    struct error err;
    _cleanup_(free_cleanup) char *path = file_join(folder, name);
    assert_int_equal(file_write_atomic(path, contents, 0600, &err), 0);
}

static void assert_taken(size_t count)
{
    struct error err;
    _cleanup_(ek_trust_free_cleanup) struct ek_trust *trust = ek_trust_new();
    if (ek_trust_add_folder(trust, folder, &err) < 0) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(ek_trust_count(trust), count);
    assert_int_equal(ERR_peek_error(), 0);
}

static void assert_refused(enum error_code code, const char *name)
{
    struct error err;
    _cleanup_(ek_trust_free_cleanup) struct ek_trust *trust = ek_trust_new();
    assert_int_equal(ek_trust_add_folder(trust, folder, &err), -1);
    if (err.code != code || !strstr(err.text, name)) {
        fail_msg("%s: %s", error_code_name(err.code), err.text);
    }
    assert_int_equal(ERR_peek_error(), 0);
}

static void files_are_read(void **state)
{
    _cleanup_(buffer_clear) struct buffer several = {0};
    (void)state;
    empty_folder();
    put("a.crt", buffer_bytes(&der));
    assert_taken(1);
    put("b.pem", buffer_bytes(&pem));
    assert_taken(2);
    buffer_append_text(&several, "the CAs of a maker\n");
    buffer_append(&several, pem.data, pem.size);
    buffer_append_text(&several, "\nand once more\n");
    buffer_append(&several, pem.data, pem.size);
    put("c", buffer_bytes(&several));
    assert_taken(4);
    /* Of editors and mounts. */
    put(".hidden", bytes_of_text("no certificate"));
    assert_taken(4);
    _cleanup_(free_cleanup) char *link = file_join(folder, "link.pem");
    assert_int_equal(symlink("b.pem", link), 0);
    assert_taken(5);
}

static void others_are_refused_by_name(void **state)
{
    _cleanup_(buffer_clear) struct buffer damaged = {0};
    _cleanup_(buffer_clear) struct buffer cut = {0};
    _cleanup_(buffer_clear) struct buffer padded = {0};
    _cleanup_(buffer_clear) struct buffer large = {0};
    (void)state;
    buffer_append(&damaged, pem.data, pem.size);
    damaged.data[pem.size / 2] = '!';
    buffer_append(&cut, pem.data, pem.size - 10);
    buffer_append(&padded, der.data, der.size);
    buffer_append_u8(&padded, 0);
    buffer_append(&large, pem.data, pem.size);
    memset(buffer_extend(&large, 1 << 16), '\n', 1 << 16);
    const struct {
        const char *name;
        struct bytes contents;
        enum error_code code;
    } cases[] = {
        {"empty.pem", {0}, ERROR_INVALID_ARGUMENT},
        {"text.pem", bytes_of_text("hello\n"), ERROR_INVALID_ARGUMENT},
        {"key.pem", bytes_of_text("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"),
         ERROR_INVALID_ARGUMENT},
        {"locked.pem",
         bytes_of_text("-----BEGIN CERTIFICATE-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: "
                       "AES-128-CBC,00000000000000000000000000000000\n\nAAAA\n-----END "
                       "CERTIFICATE-----\n"),
         ERROR_INVALID_ARGUMENT},
        {"damaged.pem", buffer_bytes(&damaged), ERROR_INVALID_ARGUMENT},
        {"cut.pem", buffer_bytes(&cut), ERROR_INVALID_ARGUMENT},
        {"cut.der", {der.data, der.size - 1}, ERROR_INVALID_ARGUMENT},
        {"padded.der", buffer_bytes(&padded), ERROR_INVALID_ARGUMENT},
        {"large.pem", buffer_bytes(&large), ERROR_RESOURCE_EXHAUSTED},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        empty_folder();
        put("good.pem", buffer_bytes(&pem));
        put(cases[i].name, cases[i].contents);
        assert_refused(cases[i].code, cases[i].name);
    }
}

static void folders_are_checked(void **state)
{
    struct error err;
    _cleanup_(ek_trust_free_cleanup) struct ek_trust *trust = ek_trust_new();
    _cleanup_(free_cleanup) char *inner = file_join(folder, "inner");
    (void)state;
    empty_folder();
    assert_refused(ERROR_INVALID_ARGUMENT, "empty");
    assert_int_equal(mkdir(inner, 0700), 0);
    assert_refused(ERROR_INVALID_ARGUMENT, "inner");
    assert_int_equal(rmdir(inner), 0);
    assert_int_equal(mkfifo(inner, 0600), 0);
    assert_refused(ERROR_INVALID_ARGUMENT, "inner");
    assert_int_equal(ek_trust_add_folder(trust, inner, &err), -1);
    empty_folder();
    assert_int_equal(ek_trust_add_folder(trust, inner, &err), -1);
    assert_int_equal(err.code, ERROR_NOT_FOUND);
}

static int setup(void **state)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *root = ek_maker_issue_ca(NULL, key, key, "root");
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    (void)state;
    (void)snprintf(folder, sizeof(folder), "/tmp/signet-anchors-XXXXXX");
    assert_non_null(mkdtemp(folder));
    ek_maker_der(root, &der);
    assert_int_equal(PEM_write_bio_X509(bio, root), 1);
    const long size = BIO_get_mem_data(bio, &text);
    buffer_append(&pem, text, (size_t)size);
    BIO_free(bio);
    X509_free(root);
    EVP_PKEY_free(key);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    empty_folder();
    buffer_clear(&pem);
    buffer_clear(&der);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_read),
        cmocka_unit_test(others_are_refused_by_name),
        cmocka_unit_test(folders_are_checked),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
