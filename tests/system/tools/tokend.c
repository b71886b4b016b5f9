/* tokend SOCKET [free]: serves one token to every process that connects, with an EC and an RSA
 * identity whose keys lie in memory and whose certificates are self-signed. For tests and benches
 * of the PKCS#11 side alone. Says "ready" when it listens; ends on SIGTERM; SIGHUP does to its
 * connections what a restart of the agent does. free: signatures cost nothing and are worth
 * nothing, so that what is left is the price of asking for one. */
#include <errno.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "pkcs11/key_type.h"
#include "pkcs11/memory/memory.h"
#include "pkcs11/token/server.h"

enum { CERTIFICATE_DAYS = 30, BACKLOG = 1024 };

struct tokend;

struct client {
    TAILQ_ENTRY(client) others;
    struct tokend *tokend;
    struct token_connection *connection;
    pid_t pid;
};

TAILQ_HEAD(client_list, client);

struct tokend {
    bool has_free_signatures;
    struct keystore_driver driver;
    uv_loop_t *loop;
    struct mailbox *mailbox;
    struct keystore *keystore;
    struct token_view *view;
    struct token_server *server;
    struct client_list clients;
    int listener;
    uint64_t next_flow;
    uv_poll_t mailbox_poll, listener_poll;
    uv_signal_t terminate, restart;
};

static int set_up_certificate(X509 *certificate, EVP_PKEY *pkey, const char *name)
{
    X509_NAME *subject = X509_get_subject_name(certificate);
    X509_EXTENSION *is_ca =
        X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE");
    bool is_done = is_ca && X509_set_version(certificate, X509_VERSION_3) == 1 &&
                   ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1) == 1 &&
                   X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                                              (const unsigned char *)name, -1, -1, 0) == 1 &&
                   X509_set_issuer_name(certificate, subject) == 1 &&
                   X509_gmtime_adj(X509_getm_notBefore(certificate), -60) &&
                   X509_time_adj_ex(X509_getm_notAfter(certificate), CERTIFICATE_DAYS, 0, NULL) &&
                   X509_set_pubkey(certificate, pkey) == 1 &&
                   X509_add_ext(certificate, is_ca, -1) == 1 &&
                   X509_sign(certificate, pkey, EVP_sha256()) > 0;
    X509_EXTENSION_free(is_ca);
    return is_done ? 0 : -1;
}

/* Self-signed, DER, appended. */
static int certify(struct key *key, const char *name, struct buffer *ret_der, struct error *err)
{
    EVP_PKEY *pkey = key_evp_pkey(key, err);
    if (!pkey) {
        return -1;
    }
    X509 *certificate = X509_new();
    unsigned char *der = NULL;
    int size = -1;
    if (set_up_certificate(certificate, pkey, name) == 0) {
        size = i2d_X509(certificate, &der);
    }
    X509_free(certificate);
    EVP_PKEY_free(pkey);
    if (size <= 0) {
        return error_set_openssl(err, ERROR_INTERNAL, "making the certificate of %s", name);
    }
    buffer_append(ret_der, der, (size_t)size);
    OPENSSL_free(der);
    return 0;
}

static const struct {
    const char *label;
    enum key_type type;
} identities[] = {{"identity-ec", KEY_TYPE_EC_P256}, {"identity-rsa", KEY_TYPE_RSA_2048}};

static int make_identity(struct tokend *tokend, size_t index,
                         struct token_generation **ret_generation, struct error *err)
{
    _cleanup_(key_unref_cleanup) struct key *key = NULL;
    _cleanup_(buffer_clear) struct buffer der = {0};
    TRY(keystore_key_generate(tokend->keystore, identities[index].type, NULL,
                              KEYSTORE_PRIORITY_ISSUE, &key, err));
    TRY(certify(key, identities[index].label, &der, err));
    const struct token_generation_config config = {
        .label = identities[index].label,
        .key = key,
        .chain = buffer_bytes(&der),
        .expires_at_s = INT64_MAX,
    };
    return token_generation_new(&config, ret_generation, err);
}

