/* An EK, its certificate and further ones, as evidence brings them: each with its size before it.
 * They are judged by a CA that the seeds are issued by. */
#include "tests/fuzz/fuzz.h"

#include <openssl/x509_vfy.h>
#include <stdlib.h>
#include <unistd.h>

#include "attest/ek.h"
#include "attest/ek_chain.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

/* When the seeds are valid. */
enum { NOW_S = 1800000000 };

static const char root[] =
    "\x30\x82\x01\x39\x30\x81\xe0\xa0\x03\x02\x01\x02\x02\x01\x01\x30\x0a\x06\x08\x2a\x86\x48"
    "\xce\x3d\x04\x03\x02\x30\x14\x31\x12\x30\x10\x06\x03\x55\x04\x03\x0c\x09\x66\x75\x7a\x7a"
    "\x20\x72\x6f\x6f\x74\x30\x1e\x17\x0d\x32\x36\x30\x31\x31\x35\x30\x38\x30\x30\x30\x30\x5a"
    "\x17\x0d\x32\x38\x30\x31\x31\x35\x30\x38\x30\x30\x30\x30\x5a\x30\x14\x31\x12\x30\x10\x06"
    "\x03\x55\x04\x03\x0c\x09\x66\x75\x7a\x7a\x20\x72\x6f\x6f\x74\x30\x59\x30\x13\x06\x07\x2a"
    "\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04\x82\xa5"
    "\xa1\x7f\xfa\x27\xcb\xa2\xd3\x19\x33\xfa\x6a\xa8\x2b\xf1\x29\xcf\x1e\x0f\xe6\xbb\x28\x40"
    "\x9c\x6c\xc6\x9e\xda\x64\xa3\x06\x3b\x11\x7d\xd4\xac\x0a\x5a\x43\xea\xa9\xf1\x02\xc0\x9f"
    "\xf4\xfc\xad\x16\x51\xfa\xb8\x19\x04\x3e\x20\x05\x10\xd9\xa2\xd2\x58\xa2\xa3\x23\x30\x21"
    "\x30\x0f\x06\x03\x55\x1d\x13\x01\x01\xff\x04\x05\x30\x03\x01\x01\xff\x30\x0e\x06\x03\x55"
    "\x1d\x0f\x01\x01\xff\x04\x04\x03\x02\x02\x04\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03"
    "\x02\x03\x48\x00\x30\x45\x02\x21\x00\x81\x74\xb4\x72\x33\x0e\x95\x22\x7e\x89\x9f\xbe\xfd"
    "\x34\x8c\x29\x26\x43\xcf\xb4\xb5\xf9\x1e\x29\x78\x19\x04\xb1\x9f\x58\xbc\x88\x02\x20\x09"
    "\xf5\x8d\x3e\xd2\x8d\xd5\x85\x28\x06\x86\x59\x21\x1d\xdf\x6c\x55\x7c\x3f\xfb\x29\xe0\x67"
    "\x7d\x1a\x02\xb4\xd0\xdb\x52\x8f\x86";

static X509_STORE *anchors(void)
{
    static X509_STORE *store;
    if (!store) {
        size_t size = 0;
        X509 *certificate = NULL;
        store = X509_STORE_new();
        if (ek_certificate_parse((struct bytes){(const uint8_t *)root, sizeof(root) - 1},
                                 &certificate, &size, NULL) < 0 ||
            X509_STORE_add_cert(store, certificate) != 1) {
            abort();
        }
        X509_free(certificate);
    }
    return store;
}

static void verify(struct bytes der, const struct bytes *chain, size_t count)
{
    struct error err;
    size_t size = 0;
    X509 *certificate = NULL;
    struct ek_validity validity;
    if (ek_certificate_parse(der, &certificate, &size, &err) < 0) {
        return;
    }
    EVP_PKEY_free(ek_certificate_pkey(certificate, &err));
    (void)ek_chain_verify(anchors(), certificate, chain, count, NOW_S, &validity, &err);
    X509_free(certificate);
}

/* Of the same root, by way of a folder. */
static struct ek_trust *trust(void)
{
    static struct ek_trust *made;
    if (!made) {
        struct error err;
        char folder[] = "/tmp/signet-fuzz-XXXXXX";
        const struct bytes contents = {(const uint8_t *)root, sizeof(root) - 1};
        _cleanup_(free_cleanup) char *path = mkdtemp(folder) ? file_join(folder, "root.der") : NULL;
        made = ek_trust_new();
        if (!path || file_write_atomic(path, contents, 0600, &err) < 0 ||
            ek_trust_add_folder(made, folder, &err) < 0) {
            abort();
        }
        (void)unlink(path);
        (void)rmdir(folder);
    }
    return made;
}

static void judge(struct bytes encoded, struct bytes der, const struct bytes *chain, size_t count)
{
    struct error err;
    TPMT_PUBLIC ek;
    const char *how = NULL;
    if (public_parse(encoded, &ek, &err) == 0) {
        (void)ek_trust_judge(trust(), &ek, der, chain, count, NOW_S, &how, &err);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader reader = reader_of((struct bytes){data, size});
    const struct bytes encoded = reader_bytes(&reader, reader_u16(&reader));
    const struct bytes der = reader_bytes(&reader, reader_u16(&reader));
    struct bytes chain[EK_CHAIN_MAX];
    size_t count = 0;
    while (!reader_is_done(&reader) && !reader.is_bad && count < EK_CHAIN_MAX) {
        chain[count++] = reader_bytes(&reader, reader_u16(&reader));
    }
    verify(der, chain, count);
    judge(encoded, der, chain, count);
    return 0;
}
