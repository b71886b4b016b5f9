/* A keystore in memory, identities with real keys and certificates, and one process that sees them.
 */
#pragma once

#include <openssl/x509v3.h>
#include <poll.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/memory.h"
#include "pkcs11/memory/memory.h"
#include "pkcs11/token/session.h"

enum { FIXTURE_WAIT_MS = 20000, FIXTURE_HOUR_S = 3600 };

struct fixture {
    struct keystore *keystore;
    struct mailbox *mailbox;
    EVP_PKEY *ca; /* signs every certificate */
    size_t under_way;
    struct token_caller *caller;
    CK_SESSION_HANDLE session;
};

/* The time of the caller; the tests move it. */
static uint64_t fixture_now_ms;
static int64_t fixture_now_s;

static uint64_t fixture_monotonic_ms(void)
{
    return fixture_now_ms;
}

static int64_t fixture_wall_s(void)
{
    return fixture_now_s;
}

static const struct token_clock fixture_clock = {fixture_monotonic_ms, fixture_wall_s};

static inline struct token_caller *fixture_caller(struct fixture *fixture)
{
    struct token_caller *caller = token_caller_new(&(struct token_caller_config){
        .mailbox = fixture->mailbox, .flow = 7, .under_way = &fixture->under_way});
    caller_set_clock(caller, &fixture_clock);
    return caller;
}

static inline void fixture_set_up(struct fixture *fixture)
{
    *fixture = (struct fixture){0};
    fixture_now_ms = 1000000;
    fixture_now_s = clock_now_s();
    const struct keystore_config config = {.name = "memory", .driver = &keystore_driver_memory};
    assert_int_equal(secret_init(NULL), 0);
    assert_int_equal(keystore_new(&config, &fixture->keystore, NULL), 0);
    assert_int_equal(mailbox_new(&fixture->mailbox, NULL), 0);
    fixture->ca = EVP_EC_gen("P-256");
    assert_non_null(fixture->ca);
    fixture->caller = fixture_caller(fixture);
    assert_int_equal(
        token_open_session(fixture->caller, TOKEN_SLOT_ID, CKF_SERIAL_SESSION, &fixture->session),
        CKR_OK);
}

/* Delivers what the keystore has done, waiting for the first of it. */
static inline void fixture_deliver(struct fixture *fixture)
{
    struct pollfd descriptor = {.fd = mailbox_descriptor(fixture->mailbox), .events = POLLIN};
    assert_int_equal(poll(&descriptor, 1, FIXTURE_WAIT_MS), 1);
    mailbox_deliver(fixture->mailbox);
}

static inline void fixture_tear_down(struct fixture *fixture)
{
    if (fixture->caller) {
        token_caller_free(fixture->caller);
    }
    while (fixture->under_way > 0) {
        fixture_deliver(fixture);
    }
    keystore_free(fixture->keystore);
    mailbox_free(fixture->mailbox);
    EVP_PKEY_free(fixture->ca);
}

static inline struct key *fixture_key(struct fixture *fixture, enum key_type type)
{
    struct key *key = NULL;
    assert_int_equal(
        keystore_key_generate(fixture->keystore, type, NULL, KEYSTORE_PRIORITY_ISSUE, &key, NULL),
        0);
    return key;
}

static inline EVP_PKEY *fixture_public(const struct key *key)
{
    const uint8_t *at = key_public_der(key).data;
    EVP_PKEY *pkey = d2i_PUBKEY(NULL, &at, (long)key_public_der(key).size);
    assert_non_null(pkey);
    return pkey;
}

/* Appends a certificate for the public key. */
static inline void fixture_certify(struct fixture *fixture, EVP_PKEY *public, const char *name,
                                   uint64_t serial, struct buffer *chain)
{
    X509 *certificate = X509_new();
    X509_NAME *subject = X509_get_subject_name(certificate);
    assert_int_equal(X509_set_version(certificate, 2), 1);
    assert_int_equal(ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial), 1);
    assert_int_equal(
        X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const uint8_t *)name, -1, -1, 0),
        1);
    assert_int_equal(X509_set_issuer_name(certificate, subject), 1);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(certificate), -60));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(certificate), FIXTURE_HOUR_S));
    assert_int_equal(X509_set_pubkey(certificate, public), 1);
    assert_true(X509_sign(certificate, fixture->ca, EVP_sha256()) > 0);
    uint8_t *der = NULL;
    int size = i2d_X509(certificate, &der);
    assert_true(size > 0);
    buffer_append(chain, der, (size_t)size);
    OPENSSL_free(der);
    X509_free(certificate);
}