static int make_view(struct tokend *tokend, struct error *err)
{
    struct token_generation *generations[ARRAY_SIZE(identities)] = {0};
    size_t count = 0;
    while (count < ARRAY_SIZE(identities) &&
           make_identity(tokend, count, &generations[count], err) == 0) {
        count++;
    }
    if (count == ARRAY_SIZE(identities)) {
        tokend->view = token_view_new(generations, count, NULL, 0, NULL);
    }
    for (size_t i = 0; i < count; i++) {
        token_generation_unref(generations[i]);
    }
    return tokend->view ? 0 : -1;
}

static void free_client(struct client *client)
{
    TAILQ_REMOVE(&client->tokend->clients, client, others);
    free(client);
}

static void client_closed(void *user)
{
    struct client *client = user;
    token_connection_close(client->connection);
    free_client(client);
}

static void adopt(struct client *client, int descriptor, struct bytes saved)
{
    const struct token_connection_config config = {
        .descriptor = descriptor,
        .pid = client->pid,
        .flow = ++client->tokend->next_flow,
        .view = client->tokend->view,
        .saved = saved,
        .closed = client_closed,
        .user = client,
    };
    struct error err;
    if (token_server_adopt(client->tokend->server, &config, &client->connection, &err) < 0) {
        (void)fprintf(stderr, "tokend: %s\n", err.text);
        free_client(client);
    }
}

static void on_listener(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct tokend *tokend = container_of(poll, struct tokend, listener_poll);
    int descriptor = accept4(tokend->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct ucred peer;
    socklen_t size = sizeof(peer);
    if (descriptor < 0 || getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) {
        file_close_cleanup(&descriptor);
        return;
    }
    struct client *client = NEW(struct client);
    client->tokend = tokend;
    client->pid = peer.pid;
    TAILQ_INSERT_TAIL(&tokend->clients, client, others);
    adopt(client, descriptor, (struct bytes){0});
}

static void on_mailbox(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    mailbox_deliver(container_of(poll, struct tokend, mailbox_poll)->mailbox);
}

static void on_terminate(uv_signal_t *handle, int number)
{
    (void)number;
    uv_stop(handle->loop);
}

struct handed_over {
    struct client *client;
    int descriptor;
    struct buffer state;
};

/* Another server goes on with what this one gives away. */
static void on_restart(uv_signal_t *handle, int number)
{
    (void)number;
    struct tokend *tokend = container_of(handle, struct tokend, restart);
    size_t count = 0;
    struct client *client;
    struct client *next;
    TAILQ_FOREACH (client, &tokend->clients, others) {
        count++;
    }
    _cleanup_(free_cleanup) struct handed_over *handed = memory_new_array(count, sizeof(*handed));
    size_t saved = 0;
    for (client = TAILQ_FIRST(&tokend->clients); client; client = next) {
        next = TAILQ_NEXT(client, others);
        struct handed_over *item = &handed[saved];
        if (token_connection_save(client->connection, &item->descriptor, &item->state, NULL) < 0) {
            free_client(client);
        } else {
            item->client = client;
            saved++;
        }
    }
    token_server_free(tokend->server);
    const struct token_server_config config = {.mailbox = tokend->mailbox};
    struct error err;
    if (token_server_new(&config, &tokend->server, &err) < 0) {
        (void)fprintf(stderr, "tokend: %s\n", err.text);
        abort();
    }
    for (size_t i = 0; i < saved; i++) {
        adopt(handed[i].client, handed[i].descriptor, buffer_bytes(&handed[i].state));
        buffer_clear(&handed[i].state);
    }
    (void)printf("restarted %zu\n", saved);
    (void)fflush(stdout);
}

static int listen_on(struct tokend *tokend, const char *path, struct error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path)) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "%s is too long for a socket", path);
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    (void)unlink(path);
    tokend->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (tokend->listener < 0 ||
        bind(tokend->listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(tokend->listener, BACKLOG) < 0) {
        return error_set_errno(err, errno, "listening on %s", path);
    }
    return 0;
}

