/* Every step of a host on every kind of endorsement key, with both kinds of attestation key. */
#include "tests/unit/attest_host/host_lab.h"

static const struct {
    enum lab_ek ek;
    const char *template;
    size_t certificates;
} eks[] = {
    {LAB_EK_BARE, "L-2", 0},          {LAB_EK_P384, "H-3", 1}, {LAB_EK_RSA, "L-1", 1},
    {LAB_EK_RSA_TRANSIENT, "L-1", 1}, {LAB_EK_P256, "L-2", 1}, {LAB_EK_P256_TRANSIENT, "L-2", 1},
};

static const enum key_type ak_types[] = {KEY_TYPE_EC_P256, KEY_TYPE_RSA_2048};

/* The certificate is of the EK, and its own CA vouches for it. */
static void check_certificate(const struct lab *lab, const struct evidence *evidence)
{
    struct error err;
    const char *how = NULL;
    _cleanup_(ek_trust_free_cleanup) struct ek_trust *trust = ek_trust_new();
    _cleanup_(free_cleanup) char *anchors = text_format("%s/anchors", lab->ca);
    lab_shell(lab, "mkdir -p $CA/anchors; cp $CA/*cert.pem $CA/anchors");
    assert_done(ek_trust_add_folder(trust, anchors, &err), err);
    const TPMT_PUBLIC ek = lab_public(&evidence->ek_public);
    assert_done(ek_trust_judge(trust, &ek, buffer_bytes(&evidence->ek_certificates.items[0]), NULL,
                               0, clock_now_s() + 60, &how, &err),
                err);
    assert_string_equal(how, "certificate");
}

static void check_identity(struct lab *lab, size_t place)
{
    struct error err;
    _cleanup_(evidence_clear) struct evidence evidence = {0};
    _cleanup_(evidence_clear) struct evidence alone = {0};
    assert_done(attest_host_identify(lab->host, &evidence, &err), err);
    const TPMT_PUBLIC ek = lab_public(&evidence.ek_public);
    assert_string_equal(ek_template_of(&ek)->name, eks[place].template);
    assert_int_equal(evidence.ek_certificates.count, eks[place].certificates);
    if (eks[place].certificates > 0) {
        check_certificate(lab, &evidence);
    }
    assert_done(attest_host_read_ek(lab->keystore, &alone, &err), err);
    assert_true(bytes_is_equal(buffer_bytes(&alone.ek_public), buffer_bytes(&evidence.ek_public)));
    assert_int_equal(alone.ek_certificates.count, evidence.ek_certificates.count);
    assert_int_equal(alone.ak_public.size, 0);
}

static void check_keys(struct lab *lab)
{
    for (unsigned type = 0; type < KEY_TYPE_COUNT; type++) {
        struct key *key = lab_key(lab, type);
        lab_certify(lab, key);
        lab_certify(lab, key);
        key_unref(key);
    }
}

static void every_step_with_every_ek(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(eks) * ARRAY_SIZE(ak_types); i++) {
        struct lab lab;
        struct error err;
        _cleanup_(evidence_clear) struct evidence evidence = {0};
        lab_open(&lab, eks[i / ARRAY_SIZE(ak_types)].ek, ak_types[i % ARRAY_SIZE(ak_types)]);
        check_identity(&lab, i / ARRAY_SIZE(ak_types));
        assert_done(lab_activate(&lab, &err), err);
        lab_quote(&lab, "sha256:0,1,2,3,4,5,6,7,8,9,14,23", &evidence);
        assert_done(lab_activate(&lab, &err), err);
        check_keys(&lab);
        lab_close(&lab);
    }
}