/* An identity with a new key of that type; intermediate may be empty. */
static inline struct token_generation *fixture_generation(struct fixture *fixture,
                                                          const char *label, enum key_type type,
                                                          struct bytes intermediate)
{
    static uint64_t serial = 1000;
    struct token_generation *generation = NULL;
    struct key *key = fixture_key(fixture, type);
    EVP_PKEY *public = fixture_public(key);
    _cleanup_(buffer_clear) struct buffer chain = {0};
    fixture_certify(fixture, public, label, serial++, &chain);
    EVP_PKEY_free(public);
    buffer_append(&chain, intermediate.data, intermediate.size);
    const struct token_generation_config config = {.label = label,
                                                   .key = key,
                                                   .chain = buffer_bytes(&chain),
                                                   .expires_at_s = fixture_now_s + FIXTURE_HOUR_S,
                                                   .tag = (uint64_t)(uintptr_t)label};
    struct error err = {0};
    if (token_generation_new(&config, &generation, &err) < 0) {
        fail_msg("%s", err.text);
    }
    key_unref(key);
    return generation;
}

/* Publishes the first listed_count of generations as listed, the others as retired. */
static inline void fixture_publish(struct fixture *fixture, struct token_generation **generations,
                                   size_t listed_count, size_t count, struct token_anchors *anchors)
{
    size_t retired_count = count - listed_count;
    struct token_view *view = token_view_new(generations, listed_count,
                                             retired_count > 0 ? generations + listed_count : NULL,
                                             retired_count, anchors);
    token_caller_set_view(fixture->caller, view, NULL);
    token_view_unref(view);
}

static inline CK_OBJECT_HANDLE fixture_handle(const struct token_generation *generation,
                                              unsigned number)
{
    return generation->objects[number - OBJECT_LEAF].handle;
}

/* All that a search finds. */
static inline size_t fixture_find(struct fixture *fixture, const CK_ATTRIBUTE *wanted, size_t count,
                                  CK_OBJECT_HANDLE *objects, size_t limit)
{
    size_t found = 0;
    assert_int_equal(token_find_init(fixture->caller, fixture->session, wanted, count), CKR_OK);
    assert_int_equal(token_find(fixture->caller, fixture->session, objects, limit, &found), CKR_OK);
    assert_int_equal(token_find_final(fixture->caller, fixture->session), CKR_OK);
    return found;
}

static inline size_t fixture_find_one(struct fixture *fixture, CK_ATTRIBUTE_TYPE type,
                                      struct bytes value, CK_OBJECT_HANDLE *objects, size_t limit)
{
    CK_ATTRIBUTE wanted = {type, (void *)value.data, value.size};
    return fixture_find(fixture, &wanted, 1, objects, limit);
}

/* Value of an attribute, borrowed; fails the test when there is none. */
static inline struct bytes fixture_attribute(struct fixture *fixture, CK_OBJECT_HANDLE object,
                                             CK_ATTRIBUTE_TYPE type)
{
    CK_ATTRIBUTE attribute = {.type = type};
    CK_RV rv = token_get_attributes(fixture->caller, fixture->session, object, &attribute, 1);
    if (rv != CKR_OK) {
        fail_msg("attribute 0x%lx: 0x%lx", type, rv);
    }
    return (struct bytes){attribute.pValue, attribute.ulValueLen};
}

/* What done told. */
struct outcome {
    unsigned calls;
    CK_RV rv;
    uint8_t signature[SIGNATURE_MAX_BYTES];
    size_t size;
};

static inline void fixture_note(void *user, CK_RV rv, struct bytes signature)
{
    struct outcome *outcome = user;
    outcome->calls++;
    outcome->rv = rv;
    outcome->size = signature.size;
    if (signature.size > 0) {
        memcpy(outcome->signature, signature.data, signature.size);
    }
}
