#include <string.h>
#include <tss2/tss2_esys.h>
#include <tss2/tss2_rc.h>
#include <tss2/tss2_tctildr.h>

#include "lib/base/memory.h"
#include "tests/bench/keystore_bare.h"

struct tpm {
    TSS2_TCTI_CONTEXT *tcti;
    ESYS_CONTEXT *esys;
    ESYS_TR primary, session, key;
};

static const TPMA_OBJECT signing_attributes =
    TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN |
    TPMA_OBJECT_USERWITHAUTH | TPMA_OBJECT_NODA | TPMA_OBJECT_SIGN_ENCRYPT;
static const TPM2B_DATA no_data;
static const TPML_PCR_SELECTION no_pcr;
static const TPM2B_SENSITIVE_CREATE no_sensitive;

static void check(TSS2_RC rc, const char *what)
{
    if (rc != TSS2_RC_SUCCESS && rc != TPM2_RC_INITIALIZE) {
        bare_die(what, Tss2_RC_Decode(rc));
    }
}

static void make_primary(struct tpm *tpm)
{
    const TPM2B_PUBLIC template = {
        .publicArea = {.type = TPM2_ALG_ECC,
                       .nameAlg = TPM2_ALG_SHA256,
                       .objectAttributes = (signing_attributes & ~TPMA_OBJECT_SIGN_ENCRYPT) |
                                           TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT,
                       .parameters.eccDetail = {.symmetric = {.algorithm = TPM2_ALG_AES,
                                                              .keyBits.aes = 128,
                                                              .mode.aes = TPM2_ALG_CFB},
                                                .scheme.scheme = TPM2_ALG_NULL,
                                                .curveID = TPM2_ECC_NIST_P256,
                                                .kdf.scheme = TPM2_ALG_NULL}}};
    check(Esys_CreatePrimary(tpm->esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                             ESYS_TR_NONE, &no_sensitive, &template, &no_data, &no_pcr,
                             &tpm->primary, NULL, NULL, NULL, NULL),
          "Esys_CreatePrimary");
}

static void start_session(struct tpm *tpm)
{
    const TPMT_SYM_DEF aes = {
        .algorithm = TPM2_ALG_AES, .keyBits.aes = 128, .mode.aes = TPM2_ALG_CFB};
    check(Esys_StartAuthSession(tpm->esys, tpm->primary, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                ESYS_TR_NONE, NULL, TPM2_SE_HMAC, &aes, TPM2_ALG_SHA256,
                                &tpm->session),
          "Esys_StartAuthSession");
    check(Esys_TRSess_SetAttributes(
              tpm->esys, tpm->session,
              TPMA_SESSION_CONTINUESESSION | TPMA_SESSION_DECRYPT | TPMA_SESSION_ENCRYPT, 0xff),
          "Esys_TRSess_SetAttributes");
}

static TPM2B_PUBLIC template_of(enum key_type type)
{
    TPM2B_PUBLIC template = {
        .publicArea = {.nameAlg = TPM2_ALG_SHA256, .objectAttributes = signing_attributes}};
    if (type == KEY_TYPE_RSA_2048) {
        template.publicArea.type = TPM2_ALG_RSA;
        template.publicArea.parameters.rsaDetail = (TPMS_RSA_PARMS){
            .symmetric.algorithm = TPM2_ALG_NULL, .scheme.scheme = TPM2_ALG_NULL, .keyBits = 2048};
    } else {
        template.publicArea.type = TPM2_ALG_ECC;
        template.publicArea.parameters.eccDetail =
            (TPMS_ECC_PARMS){.symmetric.algorithm = TPM2_ALG_NULL,
                             .scheme.scheme = TPM2_ALG_NULL,
                             .curveID = TPM2_ECC_NIST_P256,
                             .kdf.scheme = TPM2_ALG_NULL};
    }
    return template;
}

static ESYS_TR make_key(struct tpm *tpm, enum key_type type)
{
    const TPM2B_PUBLIC template = template_of(type);
    TPM2B_PRIVATE *private = NULL;
    TPM2B_PUBLIC *public = NULL;
    ESYS_TR key = ESYS_TR_NONE;
    check(Esys_Create(tpm->esys, tpm->primary, tpm->session, ESYS_TR_NONE, ESYS_TR_NONE,
                      &no_sensitive, &template, &no_data, &no_pcr, &private, &public, NULL, NULL,
                      NULL),
          "Esys_Create");
    check(Esys_Load(tpm->esys, tpm->primary, tpm->session, ESYS_TR_NONE, ESYS_TR_NONE, private,
                    public, &key),
          "Esys_Load");
    Esys_Free(private);
    Esys_Free(public);
    return key;
}

/* TCTI */
static struct tpm *tpm_open(char *const arguments[], bool has_session)
{
    struct tpm *tpm = NEW(struct tpm);
    check(Tss2_TctiLdr_Initialize(arguments[0], &tpm->tcti), "Tss2_TctiLdr_Initialize");
    check(Esys_Initialize(&tpm->esys, tpm->tcti, NULL), "Esys_Initialize");
    check(Esys_Startup(tpm->esys, TPM2_SU_CLEAR), "Esys_Startup");
    make_primary(tpm);
    tpm->session = ESYS_TR_PASSWORD;
    if (has_session) {
        start_session(tpm);
    }
    tpm->key = make_key(tpm, KEY_TYPE_EC_P256);
    return tpm;
}

static void *open_session(char *const arguments[])
{
    return tpm_open(arguments, true);
}

static void *open_plain(char *const arguments[])
{
    return tpm_open(arguments, false);
}

static void tpm_sign(void *state, const uint8_t digest[BARE_DIGEST_BYTES])
{
    struct tpm *tpm = state;
    TPM2B_DIGEST value = {.size = BARE_DIGEST_BYTES};
    const TPMT_SIG_SCHEME scheme = {.scheme = TPM2_ALG_ECDSA,
                                    .details.ecdsa.hashAlg = TPM2_ALG_SHA256};
    const TPMT_TK_HASHCHECK ticket = {.tag = TPM2_ST_HASHCHECK, .hierarchy = TPM2_RH_NULL};
    TPMT_SIGNATURE *signature = NULL;
    memcpy(value.buffer, digest, BARE_DIGEST_BYTES);
    check(Esys_Sign(tpm->esys, tpm->key, tpm->session, ESYS_TR_NONE, ESYS_TR_NONE, &value, &scheme,
                    &ticket, &signature),
          "Esys_Sign");
    Esys_Free(signature);
}

static void tpm_generate(void *state, enum key_type type)
{
    struct tpm *tpm = state;
    check(Esys_FlushContext(tpm->esys, make_key(tpm, type)), "Esys_FlushContext");
}

static void tpm_close(void *state)
{
    struct tpm *tpm = state;
    check(Esys_FlushContext(tpm->esys, tpm->key), "Esys_FlushContext");
    check(Esys_FlushContext(tpm->esys, tpm->primary), "Esys_FlushContext");
    if (tpm->session != ESYS_TR_PASSWORD) {
        check(Esys_FlushContext(tpm->esys, tpm->session), "Esys_FlushContext");
    }
    Esys_Finalize(&tpm->esys);
    Tss2_TctiLdr_Finalize(&tpm->tcti);
    free(tpm);
}

const struct bare bare_session = {"bare ESAPI, same kind of session", open_session, tpm_sign,
                                  tpm_generate, tpm_close};
const struct bare bare_plain = {"bare ESAPI, plain password", open_plain, tpm_sign, tpm_generate,
                                tpm_close};
