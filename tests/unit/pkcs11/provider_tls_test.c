/* TLS, both sides with a key of a keystore and a certificate, as ordinary OpenSSL code does it. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <openssl/ssl.h>

#include "tests/unit/pkcs11/memory_keystore.h"

enum { PIPE_BYTES = 65536, ROUNDS_MAX = 20 };

struct side {
    EVP_PKEY *pkey;
    X509 *certificate;
};

static struct side side_new(struct keystore *keystore, enum key_type type, bool is_software)
{
    struct side side = {.pkey = is_software ? EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256")
                                            : memory_pkey(keystore, type)};
    assert_non_null(side.pkey);
    side.certificate = certificate_of(side.pkey, "side", EVP_sha256());
    return side;
}

static void side_free(struct side *side)
{
    EVP_PKEY_free(side->pkey);
    X509_free(side->certificate);
}

static SSL *ssl_new(const SSL_METHOD *method, const struct side *own, const struct side *peer,
                    int version)
{
    SSL_CTX *context = SSL_CTX_new(method);
    assert_int_equal(SSL_CTX_set_min_proto_version(context, version), 1);
    assert_int_equal(SSL_CTX_set_max_proto_version(context, version), 1);
    assert_int_equal(SSL_CTX_use_certificate(context, own->certificate), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(context, own->pkey), 1);
    assert_int_equal(SSL_CTX_check_private_key(context), 1);
    assert_int_equal(X509_STORE_add_cert(SSL_CTX_get_cert_store(context), peer->certificate), 1);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL *ssl = SSL_new(context);
    assert_non_null(ssl);
    SSL_CTX_free(context);
    return ssl;
}

static void shake_hands(SSL *server, SSL *client)
{
    bool is_done = false;
    for (int i = 0; i < ROUNDS_MAX && !is_done; i++) {
        int client_result = SSL_do_handshake(client);
        int server_result = SSL_do_handshake(server);
        is_done = client_result == 1 && server_result == 1;
    }
    assert_true(is_done);
}

static void check_exchange(SSL *server, SSL *client)
{
    char received[16] = "";
    assert_int_equal(SSL_write(client, "hello", 5), 5);
    assert_int_equal(SSL_read(server, received, sizeof(received)), 5);
    assert_memory_equal(received, "hello", 5);
}

static void check_handshake(const struct side *server_side, const struct side *client_side,
                            int version)
{
    BIO *server_bio = NULL;
    BIO *client_bio = NULL;
    SSL *server = ssl_new(TLS_server_method(), server_side, client_side, version);
    SSL *client = ssl_new(TLS_client_method(), client_side, server_side, version);
    assert_int_equal(BIO_new_bio_pair(&server_bio, PIPE_BYTES, &client_bio, PIPE_BYTES), 1);
    SSL_set_bio(server, server_bio, server_bio);
    SSL_set_bio(client, client_bio, client_bio);
    SSL_set_accept_state(server);
    SSL_set_connect_state(client);
    shake_hands(server, client);
    check_exchange(server, client);
    assert_int_equal(SSL_version(server), version);
    assert_int_equal(SSL_get_verify_result(server), X509_V_OK);
    assert_int_equal(SSL_get_verify_result(client), X509_V_OK);
    SSL_free(server);
    SSL_free(client);
}

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

static void test_both_sides_in_a_keystore(void **state)
{
    for (int i = 0; i < KEY_TYPE_COUNT * KEY_TYPE_COUNT; i++) {
        struct side server = side_new(*state, (enum key_type)(i / KEY_TYPE_COUNT), false);
        struct side client = side_new(*state, (enum key_type)(i % KEY_TYPE_COUNT), false);
        for (size_t j = 0; j < ARRAY_SIZE(versions); j++) {
            check_handshake(&server, &client, versions[j]);
        }
        side_free(&server);
        side_free(&client);
    }
}

static void test_software_on_one_side(void **state)
{
    for (int i = 0; i < KEY_TYPE_COUNT; i++) {
        struct side ours = side_new(*state, (enum key_type)i, false);
        struct side software = side_new(*state, KEY_TYPE_EC_P256, true);
        for (size_t j = 0; j < ARRAY_SIZE(versions); j++) {
            check_handshake(&ours, &software, versions[j]);
            check_handshake(&software, &ours, versions[j]);
        }
        check_handshake(&software, &software, TLS1_3_VERSION);
        side_free(&ours);
        side_free(&software);
    }
}

static int set_up(void **state)
{
    *state = memory_keystore(&keystore_driver_memory);
    return 0;
}

static int tear_down(void **state)
{
    keystore_free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_sides_in_a_keystore),
        cmocka_unit_test(test_software_on_one_side),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
