/* DevIDs: keys as SPIRE reads them, requests, and certificates that are checked before they are
 * taken. */
#include "tests/unit/attest_host/tpms.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "attest/host/devid.h"
#include "attest/host/devid_files.h"
#include "lib/base/file.h"

static const enum key_type types[] = {KEY_TYPE_EC_P256, KEY_TYPE_RSA_2048};

/* A folder beside the TPM's state, gone with it. */
static char *new_folder(const struct swtpm *swtpm)
{
    static unsigned number;
    return text_format("%s/devid-%u", swtpm->folder, number++);
}

static char *init(const struct swtpm *swtpm, enum key_type type)
{
    struct error err;
    char *folder = new_folder(swtpm);
    struct tpm_device *device = tpms_open(swtpm->tcti);
    assert_done(devid_init(device, folder, type, &err), err);
    tpm_device_close(device);
    device_assert_empty(swtpm->tcti);
    return folder;
}

static X509_REQ *request(const struct swtpm *swtpm, const char *folder, const char *subject)
{
    struct error err;
    _cleanup_(buffer_clear) struct buffer pem = {0};
    struct tpm_device *device = tpms_open(swtpm->tcti);
    assert_done(devid_csr(device, folder, subject, &pem, &err), err);
    tpm_device_close(device);
    device_assert_empty(swtpm->tcti);
    BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.size);
    X509_REQ *read = PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);
    BIO_free(bio);
    assert_non_null(read);
    return read;
}

static void read_back(const char *folder, const char *name, struct buffer *ret_contents)
{
    struct error err;
    _cleanup_(free_cleanup) char *path = file_join(folder, name);
    assert_done(buffer_read_file(path, 1 << 16, ret_contents, &err), err);
}

static void write_file(const char *folder, const char *name, const struct buffer *contents)
{
    struct error err;
    _cleanup_(free_cleanup) char *path = file_join(folder, name);
    assert_done(file_write_atomic(path, buffer_bytes(contents), 0600, &err), err);
}

static mode_t mode_of(const char *folder, const char *name)
{
    struct stat status;
    _cleanup_(free_cleanup) char *path = file_join(folder, name);
    assert_int_equal(stat(path, &status), 0);
    return status.st_mode & 0777;
}

/* What SPIRE's agent wants: no sizes before the structures, a scheme, SHA-256. */
static void the_blobs_are_bare(void **state)
{
    const struct swtpm *swtpm = *state;
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        _cleanup_(free_cleanup) char *folder = init(swtpm, types[i]);
        _cleanup_(buffer_clear) struct buffer public = {0};
        _cleanup_(buffer_clear) struct buffer private = {0};
        read_back(folder, DEVID_PUBLIC_FILE, &public);
        read_back(folder, DEVID_PRIVATE_FILE, &private);
        struct reader reader = reader_of(buffer_bytes(&public));
        bool is_rsa = types[i] == KEY_TYPE_RSA_2048;
        assert_int_equal(reader_u16(&reader), is_rsa ? TPM2_ALG_RSA : TPM2_ALG_ECC);
        assert_int_equal(reader_u16(&reader), TPM2_ALG_SHA256);
        assert_int_equal(reader_u32(&reader), 0x00040472);
        assert_int_equal(reader_u16(&reader), 0); /* policy */
        assert_int_equal(reader_u16(&reader), TPM2_ALG_NULL);
        assert_int_equal(reader_u16(&reader), is_rsa ? TPM2_ALG_RSASSA : TPM2_ALG_ECDSA);
        assert_int_equal(reader_u16(&reader), TPM2_ALG_SHA256);
        /* The integrity's size comes first in a private area. */
        reader = reader_of(buffer_bytes(&private));
        assert_int_equal(reader_u16(&reader), 32);
        assert_int_equal(mode_of(folder, DEVID_PUBLIC_FILE), 0600);
        assert_int_equal(mode_of(folder, DEVID_PRIVATE_FILE), 0600);
    }
}