/* Of the size that the key's own would have. */
static int sign_for_free(void *state, struct driver_key *key, const struct sign_request *request,
                         uint8_t ret_signature[SIGNATURE_MAX_BYTES], size_t *ret_size,
                         struct error *err)
{
    (void)state;
    (void)err;
    size_t numbers = request->scheme == SIGN_SCHEME_ECDSA ? 2 : 1;
    *ret_size = numbers * key_type_info(key->type)->number_bytes;
    memset(ret_signature, 1, *ret_size);
    return 0;
}

static int start(struct tokend *tokend, const char *path, struct error *err)
{
    const struct keystore_config keystore = {.name = "memory", .driver = &tokend->driver};
    tokend->driver = keystore_driver_memory;
    if (tokend->has_free_signatures) {
        tokend->driver.key_sign = sign_for_free;
    }
    TRY(secret_init(err));
    TRY(mailbox_new(&tokend->mailbox, err));
    TRY(keystore_new(&keystore, &tokend->keystore, err));
    TRY(make_view(tokend, err));
    TRY(listen_on(tokend, path, err));
    const struct token_server_config server = {.mailbox = tokend->mailbox};
    return token_server_new(&server, &tokend->server, err);
}

static void serve(struct tokend *tokend)
{
    (void)uv_poll_init(tokend->loop, &tokend->listener_poll, tokend->listener);
    (void)uv_poll_init(tokend->loop, &tokend->mailbox_poll, mailbox_descriptor(tokend->mailbox));
    (void)uv_signal_init(tokend->loop, &tokend->terminate);
    (void)uv_signal_init(tokend->loop, &tokend->restart);
    (void)uv_poll_start(&tokend->listener_poll, UV_READABLE, on_listener);
    (void)uv_poll_start(&tokend->mailbox_poll, UV_READABLE, on_mailbox);
    (void)uv_signal_start(&tokend->terminate, on_terminate, SIGTERM);
    (void)uv_signal_start(&tokend->restart, on_restart, SIGHUP);
    (void)puts("ready");
    (void)fflush(stdout);
    (void)uv_run(tokend->loop, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&tokend->listener_poll, NULL);
    uv_close((uv_handle_t *)&tokend->mailbox_poll, NULL);
    uv_close((uv_handle_t *)&tokend->terminate, NULL);
    uv_close((uv_handle_t *)&tokend->restart, NULL);
    (void)uv_run(tokend->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(tokend->loop);
}

static void stop(struct tokend *tokend)
{
    struct client *client;
    struct client *next;
    for (client = TAILQ_FIRST(&tokend->clients); client; client = next) {
        next = TAILQ_NEXT(client, others);
        client_closed(client);
    }
    token_server_free(tokend->server);
    token_view_unref(tokend->view);
    keystore_free(tokend->keystore);
    mailbox_deliver(tokend->mailbox);
    mailbox_free(tokend->mailbox);
    (void)close(tokend->listener);
}

int main(int argc, char **argv)
{
    struct tokend tokend = {.loop = uv_default_loop()};
    struct error err;
    TAILQ_INIT(&tokend.clients);
    tokend.has_free_signatures = argc == 3 && strcmp(argv[2], "free") == 0;
    if (argc != 2 && !tokend.has_free_signatures) {
        (void)fputs("usage: tokend SOCKET [free]\n", stderr);
        return 2;
    }
    if (start(&tokend, argv[1], &err) < 0) {
        (void)fprintf(stderr, "tokend: %s\n", err.text);
        return 1;
    }
    serve(&tokend);
    stop(&tokend);
    return 0;
}
