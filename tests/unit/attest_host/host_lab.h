/* What the tests of a host share: TPMs with every kind of endorsement key that swtpm can have, a
 * keystore on them, and evidence checked by the other half of attestation. */
#pragma once

#include "tests/unit/pkcs11/tpm/device.h"

#include <tss2/tss2_mu.h>

#include "attest/attested.h"
#include "attest/credential.h"
#include "attest/ek.h"
#include "attest/host/host.h"
#include "lib/base/clock.h"
#include "lib/base/text.h"

enum lab_ek {
    LAB_EK_BARE,          /* no certificate */
    LAB_EK_P384,          /* H-3 and, besides, L-1 */
    LAB_EK_RSA,           /* L-1 */
    LAB_EK_RSA_TRANSIENT, /* L-1, not persistent */
    LAB_EK_P256,          /* L-2 */
    LAB_EK_P256_TRANSIENT,
    LAB_EK_COUNT
};

struct lab {
    struct swtpm swtpm;
    struct keystore *keystore;
    struct attest_host_config config;
    struct attest_host *host;
    char ca[64]; /* of the EKs */
    char ak_path[96];
};

static const struct bytes lab_nonce = {(const uint8_t *)"0123456789abcdef0123456789abcdef", 32};

/* Runs a script in the shell, in the TPM's folder, with its TCTI for tpm2-tools. */
static inline void lab_shell(const struct lab *lab, const char *script)
{
    const char *folder = lab->swtpm.folder;
    _cleanup_(free_cleanup) char *whole =
        text_format("exec 2>>%s/script.log; set -ex; cd %s; CA=%s; TPM2TOOLS_TCTI=%s; "
                    "export CA TPM2TOOLS_TCTI; %s",
                    folder, folder, lab->ca, lab->swtpm.tcti, script);
    const char *const arguments[] = {"sh", "-c", whole, NULL};
    if (swtpm_run(arguments) != 0) {
        const char *const show[] = {"sh", "-c", "tail -n 20 \"$0\"/script.log >&2", folder, NULL};
        (void)swtpm_run(show);
        fail_msg("a script failed: %s", script);
    }
}

/* A CA of EK certificates, as swtpm's tools make it at first use. */
static const char lab_ca_script[] =
    "mkdir -p $CA; printf 'statedir = %s\\nsigningkey = %s/signkey.pem\\nissuercert = "
    "%s/issuercert.pem\\ncertserial = %s/certserial\\n' $CA $CA $CA $CA > $CA/localca.conf; "
    "printf -- '--platform-manufacturer Lab\\n--platform-version 2.1\\n--platform-model Lab\\n' > "
    "$CA/localca.options; printf 'create_certs_tool = /usr/bin/swtpm_localca\\n"
    "create_certs_tool_config = %s/localca.conf\\ncreate_certs_tool_options = "
    "%s/localca.options\\nactive_pcr_banks = sha256\\n' $CA $CA > $CA/setup.conf";

static const char lab_setup_script[] =
    "swtpm_setup --tpm2 --config $CA/setup.conf --tpmstate . --createek --create-ek-cert "
    "--create-platform-cert --lock-nvram --pcr-banks sha256,sha384 --overwrite --logfile setup.log";

/* As the manufacturer of a TPM with a P-256 EK does it. */
static const char lab_p256_script[] =
    "tpm2_createek -G ecc -c 0x81010002 -u ek.pub; tpm2_flushcontext -t";
static const char lab_p256_certificate_script[] =
    "tpm2_readpublic -c 0x81010002 > ek.txt; x=$(sed -n 's/^x: //p' ek.txt); "
    "y=$(sed -n 's/^y: //p' ek.txt); "
    "swtpm_localca --type ek --ek x=$x,y=$y,id=secp256r1 --dir . --tpm2 --tpm-spec-family 2.0 "
    "--tpm-spec-level 0 --tpm-spec-revision 164 --tpm-manufacturer id:00001014 --tpm-model swtpm "
    "--tpm-version id:20191023 --configfile $CA/localca.conf --optsfile $CA/localca.options; "
    "a='ppwrite|writedefine|ppread|ownerread|authread|no_da|platformcreate'; "
    "tpm2_nvdefine 0x1c0000a -C p -s $(stat -c %s ek.cert) -a $a; "
    "tpm2_nvwrite 0x1c0000a -C p -i ek.cert; tpm2_nvwritelock -C p 0x1c0000a";

