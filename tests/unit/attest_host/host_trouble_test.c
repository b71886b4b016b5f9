/* What a host makes of a TPM that is reset, cleared, replaced, busy, gone, or behind a bad wire. */
#include "tests/unit/attest_host/host_lab.h"

#include <pthread.h>
#include <stdatomic.h>

#include "tests/unit/pkcs11/tpm/bus.h"

static const enum lab_ek kinds[] = {LAB_EK_BARE, LAB_EK_P384, LAB_EK_RSA, LAB_EK_P256_TRANSIENT};

static void power_cut(struct lab *lab)
{
    swtpm_kill(&lab->swtpm, SIGKILL);
    swtpm_start(&lab->swtpm);
}

static uint32_t property_of(const struct lab *lab, TPM2_PT property)
{
    uint32_t value = 0;
    struct tpm_transport transport = {.conf = memory_copy_text(lab->swtpm.tcti)};
    assert_int_equal(tpm_transport_open(&transport), TSS2_RC_SUCCESS);
    assert_int_equal(tpm_command_property(&transport, property, &value), TSS2_RC_SUCCESS);
    tpm_transport_close(&transport);
    free(transport.conf);
    return value;
}

/* And none of them counts as an attempt to guess a password: that would lock EKs. */
static void power_cuts_between_steps(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        struct lab lab;
        struct error err;
        lab_open(&lab, kinds[i], i % 2 ? KEY_TYPE_RSA_2048 : KEY_TYPE_EC_P256);
        struct key *key = lab_key(&lab, KEY_TYPE_EC_P256);
        for (unsigned round = 0; round < 3; round++) {
            _cleanup_(evidence_clear) struct evidence evidence = {0};
            assert_done(lab_activate(&lab, &err), err);
            power_cut(&lab);
            assert_done(lab_activate(&lab, &err), err);
            power_cut(&lab);
            lab_quote(&lab, "sha256:0,7", &evidence);
            power_cut(&lab);
            lab_certify(&lab, key);
            swtpm_reboot(&lab.swtpm);
            assert_done(lab_activate(&lab, &err), err);
        }
        assert_int_equal(property_of(&lab, TPM2_PT_LOCKOUT_COUNTER), 0);
        key_unref(key);
        lab_close(&lab);
    }
}

static enum error_code quote_code(struct lab *lab)
{
    struct error err = {0};
    const struct pcr_selection selection = lab_selection("sha256:7");
    _cleanup_(evidence_clear) struct evidence evidence = {0};
    return attest_host_quote(lab->host, lab_nonce, &selection, &evidence, &err) < 0 ? err.code
                                                                                    : ERROR_OK;
}

static enum error_code activate_code(struct lab *lab)
{
    struct error err = {0};
    return lab_activate(lab, &err) < 0 ? err.code : ERROR_OK;
}

static bool has_same_ek(struct lab *lab, const struct evidence *before)
{
    struct error err;
    _cleanup_(evidence_clear) struct evidence now = {0};
    assert_done(attest_host_read_ek(lab->keystore, &now, &err), err);
    return bytes_is_equal(buffer_bytes(&now.ek_public), buffer_bytes(&before->ek_public));
}

/* A keystore that knows another storage primary, and one that starts anew. */
static void assert_ak_is_lost(struct lab *lab, const struct evidence *before, bool is_same_ek)
{
    struct error err;
    struct keystore_status status;
    assert_int_equal(quote_code(lab), ERROR_NOT_FOUND);
    assert_int_equal(activate_code(lab), ERROR_NOT_FOUND);
    assert_int_equal(has_same_ek(lab, before), is_same_ek);
    keystore_status(lab->keystore, &status);
    assert_int_equal(status.state, KEYSTORE_STATE_READY);
    lab_close_host(lab);
    assert_int_equal(attest_host_open(&lab->config, &lab->host, &err), -1);
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    lab_close_keystore(lab);
    lab_open_keystore(lab);
    assert_int_equal(attest_host_open(&lab->config, &lab->host, &err), -1);
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    assert_int_equal(has_same_ek(lab, before), is_same_ek);
    assert_done(attest_host_new_ak(&lab->config, &err), err);
    lab_open_host(lab);
    assert_int_equal(activate_code(lab), ERROR_OK);
    assert_int_equal(quote_code(lab), ERROR_OK);
}

