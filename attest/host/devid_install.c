#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "attest/host/devid.h"
#include "attest/host/devid_files.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "lib/base/pem.h"

enum { CHAIN_MAX = 8, CHAIN_MAX_BYTES = 64 << 10 };

DEFINE_CLEANUP(BIO, bio, BIO_free_all);
DEFINE_CLEANUP(EVP_PKEY, evp_pkey, EVP_PKEY_free);

struct chain {
    X509 *items[CHAIN_MAX];
    size_t count;
};

static void chain_clear(struct chain *chain)
{
    for (size_t i = 0; i < chain->count; i++) {
        X509_free(chain->items[i]);
    }
}

static int read_chain(struct bytes pem, struct chain *ret_chain, struct error *err)
{
    if (memmem(pem.data, pem.size, "PRIVATE KEY", strlen("PRIVATE KEY"))) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "there is a private key among the certificates; leave it out, and keep it "
                         "where it belongs");
    }
    struct reader reader = reader_of(pem);
    X509 *item = NULL;
    int got = pem.size <= CHAIN_MAX_BYTES ? 1 : -1;
    while (got > 0 && (got = pem_certificate_next(&reader, &item)) > 0) {
        if (ret_chain->count == CHAIN_MAX) {
            X509_free(item);
            return error_set(err, ERROR_INVALID_ARGUMENT, "there are more than %d certificates",
                             CHAIN_MAX);
        }
        ret_chain->items[ret_chain->count++] = item;
    }
    if (got < 0 || ret_chain->count == 0) {
        return error_set_openssl(err, ERROR_INVALID_ARGUMENT,
                                 "certificate %zu cannot be read (PEM, at most %d bytes in all)",
                                 ret_chain->count + 1, CHAIN_MAX_BYTES);
    }
    ERR_clear_error();
    return 0;
}

static int check_time(const X509 *certificate, size_t index, struct error *err)
{
    return X509_cmp_current_time(X509_get0_notAfter(certificate)) > 0
               ? 0
               : error_set(err, ERROR_INVALID_ARGUMENT, "certificate %zu has expired", index + 1);
}

/* The certificate of the DevID itself. */
static int check_leaf(X509 *leaf, EVP_PKEY *public, struct error *err)
{
    EVP_PKEY *certified = X509_get0_pubkey(leaf);
    if (!certified || EVP_PKEY_eq(certified, public) != 1) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "the first certificate is not for this DevID's key; it was issued for "
                         "another request, or the chain is in another order");
    }
    if (X509_check_ca(leaf) != 0 || (X509_get_extension_flags(leaf) & EXFLAG_CA)) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "the first certificate is one of a CA, and a DevID's must not be "
                         "(basicConstraints=CA:FALSE)");
    }
    if (!(X509_get_key_usage(leaf) & KU_DIGITAL_SIGNATURE)) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "the first certificate does not allow signatures "
                         "(keyUsage=digitalSignature)");
    }
    return check_time(leaf, 0, err);
}

static int check_issuer(X509 *issuer, X509 *issued, size_t index, struct error *err)
{
    EVP_PKEY *key = X509_get0_pubkey(issuer);
    if (X509_check_issued(issuer, issued) != X509_V_OK || X509_check_ca(issuer) == 0 || !key ||
        X509_verify(issued, key) != 1) {
        return error_set_openssl(err, ERROR_INVALID_ARGUMENT,
                                 "certificate %zu is not the CA's that issued the one before it; "
                                 "put the chain in order, the DevID's certificate first",
                                 index + 1);
    }
    return check_time(issuer, index, err);
}

/* Only what was read: comments and other blocks stay behind. */
static int write_chain(const char *folder, const struct chain *chain, struct error *err)
{
    char *data = NULL;
    _cleanup_(free_cleanup) char *path = file_join(folder, DEVID_CERTIFICATE_FILE);
    _cleanup_(bio_cleanup) BIO *bio = BIO_new(BIO_s_mem());
    bool is_encoded = bio != NULL;
    for (size_t i = 0; i < chain->count && is_encoded; i++) {
        is_encoded = PEM_write_bio_X509(bio, chain->items[i]) == 1;
    }
    if (!is_encoded) {
        return error_set_openssl(err, ERROR_INTERNAL, "encoding certificates");
    }
    long size = BIO_get_mem_data(bio, &data);
    return file_write_atomic(path, (struct bytes){(const uint8_t *)data, (size_t)size}, 0644, err);
}

static int install(struct tpm_device *device, const char *folder, struct bytes pem,
                   struct chain *chain, struct error *err)
{
    _cleanup_(devid_key_close_cleanup) struct devid_key *key = NULL;
    TRY(read_chain(pem, chain, err));
    TRY(devid_files_open(device, folder, &key, err));
    _cleanup_(evp_pkey_cleanup) EVP_PKEY *public = tpm_public_pkey(&key->public, err);
    if (!public) {
        return -1;
    }
    TRY(check_leaf(chain->items[0], public, err));
    for (size_t i = 1; i < chain->count; i++) {
        TRY(check_issuer(chain->items[i], chain->items[i - 1], i, err));
    }
    return write_chain(folder, chain, err);
}

int devid_install(struct tpm_device *device, const char *folder, struct bytes chain_pem,
                  struct error *err)
{
    _cleanup_(chain_clear) struct chain chain = {0};
    return install(device, folder, chain_pem, &chain, err) < 0
               ? error_prepend(err, "installing a DevID's certificate")
               : 0;
}