/* The issuers' certificates, cut in two where no certificate ends. */
static const char lab_chain_script[] =
    "a='ppwrite|writedefine|ppread|ownerread|authread|no_da|platformcreate'; "
    "for f in issuercert swtpm-localca-rootca-cert; do openssl x509 -in $CA/$f.pem -outform DER; "
    "done > chain; split -b 700 -d -a 1 chain chain.; for f in chain.?; do "
    "n=0x1c0010${f#chain.}; tpm2_nvdefine $n -C p -s $(stat -c %s $f) -a $a; "
    "tpm2_nvwrite $n -C p -i $f; done";

static const char lab_evict_script[] =
    "h=$(tpm2_getcap handles-persistent | sed -n 's/^- \\(0x8101.*\\)/\\1/p'); "
    "for i in $h; do tpm2_evictcontrol -C o -c $i; done";

static inline void lab_make_tpm(struct lab *lab, enum lab_ek ek)
{
    struct swtpm *swtpm = &lab->swtpm;
    *swtpm = (struct swtpm){.folder = "/tmp/signet-swtpm-XXXXXX"};
    assert_non_null(mkdtemp(swtpm->folder));
    (void)snprintf(swtpm->socket, sizeof(swtpm->socket), "%s/sock", swtpm->folder);
    (void)snprintf(swtpm->tcti, sizeof(swtpm->tcti), "swtpm:path=%s", swtpm->socket);
    (void)snprintf(lab->ca, sizeof(lab->ca), "/tmp/signet-ek-ca-%d", (int)getpid());
    (void)snprintf(lab->ak_path, sizeof(lab->ak_path), "%s/ak", swtpm->folder);
    lab_shell(lab, lab_ca_script);
    if (ek == LAB_EK_P384 || ek == LAB_EK_RSA || ek == LAB_EK_RSA_TRANSIENT) {
        lab_shell(lab, lab_setup_script);
    }
    swtpm_start(swtpm);
    if (ek == LAB_EK_P256 || ek == LAB_EK_P256_TRANSIENT) {
        lab_shell(lab, lab_p256_script);
        lab_shell(lab, lab_p256_certificate_script);
    }
    if (ek == LAB_EK_RSA || ek == LAB_EK_RSA_TRANSIENT) {
        lab_shell(lab, "tpm2_nvundefine 0x1c00016 -C p");
    }
    if (ek == LAB_EK_RSA_TRANSIENT || ek == LAB_EK_P256_TRANSIENT) {
        lab_shell(lab, lab_evict_script);
    }
}

static inline void lab_open_keystore(struct lab *lab)
{
    struct error err;
    struct tpm_config config = {.tcti = lab->swtpm.tcti};
    const struct keystore_config keystore = {
        .name = "tpm", .driver = &keystore_driver_tpm, .driver_config = &config};
    assert_done(keystore_new(&keystore, &lab->keystore, &err), err);
    lab->config = (struct attest_host_config){.keystore = lab->keystore,
                                              .ak_type = lab->config.ak_type,
                                              .ak_path = lab->ak_path,
                                              .event_log_path = lab->config.event_log_path,
                                              .ima_path = lab->config.ima_path};
}

static inline void lab_open_host(struct lab *lab)
{
    struct error err;
    assert_done(attest_host_open(&lab->config, &lab->host, &err), err);
}

static inline void lab_open(struct lab *lab, enum lab_ek ek, enum key_type ak_type)
{
    struct error err;
    *lab = (struct lab){.config.ak_type = ak_type};
    assert_done(secret_init(&err), err);
    lab_make_tpm(lab, ek);
    lab_open_keystore(lab);
    lab_open_host(lab);
}

static inline void lab_close_host(struct lab *lab)
{
    if (lab->host) {
        attest_host_close(take_ptr(lab->host));
    }
}

static inline void lab_close_keystore(struct lab *lab)
{
    lab_close_host(lab);
    keystore_free(take_ptr(lab->keystore));
}

/* Nothing may be left in the TPM. */
static inline void lab_close(struct lab *lab)
{
    lab_close_keystore(lab);
    device_assert_empty(lab->swtpm.tcti);
    swtpm_remove(&lab->swtpm);
}

static inline int lab_remove_ca(void **state)
{
    char ca[64];
    (void)state;
    (void)snprintf(ca, sizeof(ca), "/tmp/signet-ek-ca-%d", (int)getpid());
    (void)nftw(ca, swtpm_unlink, 8, FTW_DEPTH | FTW_PHYS);
    return 0;
}

static inline struct pcr_selection lab_selection(const char *text)
{
    struct error err;
    struct pcr_selection selection;
    assert_done(pcr_selection_parse(text, &selection, &err), err);
    return selection;
}

static inline TPMT_PUBLIC lab_public(const struct buffer *encoded)
{
    struct error err;
    TPMT_PUBLIC public;
    assert_done(public_parse(buffer_bytes(encoded), &public, &err), err);
    return public;
}

