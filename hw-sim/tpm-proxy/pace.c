#include "hw-sim/tpm-proxy/pace.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tss2/tss2_tpm2_types.h>

#include "lib/base/bytes.h"

enum { OTHERS_MS = 20 };

/* In the middle of what is published for chips that are in use, rounded:
 *   README.md of wolfTPM (github.com/wolfSSL/wolfTPM), section on benchmarks, for Infineon SLB9670,
 *     ST33TPHF2X and Nuvoton NPCT650: P-256 key 148 to 231 ms, ECDSA signature 42 to 190 ms, ECDH
 *     176 to 247 ms, RSA-2048 signature 163 to 541 ms, RSA-2048 key 2.2 to 7.5 s on average;
 *   wolfTPM's manual, "TPM 2.0 Overview": a new RSA-2048 key takes about 15 s;
 *   stiankri.substack.com/p/tpm-performance: P-256 signature, all hosts of a browser's statistics:
 *     median 200 ms, 95th percentile 600 ms.
 * What is not published (loads, saves, reads) is between 10 and 30 ms, bus and driver included. */
static const struct {
    const char *name;
    uint32_t code;
    unsigned ecc_ms; /* or whatever else but RSA */
    unsigned rsa_ms; /* 0: the same */
} commands[] = {
    {"ActivateCredential", TPM2_CC_ActivateCredential, 200, 300},
    {"Certify", TPM2_CC_Certify, 100, 300},
    {"CertifyCreation", TPM2_CC_CertifyCreation, 100, 300},
    {"Clear", TPM2_CC_Clear, 500, 0},
    {"ContextLoad", TPM2_CC_ContextLoad, 30, 0},
    {"ContextSave", TPM2_CC_ContextSave, 30, 0},
    {"Create", TPM2_CC_Create, 200, 12000},
    {"CreatePrimary", TPM2_CC_CreatePrimary, 200, 12000},
    {"DictionaryAttackLockReset", TPM2_CC_DictionaryAttackLockReset, 30, 0},
    {"ECDH_ZGen", TPM2_CC_ECDH_ZGen, 200, 0},
    {"EvictControl", TPM2_CC_EvictControl, 30, 0},
    {"FlushContext", TPM2_CC_FlushContext, 10, 0},
    {"GetCapability", TPM2_CC_GetCapability, 10, 0},
    {"GetRandom", TPM2_CC_GetRandom, 20, 0},
    {"GetTestResult", TPM2_CC_GetTestResult, 10, 0},
    {"Load", TPM2_CC_Load, 30, 0},
    {"LoadExternal", TPM2_CC_LoadExternal, 30, 0},
    {"NV_Increment", TPM2_CC_NV_Increment, 30, 0},
    {"NV_Read", TPM2_CC_NV_Read, 20, 0},
    {"NV_ReadPublic", TPM2_CC_NV_ReadPublic, 10, 0},
    {"NV_Write", TPM2_CC_NV_Write, 30, 0},
    {"PCR_Extend", TPM2_CC_PCR_Extend, 10, 0},
    {"PCR_Read", TPM2_CC_PCR_Read, 10, 0},
    {"PolicyPCR", TPM2_CC_PolicyPCR, 10, 0},
    {"PolicySecret", TPM2_CC_PolicySecret, 20, 0},
    {"Quote", TPM2_CC_Quote, 100, 300},
    {"RSA_Decrypt", TPM2_CC_RSA_Decrypt, 300, 0},
    {"ReadClock", TPM2_CC_ReadClock, 10, 0},
    {"ReadPublic", TPM2_CC_ReadPublic, 20, 0},
    {"SelfTest", TPM2_CC_SelfTest, 30, 0},
    {"Shutdown", TPM2_CC_Shutdown, 20, 0},
    {"Sign", TPM2_CC_Sign, 100, 300},
    {"StartAuthSession", TPM2_CC_StartAuthSession, 200, 0}, /* the salt is an ECDH */
    {"Startup", TPM2_CC_Startup, 20, 0},
    {"Unseal", TPM2_CC_Unseal, 30, 0},
    {"VerifySignature", TPM2_CC_VerifySignature, 50, 20},
};

uint32_t pace_command_code(const char *name)
{
    static const char prefix[] = "TPM2_";
    const char *rest =
        strncmp(name, prefix, sizeof(prefix) - 1) == 0 ? name + sizeof(prefix) - 1 : name;
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (strcmp(commands[i].name, rest) == 0) {
            return commands[i].code;
        }
    }
    char *end = NULL;
    errno = 0;
    unsigned long code = strtoul(name, &end, 0);
    return errno == 0 && end != name && *end == '\0' && code <= UINT32_MAX ? (uint32_t)code : 0;
}

const char *pace_command_name(uint32_t code, char buffer[16])
{
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (commands[i].code == code) {
            return commands[i].name;
        }
    }
    (void)snprintf(buffer, 16, "0x%x", code);
    return buffer;
}

/* A key's public area and a signature both begin with the algorithm. */
static bool is_rsa(uint32_t code, const struct message *answer)
{
    struct reader reader = reader_of((struct bytes){answer->data, answer->size});
    bool has_sessions = reader_u16(&reader) == TPM2_ST_SESSIONS;
    (void)reader_bytes(&reader, MESSAGE_HEADER_BYTES - 2);
    if (code == TPM2_CC_CreatePrimary) {
        (void)reader_u32(&reader); /* the handle */
    }
    if (has_sessions) {
        (void)reader_u32(&reader); /* the size of the parameters */
    }
    if (code != TPM2_CC_Sign && code != TPM2_CC_CreatePrimary) {
        /* The private area of Create, the attestation of Certify and Quote. */
        (void)reader_bytes(&reader, reader_u16(&reader));
    }
    if (code == TPM2_CC_Create || code == TPM2_CC_CreatePrimary) {
        (void)reader_u16(&reader); /* the size of the public area */
    }
    uint16_t algorithm = reader_u16(&reader);
    return !reader.is_bad && (algorithm == TPM2_ALG_RSA || algorithm == TPM2_ALG_RSASSA ||
                              algorithm == TPM2_ALG_RSAPSS);
}

unsigned pace_discrete_ms(uint32_t code, const struct message *answer)
{
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (commands[i].code == code) {
            bool is_slow = commands[i].rsa_ms > 0 && is_rsa(code, answer);
            return is_slow ? commands[i].rsa_ms : commands[i].ecc_ms;
        }
    }
    return OTHERS_MS;
}
