/* A swtpm with endorsement certificates by a CA of its own, and the few commands that a TPM gets in
 * these tests, past the driver. */
#pragma once

#include "tests/unit/pkcs11/tpm/swtpm.h"

#include <openssl/x509.h>
#include <tss2/tss2_mu.h>

#include "attest/ek.h"
#include "lib/base/memory.h"
#include "lib/base/secret.h"
#include "pkcs11/tpm/tpm_transport.h"
#include "tests/unit/assert_done.h"

/* Handles where swtpm_setup leaves EKs, and NV indices of certificates. */
enum {
    LAB_EK_RSA = 0x81010001,
    LAB_EK_P384 = 0x81010016,
    LAB_NV_RSA = 0x01c00002,
    LAB_NV_P384 = 0x01c00016,
    LAB_NV_PLATFORM = 0x01c08000,
};

struct lab {
    struct swtpm swtpm;
    char ca[96]; /* folder of the CA's certificates */
    struct tpm_transport transport;
};

static inline void lab_write(const char *folder, const char *name, const char *text)
{
    char path[160];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static inline void lab_write_configuration(const char *folder, const char *state)
{
    _cleanup_(free_cleanup) char *ca =
        text_format("statedir = %s\nsigningkey = %s/signkey.pem\nissuercert = %s/issuercert.pem\n"
                    "certserial = %s/certserial\n",
                    state, state, state, state);
    _cleanup_(free_cleanup) char *setup = text_format("create_certs_tool = /usr/bin/swtpm_localca\n"
                                                      "create_certs_tool_config = %s/ca.conf\n"
                                                      "create_certs_tool_options = %s/ca.options\n"
                                                      "active_pcr_banks = sha256\n",
                                                      folder, folder);
    lab_write(folder, "ca.conf", ca);
    lab_write(folder, "ca.options",
              "--platform-manufacturer signet\n--platform-version 2.1\n--platform-model lab\n");
    lab_write(folder, "setup.conf", setup);
}

static inline void lab_copy_certificates(const struct lab *lab, const char *state)
{
    static const char *const names[] = {"issuercert.pem", "swtpm-localca-rootca-cert.pem"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        struct error err;
        _cleanup_(buffer_clear) struct buffer contents = {0};
        _cleanup_(free_cleanup) char *from = text_format("%s/%s", state, names[i]);
        assert_done(buffer_read_file(from, 1 << 16, &contents, &err), err);
        buffer_append_u8(&contents, 0);
        lab_write(lab->ca, names[i], (const char *)contents.data);
    }
}

static inline void lab_new(struct lab *lab)
{
    struct swtpm *swtpm = &lab->swtpm;
    *lab = (struct lab){.swtpm = {.folder = "/tmp/signet-lab-XXXXXX"}};
    assert_non_null(mkdtemp(swtpm->folder));
    (void)snprintf(swtpm->socket, sizeof(swtpm->socket), "%s/sock", swtpm->folder);
    (void)snprintf(swtpm->tcti, sizeof(swtpm->tcti), "swtpm:path=%s", swtpm->socket);
    (void)snprintf(lab->ca, sizeof(lab->ca), "%s/ca", swtpm->folder);
    _cleanup_(free_cleanup) char *state = text_format("%s/ca-state", swtpm->folder);
    _cleanup_(free_cleanup) char *setup = text_format("%s/setup.conf", swtpm->folder);
    _cleanup_(free_cleanup) char *log = text_format("%s/setup.log", swtpm->folder);
    assert_int_equal(mkdir(lab->ca, 0700), 0);
    assert_int_equal(mkdir(state, 0700), 0);
    lab_write_configuration(swtpm->folder, state);
    const char *const arguments[] = {"swtpm_setup",
                                     "--tpm2",
                                     "--config",
                                     setup,
                                     "--tpmstate",
                                     swtpm->folder,
                                     "--createek",
                                     "--create-ek-cert",
                                     "--lock-nvram",
                                     "--create-platform-cert",
                                     "--pcr-banks",
                                     "sha1,sha256,sha384",
                                     "--overwrite",
                                     "--logfile",
                                     log,
                                     NULL};
    if (swtpm_run(arguments) != 0) {
        fail_msg("swtpm_setup did not make a TPM; is it installed? its log is %s", log);
    }
    lab_copy_certificates(lab, state);
    swtpm_start(swtpm);
    lab->transport.conf = memory_copy_text(swtpm->tcti);
    assert_int_equal(tpm_transport_open(&lab->transport), TSS2_RC_SUCCESS);
}

static inline void lab_remove(struct lab *lab)
{
    tpm_transport_close(&lab->transport);
    free(lab->transport.conf);
    swtpm_remove(&lab->swtpm);
}

static const TSS2L_SYS_AUTH_COMMAND lab_password = {.count = 1,
                                                    .auths[0].sessionHandle = TPM2_RS_PW};

/* Returns the TPM's answer; ret_handle is a transient object's. */
static inline TSS2_RC lab_create_primary(struct lab *lab, TPM2_HANDLE hierarchy,
                                         const TPMT_PUBLIC *template, TPM2_HANDLE *ret_handle,
                                         TPMT_PUBLIC *ret_public)
{
    const TPM2B_SENSITIVE_CREATE no_secret = {0};
    const TPM2B_DATA no_data = {0};
    const TPML_PCR_SELECTION no_pcrs = {0};
    const TPM2B_PUBLIC sized = {.publicArea = *template};
    TPM2B_PUBLIC public = {0};
    TPM2B_CREATION_DATA creation = {0};
    TPM2B_DIGEST hash = {0};
    TPMT_TK_CREATION ticket = {0};
    TPM2B_NAME name = {0};
    TSS2L_SYS_AUTH_RESPONSE answer = {0};
    TSS2_RC rc = Tss2_Sys_CreatePrimary(lab->transport.sys, hierarchy, &lab_password, &no_secret,
                                        &sized, &no_data, &no_pcrs, ret_handle, &public, &creation,
                                        &hash, &ticket, &name, &answer);
    *ret_public = public.publicArea;
    return rc;
}

static inline void lab_flush(struct lab *lab, TPM2_HANDLE handle)
{
    assert_int_equal(Tss2_Sys_FlushContext(lab->transport.sys, handle), TSS2_RC_SUCCESS);
}

/* What lies at a persistent handle, and its name as the TPM computes it. */
static inline void lab_read_public(struct lab *lab, TPM2_HANDLE handle, TPMT_PUBLIC *ret_public,
                                   TPM2B_NAME *ret_name)
{
    TPM2B_PUBLIC public = {0};
    TPM2B_NAME name = {0};
    TPM2B_NAME qualified = {0};
    assert_int_equal(
        Tss2_Sys_ReadPublic(lab->transport.sys, handle, NULL, &public, &name, &qualified, NULL),
        TSS2_RC_SUCCESS);
    *ret_public = public.publicArea;
    if (ret_name) {
        *ret_name = name;
    }
}

static inline void lab_read_nv(struct lab *lab, TPM2_HANDLE index, struct buffer *ret_contents)
{
    enum { BLOCK_BYTES = 512 };
    TPM2B_NV_PUBLIC public = {0};
    TPM2B_NAME name = {0};
    assert_int_equal(Tss2_Sys_NV_ReadPublic(lab->transport.sys, index, NULL, &public, &name, NULL),
                     TSS2_RC_SUCCESS);
    for (uint16_t at = 0; at < public.nvPublic.dataSize;) {
        TPM2B_MAX_NV_BUFFER data = {0};
        TSS2L_SYS_AUTH_RESPONSE answer = {0};
        const uint16_t size = (uint16_t)MIN(BLOCK_BYTES, public.nvPublic.dataSize - at);
        assert_int_equal(Tss2_Sys_NV_Read(lab->transport.sys, index, index, &lab_password, size, at,
                                          &data, &answer),
                         TSS2_RC_SUCCESS);
        buffer_append(ret_contents, data.buffer, data.size);
        at = (uint16_t)(at + size);
    }
}

/* A key that attests: P-256 with ECDSA, or RSA with the scheme. */
static inline void lab_ak_template(TPM2_ALG_ID scheme, TPM2_ALG_ID hash, TPMT_PUBLIC *ret)
{
    *ret = (TPMT_PUBLIC){
        .type = scheme == TPM2_ALG_ECDSA ? TPM2_ALG_ECC : TPM2_ALG_RSA,
        .nameAlg = hash,
        .objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
                            TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_USERWITHAUTH |
                            TPMA_OBJECT_NODA | TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_SIGN_ENCRYPT,
    };
    if (ret->type == TPM2_ALG_ECC) {
        ret->parameters.eccDetail = (TPMS_ECC_PARMS){
            .symmetric.algorithm = TPM2_ALG_NULL,
            .scheme = {.scheme = scheme, .details.anySig.hashAlg = hash},
            .curveID = TPM2_ECC_NIST_P256,
            .kdf.scheme = TPM2_ALG_NULL,
        };
    } else {
        ret->parameters.rsaDetail = (TPMS_RSA_PARMS){
            .symmetric.algorithm = TPM2_ALG_NULL,
            .scheme = {.scheme = scheme, .details.anySig.hashAlg = hash},
            .keyBits = 2048,
        };
    }
}

/* A policy session that PolicySecret of the endorsement hierarchy was told to. */
static inline TPM2_HANDLE lab_start_policy(struct lab *lab, TPM2_ALG_ID hash)
{
    const TPM2B_NONCE nonce = {.size = 16};
    const TPM2B_NONCE none = {0};
    const TPM2B_DIGEST no_digest = {0};
    const TPM2B_ENCRYPTED_SECRET no_salt = {0};
    const TPMT_SYM_DEF no_cipher = {.algorithm = TPM2_ALG_NULL};
    TPM2_HANDLE session = 0;
    TPM2B_NONCE from_tpm = {0};
    TPM2B_TIMEOUT timeout = {0};
    TPMT_TK_AUTH ticket = {0};
    TSS2L_SYS_AUTH_RESPONSE answer = {0};
    TSS2_SYS_CONTEXT *sys = lab->transport.sys;
    assert_int_equal(Tss2_Sys_StartAuthSession(sys, TPM2_RH_NULL, TPM2_RH_NULL, NULL, &nonce,
                                               &no_salt, TPM2_SE_POLICY, &no_cipher, hash, &session,
                                               &from_tpm, NULL),
                     TSS2_RC_SUCCESS);
    assert_int_equal(Tss2_Sys_PolicySecret(sys, TPM2_RH_ENDORSEMENT, session, &lab_password, &none,
                                           &no_digest, &none, 0, &timeout, &ticket, &answer),
                     TSS2_RC_SUCCESS);
    return session;
}

/* TPM2_ActivateCredential; a template of the low range needs a policy session. Returns the TPM's
 * answer. */
static inline TSS2_RC lab_activate(struct lab *lab, TPM2_HANDLE ak, TPM2_HANDLE ek,
                                   const struct ek_template *template, struct bytes id_object,
                                   struct bytes encrypted, TPM2B_DIGEST *ret_secret)
{
    TPM2B_ID_OBJECT blob = {.size = (uint16_t)id_object.size};
    TPM2B_ENCRYPTED_SECRET secret = {.size = (uint16_t)encrypted.size};
    TSS2L_SYS_AUTH_COMMAND auths = {
        .count = 2, .auths = {{.sessionHandle = TPM2_RS_PW}, {.sessionHandle = TPM2_RS_PW}}};
    TSS2L_SYS_AUTH_RESPONSE answer = {0};
    assert_true(id_object.size <= sizeof(blob.credential) &&
                encrypted.size <= sizeof(secret.secret));
    memcpy(blob.credential, id_object.data, id_object.size);
    memcpy(secret.secret, encrypted.data, encrypted.size);
    if (template->is_low_range) {
        auths.auths[1].sessionHandle = lab_start_policy(lab, template->public.nameAlg);
    }
    TSS2_RC rc;
    do {
        *ret_secret = (TPM2B_DIGEST){0};
        rc = Tss2_Sys_ActivateCredential(lab->transport.sys, ak, ek, &auths, &blob, &secret,
                                         ret_secret, &answer);
    } while (rc == TPM2_RC_RETRY);
    /* A session that was used up is gone; one that was not is still there. */
    if (template->is_low_range && rc != TSS2_RC_SUCCESS) {
        lab_flush(lab, auths.auths[1].sessionHandle);
    }
    return rc;
}
