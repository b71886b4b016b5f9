/* What the tests of sealing, counters and DevIDs share: a device on a swtpm, and things done to the
 * TPM past it. */
#pragma once

#include "tests/unit/pkcs11/tpm/bus.h"

#include "attest/host/counter.h"
#include "attest/host/seal.h"

static inline struct tpm_device *tpms_open(const char *tcti)
{
    struct error err;
    struct tpm_device *device = NULL;
    const struct tpm_config config = {.tcti = tcti};
    assert_done(tpm_device_open(&config, "test", &device, &err), err);
    return device;
}

/* The measuring of something new. */
static inline void tpms_extend(const char *tcti, unsigned index)
{
    static const TSS2L_SYS_AUTH_COMMAND empty_password = {.count = 1,
                                                          .auths[0].sessionHandle = TPM2_RS_PW};
    TPML_DIGEST_VALUES digests = {.count = 1, .digests[0].hashAlg = TPM2_ALG_SHA256};
    TSS2L_SYS_AUTH_RESPONSE answer = {0};
    struct tpm_transport transport = {.conf = memory_copy_text(tcti)};
    memset(digests.digests[0].digest.sha256, 0x5a, TPM2_SHA256_DIGEST_SIZE);
    assert_int_equal(tpm_transport_open(&transport), 0);
    assert_int_equal(Tss2_Sys_PCR_Extend(transport.sys, index, &empty_password, &digests, &answer),
                     0);
    tpm_transport_close(&transport);
    free(transport.conf);
}

/* Off and on; the firmware's part is played by TPM2_Startup. */
static inline void tpms_reboot(struct swtpm *swtpm)
{
    struct tpm_transport transport = {.conf = memory_copy_text(swtpm->tcti)};
    swtpm_reboot(swtpm);
    assert_int_equal(tpm_transport_open(&transport), 0);
    assert_int_equal(tpm_command_startup(&transport), 0);
    tpm_transport_close(&transport);
    free(transport.conf);
}

static inline struct pcr_selection tpms_selection(const char *text)
{
    struct error err;
    struct pcr_selection selection = {0};
    assert_done(pcr_selection_parse(text, &selection, &err), err);
    return selection;
}