static void the_ak_is_kept_in_its_file(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(ak_types); i++) {
        struct lab lab;
        struct error err;
        struct stat status;
        _cleanup_(evidence_clear) struct evidence first = {0};
        _cleanup_(evidence_clear) struct evidence second = {0};
        _cleanup_(evidence_clear) struct evidence third = {0};
        lab_open(&lab, LAB_EK_BARE, ak_types[i]);
        assert_int_equal(stat(lab.ak_path, &status), 0);
        assert_int_equal(status.st_mode & 07777, 0600);
        lab_quote(&lab, "sha256:7", &first);
        lab_close_keystore(&lab);
        lab_open_keystore(&lab);
        lab_open_host(&lab);
        lab_quote(&lab, "sha256:7", &second);
        assert_true(
            bytes_is_equal(buffer_bytes(&first.ak_public), buffer_bytes(&second.ak_public)));
        lab_close_host(&lab);
        assert_done(attest_host_new_ak(&lab.config, &err), err);
        lab_open_host(&lab);
        lab_quote(&lab, "sha256:7", &third);
        assert_false(
            bytes_is_equal(buffer_bytes(&first.ak_public), buffer_bytes(&third.ak_public)));
        lab_close(&lab);
    }
}

static void write_file(const char *path, const void *data, size_t size)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static enum error_code open_code(struct lab *lab, struct error *ret_err)
{
    assert_int_equal(attest_host_open(&lab->config, &lab->host, ret_err), -1);
    assert_null(lab->host);
    return ret_err->code;
}

static void a_damaged_file_is_told_from_a_lost_key(void **state)
{
    struct lab lab;
    struct error err;
    _cleanup_(buffer_clear) struct buffer whole = {0};
    (void)state;
    lab_open(&lab, LAB_EK_BARE, KEY_TYPE_EC_P256);
    lab_close_host(&lab);
    assert_done(buffer_read_file(lab.ak_path, 4096, &whole, &err), err);
    for (size_t size = 0; size < whole.size; size += 1 + size / 2) {
        write_file(lab.ak_path, whole.data, size);
        assert_int_equal(open_code(&lab, &err), ERROR_DATA_LOSS);
        assert_non_null(strstr(err.text, lab.ak_path));
    }
    /* An attribute; then the private half, which only the TPM can judge. */
    whole.data[10] ^= 1;
    write_file(lab.ak_path, whole.data, whole.size);
    assert_int_equal(open_code(&lab, &err), ERROR_DATA_LOSS);
    whole.data[10] ^= 1;
    whole.data[whole.size - 1] ^= 1;
    write_file(lab.ak_path, whole.data, whole.size);
    assert_int_equal(open_code(&lab, &err), ERROR_NOT_FOUND);
    whole.data[whole.size - 1] ^= 1;
    write_file(lab.ak_path, whole.data, whole.size);
    lab.config.ak_type = KEY_TYPE_RSA_2048;
    assert_int_equal(open_code(&lab, &err), ERROR_FAILED_PRECONDITION);
    lab.config.ak_type = KEY_TYPE_EC_P384;
    assert_int_equal(attest_host_new_ak(&lab.config, &err), -1);
    assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
    lab.config.ak_type = KEY_TYPE_EC_P256;
    lab_open_host(&lab);
    lab_close(&lab);
}

static void certificates_of_issuers_are_passed_on(void **state)
{
    struct lab lab = {.config.ak_type = KEY_TYPE_EC_P256};
    struct error err;
    _cleanup_(evidence_clear) struct evidence evidence = {0};
    (void)state;
    assert_done(secret_init(&err), err);
    lab_make_tpm(&lab, LAB_EK_P384);
    lab_shell(&lab, lab_chain_script);
    lab_open_keystore(&lab);
    assert_done(attest_host_read_ek(lab.keystore, &evidence, &err), err);
    assert_int_equal(evidence.ek_certificates.count, 3);
    lab_close(&lab);
}