static void one_that_exists_is_kept(void **state)
{
    const struct swtpm *swtpm = *state;
    struct error err;
    _cleanup_(buffer_clear) struct buffer before = {0};
    _cleanup_(buffer_clear) struct buffer after = {0};
    _cleanup_(free_cleanup) char *folder = init(swtpm, KEY_TYPE_EC_P256);
    read_back(folder, DEVID_PRIVATE_FILE, &before);
    struct tpm_device *device = tpms_open(swtpm->tcti);
    assert_int_equal(devid_init(device, folder, KEY_TYPE_EC_P256, &err), -1);
    assert_int_equal(err.code, ERROR_ALREADY_EXISTS);
    read_back(folder, DEVID_PRIVATE_FILE, &after);
    assert_true(bytes_is_equal(buffer_bytes(&before), buffer_bytes(&after)));
    _cleanup_(free_cleanup) char *other = new_folder(swtpm);
    assert_int_equal(devid_init(device, other, KEY_TYPE_EC_P384, &err), -1);
    assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
    tpm_device_close(device);
}

static void a_request_is_signed_by_the_key(void **state)
{
    struct swtpm *swtpm = *state;
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        char text[256];
        _cleanup_(free_cleanup) char *folder = init(swtpm, types[i]);
        tpms_reboot(swtpm);
        for (unsigned round = 0; round < 20; round++) {
            X509_REQ *read = request(swtpm, folder, "CN=node1,serialNumber=7");
            assert_int_equal(X509_REQ_verify(read, X509_REQ_get0_pubkey(read)), 1);
            (void)X509_NAME_oneline(X509_REQ_get_subject_name(read), text, sizeof(text));
            assert_string_equal(text, "/serialNumber=7/CN=node1");
            X509_REQ_free(read);
        }
    }
}

static void subjects_are_read_as_written(void **state)
{
    static const struct {
        const char *text;
        const char *printed; /* NULL: refused */
    } cases[] = {
        {"CN=a", "CN=a"},
        {"CN=a,O=b", "CN=a,O=b"},
        {"CN=a, O=b", "CN=a,O=b"},
        {"CN=a+serialNumber=1,O=b", "CN=a+serialNumber=1,O=b"},
        {"CN=a\\,b\\+c,O=\\\\", "CN=a\\,b\\+c,O=\\\\"},
        {"CN=\\41\\c3\\a9", "CN=A\\C3\\A9"},
        {"2.5.4.3=x", "CN=x"},
        {"", NULL},
        {"CN", NULL},
        {"CN=", NULL},
        {"=x", NULL},
        {"CN=a,", NULL},
        {"CN=a,,O=b", NULL},
        {"nothing=a", NULL},
        {"CN=\\", NULL},
        {"CN=\\0", NULL},
        {"CN=\\00", NULL},
        {"CN=\\zz", NULL},
        {"CN=#04", NULL},
        {"CN=\"a\"", NULL},
        {"C=Switzerland", NULL},
        {"CN=\xff", NULL},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct error err;
        X509_NAME *name = NULL;
        int result = devid_subject_parse(cases[i].text, &name, &err);
        if (!cases[i].printed) {
            assert_int_equal(result, -1);
            assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
            continue;
        }
        char *printed = NULL;
        BIO *bio = BIO_new(BIO_s_mem());
        assert_done(result, err);
        assert_true(X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) > 0);
        long size = BIO_get_mem_data(bio, &printed);
        assert_int_equal(size, strlen(cases[i].printed));
        assert_memory_equal(printed, cases[i].printed, (size_t)size);
        BIO_free(bio);
        X509_NAME_free(name);
    }
}