static void a_cleared_tpm_has_lost_the_ak(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        struct lab lab;
        _cleanup_(evidence_clear) struct evidence before = {0};
        lab_open(&lab, kinds[i], KEY_TYPE_EC_P256);
        lab_quote(&lab, "sha256:7", &before);
        lab_shell(&lab, "tpm2_clear -c p");
        assert_ak_is_lost(&lab, &before, true);
        lab_close(&lab);
    }
}

static void another_tpm_has_another_ek(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        struct lab lab;
        struct lab other = {0};
        _cleanup_(evidence_clear) struct evidence before = {0};
        lab_open(&lab, kinds[i], KEY_TYPE_EC_P256);
        lab_quote(&lab, "sha256:7", &before);
        lab_make_tpm(&other, kinds[i]);
        lab_shell(&other, "tpm2_nvdefine 0x1500000 -C o -s 8"); /* so that it has a state to copy */
        swtpm_kill(&other.swtpm, SIGTERM);
        swtpm_kill(&lab.swtpm, SIGTERM);
        _cleanup_(free_cleanup) char *copy =
            text_format("cp %s/tpm2-00.permall .", other.swtpm.folder);
        lab_shell(&lab, copy);
        swtpm_start(&lab.swtpm);
        assert_ak_is_lost(&lab, &before, false);
        swtpm_remove(&other.swtpm);
        lab_close(&lab);
    }
}

static void a_tpm_that_is_gone_comes_back(void **state)
{
    struct lab lab;
    struct keystore_status status;
    (void)state;
    lab_open(&lab, LAB_EK_P384, KEY_TYPE_EC_P256);
    swtpm_kill(&lab.swtpm, SIGKILL);
    assert_int_equal(quote_code(&lab), ERROR_UNAVAILABLE);
    assert_int_equal(activate_code(&lab), ERROR_UNAVAILABLE);
    keystore_status(lab.keystore, &status);
    assert_int_equal(status.state, KEYSTORE_STATE_LOST);
    swtpm_start(&lab.swtpm);
    for (int i = 0; status.state != KEYSTORE_STATE_READY && i < SWTPM_WAIT_MS; i++) {
        (void)poll(NULL, 0, 1);
        keystore_status(lab.keystore, &status);
    }
    assert_int_equal(activate_code(&lab), ERROR_OK);
    assert_int_equal(quote_code(&lab), ERROR_OK);
    /* Closing does not wait for the TPM. */
    swtpm_kill(&lab.swtpm, SIGKILL);
    assert_int_equal(quote_code(&lab), ERROR_UNAVAILABLE);
    lab_close_keystore(&lab);
    swtpm_start(&lab.swtpm);
    lab_open_keystore(&lab);
    lab_close(&lab);
}

static void an_evicted_ek_is_made_again(void **state)
{
    struct lab lab;
    (void)state;
    lab_open(&lab, LAB_EK_P384, KEY_TYPE_EC_P256);
    assert_int_equal(activate_code(&lab), ERROR_OK);
    lab_shell(&lab, "tpm2_evictcontrol -C p -c 0x81010016");
    assert_int_equal(activate_code(&lab), ERROR_OK);
    power_cut(&lab);
    assert_int_equal(activate_code(&lab), ERROR_OK);
    lab_close(&lab);
}

/* The high range's EK has a value of its own for this. */
static void a_password_of_the_endorsement_hierarchy(void **state)
{
    static const struct {
        enum lab_ek ek;
        enum error_code expected;
    } table[] = {{LAB_EK_P384, ERROR_OK},
                 {LAB_EK_RSA, ERROR_FAILED_PRECONDITION},
                 {LAB_EK_BARE, ERROR_FAILED_PRECONDITION}};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        struct lab lab;
        struct keystore_status status;
        lab_open(&lab, table[i].ek, KEY_TYPE_EC_P256);
        lab_shell(&lab, "tpm2_changeauth -c e secret");
        assert_int_equal(activate_code(&lab), table[i].expected);
        assert_int_equal(quote_code(&lab), ERROR_OK);
        keystore_status(lab.keystore, &status);
        assert_int_equal(status.state, KEYSTORE_STATE_READY);
        lab_close(&lab);
    }
}