/* Damaged, of another key, padded. */
static void certificates_that_do_not_fit_are_passed_over(void **state)
{
    static const char *const scripts[] = {
        "head -c 900 /dev/zero > bad",
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k.pem -subj "
        "/CN=x -outform DER -out bad",
    };
    struct error err;
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(scripts); i++) {
        struct lab lab = {.config.ak_type = KEY_TYPE_EC_P256};
        _cleanup_(evidence_clear) struct evidence evidence = {0};
        assert_done(secret_init(&err), err);
        lab_make_tpm(&lab, LAB_EK_P384);
        lab_shell(&lab, scripts[i]);
        lab_shell(&lab, "tpm2_nvdefine 0x1c0000a -C p -s $(stat -c %s bad) -a "
                        "'ppwrite|writedefine|ppread|ownerread|authread|no_da|platformcreate'; "
                        "tpm2_nvwrite 0x1c0000a -C p -i bad");
        lab_open_keystore(&lab);
        assert_done(attest_host_read_ek(lab.keystore, &evidence, &err), err);
        const TPMT_PUBLIC ek = lab_public(&evidence.ek_public);
        assert_string_equal(ek_template_of(&ek)->name, "H-3");
        lab_close(&lab);
    }
}

#define NONCE "a nonce of the manufacturer's..."

/* Persists the EK that the P-256 template makes with the nonce in its unique field, and leaves that
 * template, encoded, in a file. */
static void make_with_nonce(const struct lab *lab)
{
    TPM2_HANDLE handle = 0;
    TPM2B_PUBLIC public;
    TPM2B_PUBLIC template = {.publicArea = ek_template_at(0)->public};
    struct tpm_transport transport = {.conf = memory_copy_text(lab->swtpm.tcti)};
    _cleanup_(buffer_clear) struct buffer encoded = {0};
    _cleanup_(free_cleanup) char *path = text_format("%s/template", lab->swtpm.folder);
    assert_string_equal(ek_template_at(0)->name, "L-2");
    memcpy(template.publicArea.unique.ecc.x.buffer, NONCE, strlen(NONCE));
    public_encode(&template.publicArea, &encoded);
    write_file(path, encoded.data, encoded.size);
    assert_int_equal(tpm_transport_open(&transport), TSS2_RC_SUCCESS);
    assert_int_equal(
        tpm_command_create_primary(&transport, TPM2_RH_ENDORSEMENT, &template, &handle, &public),
        TSS2_RC_SUCCESS);
    tpm_transport_close(&transport);
    free(transport.conf);
    assert_int_equal(handle, TPM_HANDLES_TRANSIENT);
    lab_shell(lab, "tpm2_evictcontrol -C o -c 0x80000000 0x81010002; tpm2_flushcontext -t");
}

#define DEFINE_AND_WRITE(index, file)                                                              \
    "tpm2_nvdefine " index " -C p -s $(stat -c %s " file ") -a "                                   \
    "'ppwrite|writedefine|ppread|ownerread|authread|no_da|platformcreate'; "                       \
    "tpm2_nvwrite " index " -C p -i " file "; "

/* A template of the manufacturer's own, or a nonce for it, makes another key than the profile's;
 * some keep the template where others have the nonce. */
static void a_manufacturers_template_is_followed(void **state)
{
    static const char *const scripts[] = {
        DEFINE_AND_WRITE("0x1c0000b", "template"),
        DEFINE_AND_WRITE("0x1c0000c", "template"),
        "printf %s \"" NONCE "\" > nonce; " DEFINE_AND_WRITE("0x1c0000b", "nonce"),
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(scripts); i++) {
        struct lab lab = {.config.ak_type = KEY_TYPE_EC_P256};
        struct error err;
        _cleanup_(evidence_clear) struct evidence evidence = {0};
        assert_done(secret_init(&err), err);
        lab_make_tpm(&lab, LAB_EK_BARE);
        make_with_nonce(&lab);
        lab_shell(&lab, lab_p256_certificate_script);
        lab_shell(&lab, lab_evict_script);
        lab_shell(&lab, scripts[i]);
        lab_open_keystore(&lab);
        lab_open_host(&lab);
        assert_done(attest_host_identify(lab.host, &evidence, &err), err);
        assert_int_equal(evidence.ek_certificates.count, 1);
        assert_done(lab_activate(&lab, &err), err);
        swtpm_kill(&lab.swtpm, SIGKILL);
        swtpm_start(&lab.swtpm);
        assert_done(lab_activate(&lab, &err), err);
        lab_close(&lab);
    }
}

