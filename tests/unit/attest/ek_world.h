/* CAs and EKs made in software, and how their certificates are put before the judge. */
#pragma once

#include "tests/unit/attest/ek_maker.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "attest/ek_chain.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "tests/unit/assert_done.h"

/* Root, issuer below it, one stranger with the same names; EKs of both kinds. */
static struct world {
    char folder[64];
    EVP_PKEY *root_key, *issuer_key, *ek_key, *other_key, *rsa_key;
    X509 *root, *issuer, *strange_root, *strange_issuer;
    TPMT_PUBLIC ek, other, rsa;
    struct ek_trust *trust; /* of the root alone */
} world;

static inline void write_pem(const char *path, X509 *const *certificates, size_t count)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(PEM_write_X509(file, certificates[i]), 1);
    }
    assert_int_equal(fclose(file), 0);
}

static inline struct ek_trust *trust_of(X509 *certificate)
{
    struct error err;
    _cleanup_(free_cleanup) char *path = file_join(world.folder, "ca.pem");
    write_pem(path, &certificate, 1);
    struct ek_trust *trust = ek_trust_new();
    assert_done(ek_trust_add_folder(trust, world.folder, &err), err);
    assert_int_equal(unlink(path), 0);
    return trust;
}

/* What goes to the judge. */
struct attempt {
    const TPMT_PUBLIC *ek;
    X509 *certificate;
    X509 *chain[EK_CHAIN_MAX + 1];
    size_t chain_count;
    int64_t now_s;
    struct buffer padding;
};

static inline int judge(struct ek_trust *trust, const struct attempt *attempt, const char **ret_how,
                        struct error *ret_err)
{
    _cleanup_(buffer_clear) struct buffer der = {0};
    struct buffer chain[EK_CHAIN_MAX + 1] = {0};
    struct bytes chain_bytes[EK_CHAIN_MAX + 1];
    if (attempt->certificate) {
        ek_maker_der(attempt->certificate, &der);
        buffer_append(&der, attempt->padding.data, attempt->padding.size);
    }
    for (size_t i = 0; i < attempt->chain_count; i++) {
        ek_maker_der(attempt->chain[i], &chain[i]);
        chain_bytes[i] = buffer_bytes(&chain[i]);
    }
    const int result = ek_trust_judge(trust, attempt->ek, buffer_bytes(&der), chain_bytes,
                                      attempt->chain_count, attempt->now_s, ret_how, ret_err);
    for (size_t i = 0; i < attempt->chain_count; i++) {
        buffer_clear(&chain[i]);
    }
    return result;
}

static inline void assert_judged(struct ek_trust *trust, const struct attempt *attempt,
                                 const char *name, enum error_code code, const char *text)
{
    struct error err = {0};
    const char *how = NULL;
    const int result = judge(trust, attempt, &how, &err);
    if (result == 0 ? code != ERROR_OK : err.code != code || !strstr(err.text, text)) {
        fail_msg("%s: %d, %s: %s", name, result, error_code_name(err.code), err.text);
    }
    if (result == 0) {
        assert_string_equal(how, "certificate");
    }
    assert_int_equal(ERR_peek_error(), 0);
}

static inline X509 *good_certificate(void)
{
    return ek_maker_issue(&(struct ek_maker_request){
        .issuer = world.issuer, .issuer_key = world.issuer_key, .key = world.ek_key});
}

static inline int world_setup(void **state)
{
    (void)state;
    (void)snprintf(world.folder, sizeof(world.folder), "/tmp/signet-ek-XXXXXX");
    assert_non_null(mkdtemp(world.folder));
    world.root_key = EVP_EC_gen("P-256");
    world.issuer_key = EVP_EC_gen("P-256");
    world.ek_key = EVP_EC_gen("P-256");
    world.other_key = EVP_EC_gen("P-256");
    world.rsa_key = EVP_RSA_gen(2048);
    world.root = ek_maker_issue_ca(NULL, world.root_key, world.root_key, "root");
    world.issuer = ek_maker_issue_ca(world.root, world.root_key, world.issuer_key, "issuer");
    world.strange_root = ek_maker_issue_ca(NULL, world.other_key, world.other_key, "root");
    world.strange_issuer =
        ek_maker_issue_ca(world.strange_root, world.other_key, world.other_key, "issuer");
    ek_maker_public(world.ek_key, &world.ek);
    ek_maker_public(world.other_key, &world.other);
    ek_maker_public(world.rsa_key, &world.rsa);
    world.trust = trust_of(world.root);
    return 0;
}

static inline int world_teardown(void **state)
{
    (void)state;
    ek_trust_free(world.trust);
    X509_free(world.root);
    X509_free(world.issuer);
    X509_free(world.strange_root);
    X509_free(world.strange_issuer);
    EVP_PKEY_free(world.root_key);
    EVP_PKEY_free(world.issuer_key);
    EVP_PKEY_free(world.ek_key);
    EVP_PKEY_free(world.other_key);
    EVP_PKEY_free(world.rsa_key);
    return rmdir(world.folder);
}
