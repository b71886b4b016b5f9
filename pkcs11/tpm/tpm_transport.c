#include "pkcs11/tpm/tpm_transport.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <tss2/tss2_tctildr.h>

#include "lib/base/memory.h"

enum {
    /* RSA keys take some chips tens of seconds. The swtpm TCTI knows no time limit at all. */
    ANSWER_LIMIT_MS = 120000,
    /* The library reads up to two bytes past the end of an answer that lies about its size. */
    SLACK_BYTES = 64,
};

/* First again at once: one RETRY is what libtpms answers to the first use of some objects. */
static const unsigned resend_pauses_ms[] = {0, 10, 20, 40, 80, 160, 320, 500, 500, 500, 500};

TSS2_RC tpm_transport_open(struct tpm_transport *transport)
{
    TSS2_ABI_VERSION version = TSS2_ABI_VERSION_CURRENT;
    size_t size = Tss2_Sys_GetContextSize(TPM2_MAX_COMMAND_SIZE);
    transport->command = "opening the TCTI";
    TSS2_RC rc = Tss2_TctiLdr_Initialize(transport->conf, &transport->tcti);
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
    if (transport->tcti) {
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

TSS2_RC tpm_transport_execute(struct tpm_transport *transport, const char *command)
{
    transport->command = command ? command : transport->command;
    for (size_t i = 0;; i++) {
        TSS2_RC rc = Tss2_Sys_ExecuteAsync(transport->sys);
        if (rc == TSS2_RC_SUCCESS) {
            rc = Tss2_Sys_ExecuteFinish(transport->sys, ANSWER_LIMIT_MS);
        }
        if (rc == TSS2_RC_SUCCESS || tpm_rc_reaction(rc) != TPM_REACTION_RESEND ||
            i == ARRAY_SIZE(resend_pauses_ms)) {
            return rc;
        }
        tpm_transport_pause(resend_pauses_ms[i]);
    }
}
