#include "pkcs11/tpm/tpm_socket.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <tss2/tss2_tpm2_types.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "lib/base/clock.h"
#include "lib/base/memory.h"

/* Of this TCTI; a TCTI has one so that a context of another is told from it. */
#define SOCKET_MAGIC UINT64_C(0x7369676e65747377)

enum { HEADER_BYTES = 10 };

static const char prefix[] = "swtpm:path=";

struct tpm_socket {
    TSS2_TCTI_CONTEXT_COMMON_V2 common; /* first: what the library knows of it */
    struct sockaddr_un address;
    struct timeval send_limit;
    int descriptor; /* -1: no command under way */
    uint8_t answer[TPM2_MAX_RESPONSE_SIZE];
    size_t answered; /* bytes of the answer so far */
};

static struct tpm_socket *socket_of(TSS2_TCTI_CONTEXT *tcti)
{
    return (struct tpm_socket *)tcti;
}

static void hang_up(struct tpm_socket *socket)
{
    if (socket->descriptor >= 0) {
        (void)close(socket->descriptor);
    }
    socket->descriptor = -1;
    socket->answered = 0;
}

static bool dial(struct tpm_socket *to)
{
    const struct sockaddr *address = (const struct sockaddr *)&to->address;
    to->descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return to->descriptor >= 0 &&
           setsockopt(to->descriptor, SOL_SOCKET, SO_SNDTIMEO, &to->send_limit,
                      sizeof(to->send_limit)) == 0 &&
           connect(to->descriptor, address, sizeof(to->address)) == 0;
}

static TSS2_RC transmit(TSS2_TCTI_CONTEXT *tcti, size_t size, uint8_t const *command)
{
    struct tpm_socket *socket = socket_of(tcti);
    size_t sent = 0;
    hang_up(socket);
    bool is_fine = dial(socket);
    while (is_fine && sent < size) {
        ssize_t count = send(socket->descriptor, command + sent, size - sent, MSG_NOSIGNAL);
        is_fine = count > 0 || (count < 0 && errno == EINTR);
        sent += count > 0 ? (size_t)count : 0;
    }
    if (is_fine) {
        return TSS2_RC_SUCCESS;
    }
    /* EAGAIN is what SO_SNDTIMEO makes of a full queue of connections, or of a full socket. */
    TSS2_RC rc = errno == EAGAIN ? TSS2_TCTI_RC_TRY_AGAIN : TSS2_TCTI_RC_IO_ERROR;
    hang_up(socket);
    return rc;
}

/* What is left of a limit; negative is forever, as for poll. */
static int rest_ms(uint64_t begin_ms, int limit_ms)
{
    uint64_t passed_ms = clock_monotonic_ms() - begin_ms;
    return limit_ms < 0 ? -1 : (int)MAX(limit_ms - (int64_t)passed_ms, 0);
}

static TSS2_RC read_up_to(struct tpm_socket *socket, size_t size, int limit_ms)
{
    uint64_t begin_ms = clock_monotonic_ms();
    while (socket->answered < size) {
        struct pollfd polled = {.fd = socket->descriptor, .events = POLLIN};
        int ready = poll(&polled, 1, rest_ms(begin_ms, limit_ms));
        if (ready == 0) {
            return TSS2_TCTI_RC_TRY_AGAIN;
        }
        ssize_t count = ready < 0 ? -1
                                  : recv(socket->descriptor, socket->answer + socket->answered,
                                         size - socket->answered, MSG_DONTWAIT);
        if (count == 0 || (count < 0 && errno != EINTR && errno != EAGAIN)) {
            return TSS2_TCTI_RC_IO_ERROR;
        }
        socket->answered += count > 0 ? (size_t)count : 0;
    }
    return TSS2_RC_SUCCESS;
}