static void add_extension(X509 *certificate, int nid, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

struct wish {
    const char *issuer, *subject;
    EVP_PKEY *issuer_key, *key;
    const char *constraints, *usage;
    long valid_s;
};

static X509 *issue(const struct wish *wish)
{
    X509 *certificate = X509_new();
    X509_NAME *name = X509_get_subject_name(certificate);
    X509_set_version(certificate, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)wish->subject, -1,
                               -1, 0);
    name = X509_get_issuer_name(certificate);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)wish->issuer, -1,
                               -1, 0);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -7200);
    X509_gmtime_adj(X509_getm_notAfter(certificate), wish->valid_s);
    X509_set_pubkey(certificate, wish->key);
    add_extension(certificate, NID_basic_constraints, wish->constraints);
    if (wish->usage) {
        add_extension(certificate, NID_key_usage, wish->usage);
    }
    assert_true(X509_sign(certificate, wish->issuer_key, EVP_sha256()) > 0);
    return certificate;
}

static void append_pem(X509 *certificate, struct buffer *pem)
{
    char *data = NULL;
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_X509(bio, certificate), 1);
    long size = BIO_get_mem_data(bio, &data);
    buffer_append(pem, data, (size_t)size);
    BIO_free(bio);
}

static const char ca_constraints[] = "critical,CA:TRUE";
static const char leaf_constraints[] = "critical,CA:FALSE";

struct chain_case {
    const char *what;
    struct wish leaf, issuer;
    bool is_swapped, has_key, has_issuer, is_cut;
    const char *reason; /* NULL: taken */
};

static int install(const struct swtpm *swtpm, const char *folder, const struct chain_case *tried,
                   struct error *err)
{
    _cleanup_(buffer_clear) struct buffer pem = {0};
    X509 *leaf = issue(&tried->leaf);
    X509 *issuer = issue(&tried->issuer);
    append_pem(tried->is_swapped ? issuer : leaf, &pem);
    if (tried->has_issuer) {
        append_pem(tried->is_swapped ? leaf : issuer, &pem);
    }
    if (tried->has_key) {
        buffer_append_text(&pem, "-----BEGIN EC PRIVATE KEY-----\n");
    }
    if (tried->is_cut) {
        pem.size -= 100;
    }
    struct tpm_device *device = tpms_open(swtpm->tcti);
    int result = devid_install(device, folder, buffer_bytes(&pem), err);
    tpm_device_close(device);
    X509_free(leaf);
    X509_free(issuer);
    return result;
}

static void only_the_right_certificate_is_taken(void **state)
{
    const struct swtpm *swtpm = *state;
    EVP_PKEY *ca = EVP_EC_gen("P-256");
    EVP_PKEY *other = EVP_EC_gen("P-256");
    for (size_t t = 0; t < ARRAY_SIZE(types); t++) {
        _cleanup_(free_cleanup) char *folder = init(swtpm, types[t]);
        X509_REQ *asked = request(swtpm, folder, "CN=node1");
        EVP_PKEY *key = X509_REQ_get0_pubkey(asked);
        const struct wish leaf = {"ca", "node1", ca, key, leaf_constraints, "digitalSignature",
                                  3600};
        const struct wish root = {"ca", "ca", ca, ca, ca_constraints, "keyCertSign", 3600};
        struct chain_case cases[] = {
            {.what = "leaf alone", .reason = NULL},
            {.what = "chain", .has_issuer = true, .reason = NULL},
            {.what = "usage not said", .reason = NULL},
            {.what = "other key", .reason = "not for this DevID's key"},
            {.what = "expired", .reason = "certificate 1 has expired"},
            {.what = "a CA", .reason = "one of a CA"},
            {.what = "no signatures", .reason = "does not allow signatures"},
            {.what = "wrong order",
             .has_issuer = true,
             .is_swapped = true,
             .reason = "not for this DevID's key"},
            {.what = "foreign issuer",
             .has_issuer = true,
             .reason = "certificate 2 is not the CA's"},
            {.what = "issuer no CA", .has_issuer = true, .reason = "certificate 2 is not the CA's"},
            {.what = "issuer expired", .has_issuer = true, .reason = "certificate 2 has expired"},
            {.what = "private key", .has_key = true, .reason = "private key"},
            {.what = "cut",
             .has_issuer = true,
             .is_cut = true,
             .reason = "certificate 2 cannot be read"},
        };
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
            cases[i].leaf = leaf;
            cases[i].issuer = root;
        }
        cases[2].leaf.usage = NULL;
        cases[3].leaf.key = other;
        cases[4].leaf.valid_s = -60;
        cases[5].leaf.constraints = ca_constraints;
        cases[6].leaf.usage = "keyEncipherment";
        cases[8].issuer.key = other;
        cases[8].issuer.issuer_key = other;
        cases[9].issuer.constraints = leaf_constraints;
        cases[10].issuer.valid_s = -60;
        for (size_t i = ARRAY_SIZE(cases); i-- > 0;) {
            struct error err = {.text = ""};
            int result = install(swtpm, folder, &cases[i], &err);
            if (!cases[i].reason) {
                assert_done(result, err);
                assert_int_equal(mode_of(folder, DEVID_CERTIFICATE_FILE), 0644);
                continue;
            }
            if (result == 0) {
                fail_msg("%s: taken", cases[i].what);
            }
            assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
            if (!strstr(err.text, cases[i].reason)) {
                fail_msg("%s: %s", cases[i].what, err.text);
            }
            _cleanup_(free_cleanup) char *path = file_join(folder, DEVID_CERTIFICATE_FILE);
            assert_int_equal(access(path, F_OK), -1);
        }
        X509_REQ_free(asked);
    }
    EVP_PKEY_free(ca);
    EVP_PKEY_free(other);
}