/* What was signed is by the AK, of that type and for the nonce. */
static inline TPMS_ATTEST lab_check_signed(const struct evidence *evidence,
                                           const struct evidence_signed *item, TPM2_ST type)
{
    struct error err;
    TPMS_ATTEST attest;
    enum attested_flaw flaw = ATTESTED_FLAW_NONE;
    const TPMT_PUBLIC ak = lab_public(&evidence->ak_public);
    assert_null(public_flaw_of_ak(&ak));
    assert_done(attested_check(buffer_bytes(&item->attested), buffer_bytes(&item->signature), &ak,
                               type, lab_nonce, &attest, &flaw, &err),
                err);
    return attest;
}

/* Quotes, and checks the quote and the registers beside it. */
static inline void lab_quote(struct lab *lab, const char *selection_text,
                             struct evidence *ret_evidence)
{
    struct error err;
    uint8_t digest[HASH_MAX_BYTES];
    const struct pcr_selection selection = lab_selection(selection_text);
    assert_done(attest_host_identify(lab->host, ret_evidence, &err), err);
    assert_done(attest_host_quote(lab->host, lab_nonce, &selection, ret_evidence, &err), err);
    const TPMS_ATTEST attest =
        lab_check_signed(ret_evidence, &ret_evidence->quote, TPM2_ST_ATTEST_QUOTE);
    const TPM2B_DIGEST *quoted = &attest.attested.quote.pcrDigest;
    assert_true(pcr_selection_is_quoted(&selection, &attest.attested.quote.pcrSelect));
    assert_done(
        pcr_set_digest(&ret_evidence->pcrs, &selection, hash_by_id(TPM2_ALG_SHA256), digest, &err),
        err);
    assert_int_equal(quoted->size, 32);
    assert_memory_equal(quoted->buffer, digest, 32);
    assert_true(bytes_is_equal(buffer_bytes(&ret_evidence->nonce), lab_nonce));
    assert_true(ret_evidence->made_at_s > 1600000000);
}

/* A challenge for the host's EK and AK. */
static inline void lab_challenge(struct lab *lab, struct bytes secret,
                                 struct challenge *ret_challenge)
{
    struct error err;
    struct tpm2_name name;
    _cleanup_(evidence_clear) struct evidence evidence = {0};
    assert_done(attest_host_identify(lab->host, &evidence, &err), err);
    const TPMT_PUBLIC ek = lab_public(&evidence.ek_public);
    const TPMT_PUBLIC ak = lab_public(&evidence.ak_public);
    assert_done(public_name(&ak, &name, &err), err);
    buffer_append(&ret_challenge->ak_name, name.data, name.size);
    assert_done(credential_make(&ek, &name, secret, &ret_challenge->id_object,
                                &ret_challenge->encrypted_secret, &err),
                err);
}

static inline int lab_activate(struct lab *lab, struct error *ret_err)
{
    static const struct bytes hidden = {(const uint8_t *)"a secret of exactly 32 bytes....", 32};
    _cleanup_(challenge_clear) struct challenge challenge = {0};
    _cleanup_(secret_clear) struct secret found = {0};
    lab_challenge(lab, hidden, &challenge);
    TRY(attest_host_activate(lab->host, &challenge, &found, ret_err));
    assert_true(bytes_is_equal(secret_bytes(&found), hidden));
    return 0;
}

static inline struct key *lab_key(struct lab *lab, enum key_type type)
{
    struct error err;
    struct key *key = NULL;
    assert_done(
        keystore_key_generate(lab->keystore, type, NULL, KEYSTORE_PRIORITY_ISSUE, &key, &err), err);
    return key;
}

/* Certifies the key, and checks that it is this key that was certified. */
static inline void lab_certify(struct lab *lab, struct key *key)
{
    struct error err;
    struct tpm2_name name;
    _cleanup_(evidence_clear) struct evidence evidence = {0};
    _cleanup_(buffer_clear) struct buffer spki = {0};
    assert_done(attest_host_identify(lab->host, &evidence, &err), err);
    assert_done(attest_host_certify(lab->host, key, lab_nonce, &evidence, &err), err);
    const TPMS_ATTEST attest = lab_check_signed(&evidence, &evidence.key, TPM2_ST_ATTEST_CERTIFY);
    const TPM2B_NAME *certified = &attest.attested.certify.name;
    const TPMT_PUBLIC public = lab_public(&evidence.key_public);
    assert_null(public_flaw_of_signing_key(&public));
    assert_done(public_name(&public, &name, &err), err);
    assert_true(
        bytes_is_equal((struct bytes){certified->name, certified->size}, tpm2_name_bytes(&name)));
    assert_done(public_spki(&public, &spki, &err), err);
    assert_true(bytes_is_equal(buffer_bytes(&spki), key_public_der(key)));
}
