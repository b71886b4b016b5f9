/* Load on a TLS server from many processes: each makes full TLS 1.3 handshakes in a loop, and drops
 * the connection after each.
 *
 *     bench_tls SOCKET CLIENTS MILLISECONDS
 *
 * SOCKET is a Unix one, where no port is used up. Prints handshakes a second. */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CLIENTS_MAX = 256, WARM_UP = 3, READY_LIMIT_S = 60, ANSWER_LIMIT_S = 30, PAUSE_US = 200 };

/* Shared by the processes. */
struct load {
    _Atomic unsigned ready, failures, total;
    _Atomic bool has_begun, is_over;
    struct sockaddr_un address;
};

_Noreturn static void die(const char *what)
{
    (void)fprintf(stderr, "bench_tls: %s\n", what);
    exit(1);
}

static double seconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* The context keeps no sessions, so each handshake is a full one, with a signature of the server
 * that is checked; whose certificate it is, is not. */
static SSL_CTX *make_context(void)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (!context || SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1) {
        die("no TLS 1.3");
    }
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    (void)SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    return context;
}

static bool shake_hands(const struct load *load, SSL_CTX *context)
{
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct timeval limit = {.tv_sec = ANSWER_LIMIT_S};
    bool is_done = false;
    if (descriptor >= 0 &&
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0 &&
        connect(descriptor, (const struct sockaddr *)&load->address, sizeof(load->address)) == 0) {
        SSL *ssl = SSL_new(context);
        is_done = ssl && SSL_set_fd(ssl, descriptor) == 1 && SSL_connect(ssl) == 1;
        if (!is_done) {
            ERR_print_errors_fp(stderr);
        } else {
            (void)SSL_shutdown(ssl);
        }
        SSL_free(ssl);
    }
    (void)close(descriptor);
    return is_done;
}

_Noreturn static void run_client(struct load *load)
{
    SSL_CTX *context = make_context();
    unsigned count = 0;
    bool is_well = true;
    for (int i = 0; i < WARM_UP && is_well; i++) {
        is_well = shake_hands(load, context);
    }
    load->ready++;
    while (is_well && !load->has_begun) {
        (void)usleep(PAUSE_US);
    }
    while (is_well && !load->is_over) {
        is_well = shake_hands(load, context);
        count += is_well && !load->is_over;
    }
    load->total += count;
    load->failures += !is_well;
    _exit(0);
}

static void wait_until_ready(const struct load *load, unsigned clients)
{
    double end = seconds() + READY_LIMIT_S;
    while (load->ready < clients) {
        if (seconds() > end) {
            die("the clients did not make their first handshakes");
        }
        (void)usleep(PAUSE_US);
    }
}

static struct load *load_new(const char *path)
{
    struct load *load =
        mmap(NULL, sizeof(*load), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (load == MAP_FAILED || strlen(path) >= sizeof(load->address.sun_path)) {
        die("SOCKET is too long");
    }
    load->address.sun_family = AF_UNIX;
    memcpy(load->address.sun_path, path, strlen(path) + 1);
    return load;
}

int main(int argc, char **argv)
{
    unsigned clients = argc == 4 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
    unsigned long limit_ms = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;
    if (clients == 0 || clients > CLIENTS_MAX || limit_ms == 0) {
        (void)fprintf(stderr, "usage: bench_tls SOCKET CLIENTS MILLISECONDS\n");
        return 2;
    }
    struct load *load = load_new(argv[1]);
    (void)signal(SIGPIPE, SIG_IGN);
    for (unsigned i = 0; i < clients; i++) {
        pid_t child = fork();
        if (child < 0) {
            die("fork failed");
        }
        if (child == 0) {
            (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
            run_client(load);
        }
    }
    wait_until_ready(load, clients);
    double begin = seconds();
    load->has_begun = true;
    (void)usleep((useconds_t)limit_ms * 1000);
    load->is_over = true;
    double taken_s = seconds() - begin;
    while (wait(NULL) > 0) {
    }
    if (load->failures > 0) {
        die("a handshake failed");
    }
    (void)printf("%.0f\n", load->total / taken_s);
    return 0;
}