static enum error_code try_open(const struct swtpm *swtpm, const char *folder)
{
    struct error err = {.text = ""};
    struct devid_key *key = NULL;
    struct tpm_device *device = tpms_open(swtpm->tcti);
    int result = devid_files_open(device, folder, &key, &err);
    if (result == 0) {
        devid_key_close(key);
    }
    tpm_device_close(device);
    return result < 0 ? err.code : ERROR_OK;
}

static void another_tpm_does_not_take_the_key(void **state)
{
    const struct swtpm *swtpm = *state;
    struct swtpm other;
    _cleanup_(free_cleanup) char *folder = init(swtpm, KEY_TYPE_EC_P256);
    swtpm_new(&other);
    assert_int_equal(try_open(&other, folder), ERROR_NOT_FOUND);
    swtpm_remove(&other);
    assert_int_equal(try_open(swtpm, folder), ERROR_OK);
    _cleanup_(free_cleanup) char *empty = new_folder(swtpm);
    assert_int_equal(try_open(swtpm, empty), ERROR_NOT_FOUND);
}

static void damaged_blobs_are_refused(void **state)
{
    static const char *const names[] = {DEVID_PUBLIC_FILE, DEVID_PRIVATE_FILE};
    const struct swtpm *swtpm = *state;
    _cleanup_(free_cleanup) char *folder = init(swtpm, KEY_TYPE_EC_P256);
    for (size_t n = 0; n < ARRAY_SIZE(names); n++) {
        _cleanup_(buffer_clear) struct buffer blob = {0};
        read_back(folder, names[n], &blob);
        for (size_t i = 0; i < blob.size; i++) {
            blob.data[i] ^= 1;
            write_file(folder, names[n], &blob);
            assert_int_not_equal(try_open(swtpm, folder), ERROR_OK);
            blob.data[i] ^= 1;
        }
        for (size_t whole = blob.size, size = 0; size < whole; size += 7) {
            blob.size = size;
            write_file(folder, names[n], &blob);
            assert_int_not_equal(try_open(swtpm, folder), ERROR_OK);
            blob.size = whole;
        }
        write_file(folder, names[n], &blob);
        assert_int_equal(try_open(swtpm, folder), ERROR_OK);
    }
    device_assert_empty(swtpm->tcti);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_blobs_are_bare),
        cmocka_unit_test(one_that_exists_is_kept),
        cmocka_unit_test(a_request_is_signed_by_the_key),
        cmocka_unit_test(subjects_are_read_as_written),
        cmocka_unit_test(only_the_right_certificate_is_taken),
        cmocka_unit_test(another_tpm_does_not_take_the_key),
        cmocka_unit_test(damaged_blobs_are_refused),
    };
    return cmocka_run_group_tests(tests, device_setup, device_teardown);
}