/* Which is no reason to hold the TPM for lost. */
static void slots_that_others_take(void **state)
{
    struct lab lab;
    struct error err;
    TPM2B_PUBLIC template;
    TPM2B_PUBLIC public;
    TPM2_HANDLE handles[2];
    struct keystore_status status;
    (void)state;
    lab_open(&lab, LAB_EK_BARE, KEY_TYPE_EC_P256);
    lab_close_keystore(&lab);
    struct tpm_transport transport = {.conf = memory_copy_text(lab.swtpm.tcti)};
    assert_int_equal(tpm_transport_open(&transport), TSS2_RC_SUCCESS);
    tpm_public_key_template(KEY_TYPE_EC_P256, &template);
    for (size_t i = 0; i < ARRAY_SIZE(handles); i++) {
        assert_int_equal(
            tpm_command_create_primary(&transport, TPM2_RH_OWNER, &template, &handles[i], &public),
            TSS2_RC_SUCCESS);
    }
    lab_open_keystore(&lab);
    assert_int_equal(attest_host_open(&lab.config, &lab.host, &err), -1);
    assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
    assert_int_equal(attest_host_new_ak(&lab.config, &err), -1);
    assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
    keystore_status(lab.keystore, &status);
    assert_int_equal(status.state, KEYSTORE_STATE_READY);
    assert_int_equal(status.failures, 0);
    assert_int_equal(tpm_command_flush(&transport, handles[0]), TSS2_RC_SUCCESS);
    lab_open_host(&lab);
    assert_int_equal(activate_code(&lab), ERROR_OK);
    assert_int_equal(tpm_command_flush(&transport, handles[1]), TSS2_RC_SUCCESS);
    tpm_transport_close(&transport);
    free(transport.conf);
    lab_close(&lab);
}

struct signer {
    struct key *key;
    atomic_bool must_stop;
    atomic_uint signatures, failures;
    pthread_t thread;
};

static void *sign_without_end(void *argument)
{
    struct signer *signer = argument;
    uint8_t digest[32] = {1};
    uint8_t signature[SIGNATURE_MAX_BYTES];
    const struct sign_request request = {
        .scheme = SIGN_SCHEME_ECDSA, .digest = SIGN_DIGEST_SHA256, .value = {digest, 32}};
    while (!atomic_load(&signer->must_stop)) {
        size_t size = 0;
        int result =
            key_sign(signer->key, &request, KEYSTORE_PRIORITY_USE, 1, signature, &size, NULL);
        (void)atomic_fetch_add(result < 0 ? &signer->failures : &signer->signatures, 1);
    }
    return NULL;
}

static void a_keystore_that_signs_meanwhile(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct lab lab;
        struct error err;
        struct signer signers[4] = {0};
        lab_open(&lab, kinds[i], i % 2 ? KEY_TYPE_RSA_2048 : KEY_TYPE_EC_P256);
        for (size_t s = 0; s < ARRAY_SIZE(signers); s++) {
            signers[s].key = lab_key(&lab, KEY_TYPE_EC_P256);
            assert_int_equal(
                pthread_create(&signers[s].thread, NULL, sign_without_end, &signers[s]), 0);
        }
        for (unsigned round = 0; round < 3; round++) {
            _cleanup_(evidence_clear) struct evidence evidence = {0};
            assert_done(lab_activate(&lab, &err), err);
            lab_quote(&lab, "sha256:0,1,2,3,4,5,6,7", &evidence);
            lab_certify(&lab, signers[round % ARRAY_SIZE(signers)].key);
            struct device_load load = device_load_of(lab.swtpm.tcti);
            assert_true(load.objects <= 3);
            assert_true(load.sessions <= 2);
        }
        for (size_t s = 0; s < ARRAY_SIZE(signers); s++) {
            atomic_store(&signers[s].must_stop, true);
            assert_int_equal(pthread_join(signers[s].thread, NULL), 0);
            assert_int_equal(signers[s].failures, 0);
            assert_true(signers[s].signatures > 0);
            key_unref(signers[s].key);
        }
        lab_close(&lab);
    }
}

