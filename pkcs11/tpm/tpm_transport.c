#include "pkcs11/tpm/tpm_transport.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <tss2/tss2_tctildr.h>

#include "lib/base/bytes.h"
#include "lib/base/memory.h"
#include "pkcs11/tpm/tpm_socket.h"

enum {
    /* Of a signature the slowest chips need a second; the rest is for those who come first. */
    ANSWER_LIMIT_MS = 30000,
    SEND_LIMIT_MS = 30000,
    /* The library reads up to two bytes past the end of an answer that lies about its size. */
    SLACK_BYTES = 64,
};

/* First again at once: one RETRY is what libtpms answers to the first use of some objects. */
static const unsigned resend_pauses_ms[] = {0, 10, 20, 40, 80, 160, 320, 500, 500, 500, 500};

/* What may take longer, and what is asked to learn whether there is an answer at all. */
static const struct {
    TPM2_CC code;
    int limit_ms;
} answer_limits[] = {
    {TPM2_CC_Create, 120000}, /* RSA keys take some chips tens of seconds */
    {TPM2_CC_CreatePrimary, 120000},
    {TPM2_CC_ReadClock, 10000},
};

static int answer_limit(const struct tpm_transport *transport)
{
    uint8_t code[4] = {0};
    if (transport->limit_ms > 0) {
        return transport->limit_ms;
    }
    (void)Tss2_Sys_GetCommandCode(transport->sys, code);
    struct reader reader = reader_of((struct bytes){code, sizeof(code)});
    TPM2_CC command = reader_u32(&reader);
    for (size_t i = 0; i < ARRAY_SIZE(answer_limits); i++) {
        if (answer_limits[i].code == command) {
            return answer_limits[i].limit_ms;
        }
    }
    return ANSWER_LIMIT_MS;
}

static TSS2_RC open_tcti(struct tpm_transport *transport)
{
    int send_limit_ms = transport->limit_ms > 0 ? transport->limit_ms : SEND_LIMIT_MS;
    return tpm_socket_is_meant(transport->conf)
               ? tpm_socket_open(transport->conf, send_limit_ms, &transport->tcti)
               : Tss2_TctiLdr_Initialize(transport->conf, &transport->tcti);
}

TSS2_RC tpm_transport_open(struct tpm_transport *transport)
{
    TSS2_ABI_VERSION version = TSS2_ABI_VERSION_CURRENT;
    size_t size = Tss2_Sys_GetContextSize(TPM2_MAX_COMMAND_SIZE);
    transport->command = "opening the TCTI";
    transport->is_overdue = false;
    TSS2_RC rc = open_tcti(transport);
    if (rc != TSS2_RC_SUCCESS) {
        transport->tcti = NULL;
        return rc;
    }
    transport->sys = memory_new(size + SLACK_BYTES);
    return Tss2_Sys_Initialize(transport->sys, size, transport->tcti, &version);
}

void tpm_transport_close(struct tpm_transport *transport)
{
    if (transport->sys) {
        Tss2_Sys_Finalize(transport->sys);
        free(transport->sys);
    }
    if (transport->tcti && tpm_socket_is_meant(transport->conf)) {
        tpm_socket_close(transport->tcti);
    } else if (transport->tcti) {
        Tss2_TctiLdr_Finalize(&transport->tcti);
    }
    transport->sys = NULL;
    transport->tcti = NULL;
}

static bool has_prefix(const char *text, const char *const *prefixes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strncmp(text, prefixes[i], strlen(prefixes[i])) == 0) {
            return true;
        }
    }
    return false;
}

bool tpm_transport_is_simulator(const struct tpm_transport *transport)
{
    static const char *const simulators[] = {"swtpm", "mssim", "libtpms"};
    return has_prefix(transport->conf, simulators, ARRAY_SIZE(simulators));
}

bool tpm_transport_is_managed(const struct tpm_transport *transport)
{
    static const char *const managed[] = {"device:/dev/tpmrm", "tabrmd"};
    return has_prefix(transport->conf, managed, ARRAY_SIZE(managed));
}

void tpm_transport_pause(unsigned pause_ms)
{
    struct timespec rest = {.tv_sec = pause_ms / 1000, .tv_nsec = (pause_ms % 1000) * 1000000L};
    while (nanosleep(&rest, &rest) < 0 && errno == EINTR) {
    }
}

static TSS2_RC execute_once(struct tpm_transport *transport)
{
    if (transport->is_overdue) {
        return TPM_RC_OVERDUE;
    }
    TSS2_RC rc = Tss2_Sys_ExecuteAsync(transport->sys);
    if (rc == TSS2_RC_SUCCESS) {
        rc = Tss2_Sys_ExecuteFinish(transport->sys, answer_limit(transport));
    }
    transport->is_overdue = rc == TSS2_TCTI_RC_TRY_AGAIN;
    return transport->is_overdue ? TPM_RC_OVERDUE : rc;
}

TSS2_RC tpm_transport_execute(struct tpm_transport *transport, const char *command)
{
    transport->command = command ? command : transport->command;
    for (size_t i = 0;; i++) {
        TSS2_RC rc = execute_once(transport);
        if (rc == TSS2_RC_SUCCESS || tpm_rc_reaction(rc) != TPM_REACTION_RESEND ||
            i == ARRAY_SIZE(resend_pauses_ms)) {
            return rc;
        }
        tpm_transport_pause(resend_pauses_ms[i]);
    }
}