static void change(struct buffer *buffer)
{
    buffer->data[buffer->size / 2] ^= 0x10;
}

static void refuse_changed_credential(struct lab *lab, unsigned what)
{
    struct error err;
    struct keystore_status status;
    _cleanup_(challenge_clear) struct challenge challenge = {0};
    _cleanup_(secret_clear) struct secret found = {0};
    lab_challenge(lab, lab_nonce, &challenge);
    struct buffer *const parts[] = {&challenge.ak_name, &challenge.id_object,
                                    &challenge.encrypted_secret};
    if (what < ARRAY_SIZE(parts)) {
        change(parts[what]);
    } else {
        buffer_extend(&challenge.encrypted_secret, 4096);
    }
    assert_int_equal(attest_host_activate(lab->host, &challenge, &found, &err), -1);
    assert_int_equal(err.code, ERROR_PERMISSION_DENIED);
    assert_null(found.data);
    keystore_status(lab->keystore, &status);
    assert_int_equal(status.state, KEYSTORE_STATE_READY);
    assert_int_equal(status.failures, 0);
}

static void credentials_for_others_are_refused(void **state)
{
    static const enum lab_ek kinds[] = {LAB_EK_BARE, LAB_EK_P384, LAB_EK_RSA};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        struct lab lab;
        struct error err;
        lab_open(&lab, kinds[i], KEY_TYPE_EC_P256);
        for (unsigned what = 0; what < 4; what++) {
            refuse_changed_credential(&lab, what);
            assert_done(lab_activate(&lab, &err), err);
        }
        lab_close(&lab);
    }
}

static void registers_are_read_as_they_are(void **state)
{
    struct lab lab;
    struct error err;
    struct pcr_set pcrs;
    (void)state;
    lab_open(&lab, LAB_EK_P384, KEY_TYPE_EC_P256);
    lab_shell(&lab, "tpm2_pcrextend 7:sha256=$(printf 11%.0s $(seq 32)),sha384=$(printf 22%.0s "
                    "$(seq 48)); tpm2_pcrread sha256:7 -o pcr7");
    const struct pcr_selection all = lab_selection(
        "sha256:0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23+sha384:7");
    assert_done(attest_host_read_pcrs(lab.host, &all, &pcrs, &err), err);
    assert_int_equal(pcrs.count, 2);
    assert_int_equal(pcrs.banks[0].mask, 0xffffff);
    assert_int_equal(pcrs.banks[1].mask, 1 << 7);
    _cleanup_(buffer_clear) struct buffer value = {0};
    _cleanup_(free_cleanup) char *path = text_format("%s/pcr7", lab.swtpm.folder);
    assert_done(buffer_read_file(path, 64, &value, &err), err);
    assert_int_equal(value.size, 32);
    assert_memory_equal(pcr_set_value(&pcrs, TPM2_ALG_SHA256, 7), value.data, 32);
    _cleanup_(evidence_clear) struct evidence evidence = {0};
    lab_quote(&lab, "sha256:0,7,16+sha384:7,23", &evidence);
    assert_memory_equal(pcr_set_value(&evidence.pcrs, TPM2_ALG_SHA256, 7), value.data, 32);
    lab_close(&lab);
}