/* Somebody extends a register between quote and reading, once. */
static bool extend_once(struct bus *bus, struct bus_message *command,
                        struct bus_message *ret_answer)
{
    static const char extend[] = "tpm2_pcrextend 7:sha256="
                                 "5555555555555555555555555555555555555555555555555555555555555555";
    (void)ret_answer;
    struct lab *lab = bus->user;
    if (bus_code(command) == TPM2_CC_PCR_Read && lab) {
        bus->user = NULL;
        lab_shell(lab, extend);
    }
    return false;
}

/* A host behind a wire that the test holds. */
static void open_behind(struct lab *lab, struct bus *bus, enum lab_ek ek)
{
    struct error err;
    char tcti[sizeof(lab->swtpm.tcti)];
    *lab = (struct lab){.config.ak_type = KEY_TYPE_EC_P256};
    assert_done(secret_init(&err), err);
    lab_make_tpm(lab, ek);
    bus_new(bus, &lab->swtpm);
    memcpy(tcti, lab->swtpm.tcti, sizeof(tcti));
    memcpy(lab->swtpm.tcti, bus->tcti, sizeof(tcti));
    lab_open_keystore(lab);
    memcpy(lab->swtpm.tcti, tcti, sizeof(tcti));
    lab_open_host(lab);
}

static void close_behind(struct lab *lab, struct bus *bus)
{
    bus_set(bus, NULL, NULL, NULL);
    lab_close_keystore(lab);
    bus_free(bus);
    device_assert_empty(lab->swtpm.tcti);
    swtpm_remove(&lab->swtpm);
}

static void registers_that_change_meanwhile(void **state)
{
    struct lab lab;
    struct bus bus;
    _cleanup_(evidence_clear) struct evidence evidence = {0};
    (void)state;
    open_behind(&lab, &bus, LAB_EK_BARE);
    bus_set(&bus, extend_once, NULL, &lab);
    lab_quote(&lab, "sha256:0,7", &evidence);
    assert_null(bus.user);
    close_behind(&lab, &bus);
}

/* One command or one answer is lost. */
struct loss {
    size_t at, seen;
    bool reaches_tpm;
};

static bool lose(struct bus *bus, struct bus_message *command, struct bus_message *ret_answer)
{
    struct loss *loss = bus->user;
    if (loss->seen++ != loss->at) {
        return false;
    }
    if (loss->reaches_tpm) {
        (void)bus_ask(bus, command, ret_answer);
    }
    ret_answer->size = 0;
    return true;
}

/* Objects that were loaded by an answer that was lost are flushed when their slots are needed. */
static void assert_only_slots_are_left(const struct lab *lab)
{
    struct device_load load = device_load_of(lab->swtpm.tcti);
    assert_int_equal(load.sessions, 0);
    assert_true(load.objects <= 3);
    lab_shell(lab, "tpm2_flushcontext -t");
}

static void each_command_is_lost_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * ARRAY_SIZE(kinds); i++) {
        struct lab lab;
        struct bus bus;
        struct error err;
        struct loss loss = {.reaches_tpm = i % 2};
        open_behind(&lab, &bus, kinds[i / 2]);
        struct key *key = lab_key(&lab, KEY_TYPE_EC_P256);
        for (loss.at = 0; loss.at <= loss.seen; loss.at++) {
            _cleanup_(evidence_clear) struct evidence evidence = {0};
            loss.seen = 0;
            bus_set(&bus, lose, NULL, &loss);
            assert_done(lab_activate(&lab, &err), err);
            lab_quote(&lab, "sha256:0,7", &evidence);
            lab_certify(&lab, key);
        }
        assert_true(loss.at > 8);
        key_unref(key);
        bus_set(&bus, NULL, NULL, NULL);
        lab_close_keystore(&lab);
        assert_only_slots_are_left(&lab);
        lab_open_keystore(&lab);
        close_behind(&lab, &bus);
    }
}

static bool lose_answer_to(struct bus *bus, struct bus_message *command,
                           struct bus_message *ret_answer)
{
    struct loss *loss = bus->user;
    if (bus_code(command) != loss->at || loss->seen++ > 0) {
        return false;
    }
    (void)bus_ask(bus, command, ret_answer);
    ret_answer->size = 0;
    return true;
}