static TSS2_RC read_answer(struct tpm_socket *socket, int limit_ms, size_t *ret_size)
{
    TSS2_RC rc = read_up_to(socket, HEADER_BYTES, limit_ms);
    if (rc != TSS2_RC_SUCCESS) {
        return rc;
    }
    struct reader reader = reader_of((struct bytes){socket->answer, HEADER_BYTES});
    (void)reader_u16(&reader);
    *ret_size = reader_u32(&reader);
    if (*ret_size < HEADER_BYTES || *ret_size > sizeof(socket->answer)) {
        return TSS2_TCTI_RC_MALFORMED_RESPONSE;
    }
    return read_up_to(socket, *ret_size, limit_ms);
}

static TSS2_RC receive(TSS2_TCTI_CONTEXT *tcti, size_t *size, uint8_t *answer, int32_t limit_ms)
{
    struct tpm_socket *socket = socket_of(tcti);
    size_t full_size = 0;
    if (socket->descriptor < 0) {
        return TSS2_TCTI_RC_BAD_SEQUENCE;
    }
    TSS2_RC rc = read_answer(socket, limit_ms, &full_size);
    if (rc == TSS2_TCTI_RC_TRY_AGAIN) {
        return rc; /* the rest may still be waited for */
    }
    if (rc == TSS2_RC_SUCCESS) {
        bool has_room = answer && *size >= full_size;
        *size = full_size;
        if (!has_room) {
            return answer ? TSS2_TCTI_RC_INSUFFICIENT_BUFFER : TSS2_RC_SUCCESS;
        }
        memcpy(answer, socket->answer, full_size);
    }
    hang_up(socket);
    return rc;
}

static TSS2_RC refuse_cancel(TSS2_TCTI_CONTEXT *tcti)
{
    (void)tcti;
    return TSS2_TCTI_RC_NOT_IMPLEMENTED;
}

static TSS2_RC refuse_poll_handles(TSS2_TCTI_CONTEXT *tcti, TSS2_TCTI_POLL_HANDLE *handles,
                                   size_t *count)
{
    (void)tcti;
    (void)handles;
    (void)count;
    return TSS2_TCTI_RC_NOT_IMPLEMENTED;
}

static TSS2_RC refuse_locality(TSS2_TCTI_CONTEXT *tcti, uint8_t locality)
{
    (void)tcti;
    (void)locality;
    return TSS2_TCTI_RC_NOT_IMPLEMENTED;
}

static TSS2_RC refuse_sticky(TSS2_TCTI_CONTEXT *tcti, TPM2_HANDLE *handle, uint8_t sticky)
{
    (void)tcti;
    (void)handle;
    (void)sticky;
    return TSS2_TCTI_RC_NOT_IMPLEMENTED;
}

static void finalize(TSS2_TCTI_CONTEXT *tcti)
{
    hang_up(socket_of(tcti));
}

bool tpm_socket_is_meant(const char *conf)
{
    return strncmp(conf, prefix, sizeof(prefix) - 1) == 0;
}

TSS2_RC tpm_socket_open(const char *conf, int send_limit_ms, TSS2_TCTI_CONTEXT **ret_tcti)
{
    static const TSS2_TCTI_CONTEXT_COMMON_V2 common = {
        .v1 = {.magic = SOCKET_MAGIC,
               .version = 2,
               .transmit = transmit,
               .receive = receive,
               .finalize = finalize,
               .cancel = refuse_cancel,
               .getPollHandles = refuse_poll_handles,
               .setLocality = refuse_locality},
        .makeSticky = refuse_sticky,
    };
    const char *path = conf + sizeof(prefix) - 1;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (!tpm_socket_is_meant(conf) || strlen(path) >= sizeof(address.sun_path)) {
        return TSS2_TCTI_RC_BAD_VALUE;
    }
    memcpy(address.sun_path, path, strlen(path));
    struct tpm_socket *socket = NEW(struct tpm_socket);
    socket->common = common;
    socket->address = address;
    socket->send_limit.tv_sec = send_limit_ms / 1000;
    socket->send_limit.tv_usec = (suseconds_t)(send_limit_ms % 1000) * 1000;
    socket->descriptor = -1;
    *ret_tcti = (TSS2_TCTI_CONTEXT *)socket;
    return TSS2_RC_SUCCESS;
}

void tpm_socket_close(TSS2_TCTI_CONTEXT *tcti)
{
    finalize(tcti);
    free(tcti);
}