/* The TPM quotes nothing of it, which the verifier finds out. */
static void a_bank_that_is_not_active_is_left_out(void **state)
{
    struct lab lab;
    struct error err;
    _cleanup_(evidence_clear) struct evidence evidence = {0};
    (void)state;
    lab_open(&lab, LAB_EK_P384, KEY_TYPE_EC_P256);
    const struct pcr_selection selection = lab_selection("sha1:0+sha256:7");
    assert_done(attest_host_identify(lab.host, &evidence, &err), err);
    assert_done(attest_host_quote(lab.host, lab_nonce, &selection, &evidence, &err), err);
    const TPMS_ATTEST attest = lab_check_signed(&evidence, &evidence.quote, TPM2_ST_ATTEST_QUOTE);
    assert_false(pcr_selection_is_quoted(&selection, &attest.attested.quote.pcrSelect));
    assert_null(pcr_set_value(&evidence.pcrs, TPM2_ALG_SHA1, 0));
    assert_non_null(pcr_set_value(&evidence.pcrs, TPM2_ALG_SHA256, 7));
    lab_close(&lab);
}

static void logs_are_read_with_limits(void **state)
{
    struct lab lab = {.config.ak_type = KEY_TYPE_EC_P256};
    struct error err;
    char log[96];
    char ima[96];
    _cleanup_(evidence_clear) struct evidence evidence = {0};
    (void)state;
    assert_done(secret_init(&err), err);
    lab_make_tpm(&lab, LAB_EK_BARE);
    (void)snprintf(log, sizeof(log), "%s/events", lab.swtpm.folder);
    (void)snprintf(ima, sizeof(ima), "%s/ima", lab.swtpm.folder);
    lab.config.event_log_path = log;
    lab.config.ima_path = ima;
    lab_open_keystore(&lab);
    lab_open_host(&lab);
    lab_quote(&lab, "sha256:7", &evidence);
    assert_int_equal(evidence.event_log.size + evidence.ima_list.size, 0);
    lab_shell(&lab, "echo some events > events; truncate -s 17M ima");
    lab_quote(&lab, "sha256:7", &evidence);
    assert_true(bytes_is_equal(buffer_bytes(&evidence.event_log), bytes_of_text("some events\n")));
    assert_int_equal(evidence.ima_list.size, 0);
    lab_shell(&lab, "truncate -s 5M events; echo files > ima");
    lab_quote(&lab, "sha256:7", &evidence);
    assert_int_equal(evidence.event_log.size, 0);
    assert_true(bytes_is_equal(buffer_bytes(&evidence.ima_list), bytes_of_text("files\n")));
    lab_close(&lab);
}

static void wrong_requests_are_refused(void **state)
{
    struct lab lab;
    struct lab other;
    struct error err;
    const struct pcr_selection selection = lab_selection("sha256:7");
    _cleanup_(evidence_clear) struct evidence evidence = {0};
    (void)state;
    lab_open(&lab, LAB_EK_BARE, KEY_TYPE_EC_P256);
    lab_open(&other, LAB_EK_BARE, KEY_TYPE_EC_P256);
    struct key *foreign = lab_key(&other, KEY_TYPE_EC_P256);
    assert_int_equal(attest_host_certify(lab.host, foreign, lab_nonce, &evidence, &err), -1);
    assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
    const struct bytes nonces[] = {{lab_nonce.data, 7}, {(const uint8_t *)err.text, 33}};
    for (size_t i = 0; i < ARRAY_SIZE(nonces); i++) {
        assert_int_equal(attest_host_quote(lab.host, nonces[i], &selection, &evidence, &err), -1);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
    }
    key_unref(foreign);
    lab_close(&other);
    lab_close(&lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_step_with_every_ek),
        cmocka_unit_test(the_ak_is_kept_in_its_file),
        cmocka_unit_test(a_damaged_file_is_told_from_a_lost_key),
        cmocka_unit_test(certificates_of_issuers_are_passed_on),
        cmocka_unit_test(certificates_that_do_not_fit_are_passed_over),
        cmocka_unit_test(a_manufacturers_template_is_followed),
        cmocka_unit_test(credentials_for_others_are_refused),
        cmocka_unit_test(registers_are_read_as_they_are),
        cmocka_unit_test(a_bank_that_is_not_active_is_left_out),
        cmocka_unit_test(logs_are_read_with_limits),
        cmocka_unit_test(wrong_requests_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, lab_remove_ca);
}