/* Again and again, so that nothing may be left each time. */
static void lost_answers_do_not_fill_the_tpm(void **state)
{
    static const TPM2_CC codes[] = {TPM2_CC_ContextLoad, TPM2_CC_StartAuthSession,
                                    TPM2_CC_CreatePrimary, TPM2_CC_ActivateCredential,
                                    TPM2_CC_FlushContext};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
        struct lab lab;
        struct bus bus;
        struct error err;
        open_behind(&lab, &bus, LAB_EK_BARE);
        for (unsigned round = 0; round < 6; round++) {
            struct loss loss = {.at = codes[i]};
            bus_set(&bus, lose_answer_to, NULL, &loss);
            assert_done(lab_activate(&lab, &err), err);
            _cleanup_(evidence_clear) struct evidence alone = {0};
            assert_done(attest_host_read_ek(lab.keystore, &alone, &err), err);
            assert_true(loss.seen > 0);
        }
        bus_set(&bus, NULL, NULL, NULL);
        lab_close_keystore(&lab);
        assert_only_slots_are_left(&lab);
        lab_open_keystore(&lab);
        close_behind(&lab, &bus);
    }
}

/* A bit of the answers to one kind of command, as often as it says. */
struct forgery {
    TPM2_CC code;
    unsigned times;
};

static void forge(struct bus *bus, const struct bus_message *command, struct bus_message *answer)
{
    struct forgery *forgery = bus->user;
    if (bus_code(command) == forgery->code && forgery->times > 0 && answer->size > 60) {
        forgery->times--;
        answer->data[40] ^= 4;
    }
}

static void forged_answers_are_not_believed(void **state)
{
    static const TPM2_CC codes[] = {TPM2_CC_ActivateCredential, TPM2_CC_Quote, TPM2_CC_Certify};
    struct lab lab;
    struct bus bus;
    (void)state;
    open_behind(&lab, &bus, LAB_EK_P384);
    struct key *key = lab_key(&lab, KEY_TYPE_EC_P256);
    for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
        struct forgery forgery = {codes[i], 2};
        _cleanup_(evidence_clear) struct evidence evidence = {0};
        bus_set(&bus, NULL, forge, &forgery);
        assert_int_equal(activate_code(&lab), ERROR_OK);
        lab_quote(&lab, "sha256:0,7", &evidence);
        lab_certify(&lab, key);
        assert_int_equal(forgery.times, 0);
    }
    struct forgery forgery = {TPM2_CC_PCR_Read, 2};
    const struct pcr_selection selection = lab_selection("sha256:0,7");
    struct pcr_set pcrs;
    struct error err;
    bus_set(&bus, NULL, forge, &forgery);
    assert_done(attest_host_read_pcrs(lab.host, &selection, &pcrs, &err), err);
    assert_int_equal(forgery.times, 0);
    forgery = (struct forgery){TPM2_CC_PCR_Read, 1000};
    bus_set(&bus, NULL, forge, &forgery);
    assert_int_equal(attest_host_read_pcrs(lab.host, &selection, &pcrs, &err), -1);
    assert_int_equal(err.code, ERROR_ABORTED);
    forgery = (struct forgery){TPM2_CC_Quote, 1000};
    bus_set(&bus, NULL, forge, &forgery);
    assert_int_equal(quote_code(&lab), ERROR_UNAVAILABLE);
    key_unref(key);
    close_behind(&lab, &bus);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(power_cuts_between_steps),
        cmocka_unit_test(a_cleared_tpm_has_lost_the_ak),
        cmocka_unit_test(another_tpm_has_another_ek),
        cmocka_unit_test(a_tpm_that_is_gone_comes_back),
        cmocka_unit_test(an_evicted_ek_is_made_again),
        cmocka_unit_test(a_password_of_the_endorsement_hierarchy),
        cmocka_unit_test(slots_that_others_take),
        cmocka_unit_test(a_keystore_that_signs_meanwhile),
        cmocka_unit_test(registers_that_change_meanwhile),
        cmocka_unit_test(each_command_is_lost_once),
        cmocka_unit_test(lost_answers_do_not_fill_the_tpm),
        cmocka_unit_test(forged_answers_are_not_believed),
    };
    return cmocka_run_group_tests(tests, NULL, lab_remove_ca);
}
