/* Evidence of two real TPMs, by the full protocol: believed when it is whole, and refused with
 * every field of the one put into the other's. */
#include "tests/unit/attest_host/host_lab.h"

#include "tests/unit/attest/judge_fields.h"

#define SELECTION "sha256:0,4,7,10"

/* A host, its verifier, and what was made between them. */
struct party {
    struct lab lab;
    struct key *key;
    struct evidence evidence;
    struct secret secret;
    struct attest_policy policy;
    struct judge_memory memory;
    char event_log_path[96], ima_path[96];
};

static void write_bytes(const char *path, const struct buffer *bytes)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes->data, 1, bytes->size, file), bytes->size);
    assert_int_equal(fclose(file), 0);
}

/* The TPM's registers as if firmware and kernel had measured what the logs say. */
static void extend_all(struct lab *lab, const struct software_boot *boot)
{
    struct event_log log;
    struct ima_list list;
    _cleanup_(buffer_clear) struct buffer script = {0};
    assert_int_equal(event_log_parse(buffer_bytes(&boot->event_log), &log, NULL), 0);
    buffer_append_text(&script, "tpm2_pcrextend");
    for (size_t i = 0; i < log.count; i++) {
        if (log.events[i].digest_count == ARRAY_SIZE(software_banks)) {
            _cleanup_(free_cleanup) char *hex = text_hex(log.events[i].digests[1].digest);
            _cleanup_(free_cleanup) char *item =
                text_format(" %u:sha256=%s", log.events[i].pcr, hex);
            buffer_append_text(&script, item);
        }
    }
    event_log_clear(&log);
    assert_int_equal(ima_parse(buffer_bytes(&boot->ima_list), &list, NULL), 0);
    for (size_t i = 0; i < list.count; i++) {
        uint8_t digest[HASH_MAX_BYTES];
        software_digest(TPM2_ALG_SHA256, list.entries[i].template_data, digest);
        _cleanup_(free_cleanup) char *hex = text_hex((struct bytes){digest, 32});
        _cleanup_(free_cleanup) char *item = text_format(" 10:sha256=%s", hex);
        buffer_append_text(&script, item);
    }
    ima_clear(&list);
    buffer_append_u8(&script, '\0');
    lab_shell(lab, (const char *)script.data);
}

static struct ek_trust *make_trust(const struct lab *lab)
{
    struct error err;
    struct ek_trust *trust = ek_trust_new();
    _cleanup_(free_cleanup) char *anchors = text_format("%s/anchors", lab->ca);
    lab_shell(lab, "mkdir -p $CA/anchors; cp $CA/*cert.pem $CA/anchors");
    assert_done(ek_trust_add_folder(trust, anchors, &err), err);
    return trust;
}

/* The steps in the order of the protocol. */
static void make_evidence(struct party *party, struct bytes nonce,
                          const struct pcr_selection *selection)
{
    struct error err;
    struct attest_host *host = party->lab.host;
    struct evidence *evidence = &party->evidence;
    _cleanup_(challenge_clear) struct challenge challenge = {0};
    _cleanup_(secret_clear) struct secret answer = {0};
    evidence_clear(evidence);
    secret_clear(&party->secret);
    assert_done(attest_host_identify(host, evidence, &err), err);
    assert_done(judge_challenge(evidence, &challenge, &party->secret, &err), err);
    assert_done(attest_host_activate(host, &challenge, &answer, &err), err);
    assert_done(challenge_answer(secret_bytes(&answer), nonce, &evidence->activated, &err), err);
    assert_done(attest_host_quote(host, nonce, selection, evidence, &err), err);
    assert_done(attest_host_certify(host, party->key, nonce, evidence, &err), err);
}

static void add_certificates(struct party *party, struct scene *scene)
{
    struct error err;
    const TPMT_PUBLIC ek = lab_public(&party->evidence.ek_public);
    const TPMT_PUBLIC ak = lab_public(&party->evidence.ak_public);
    const TPMT_PUBLIC key = lab_public(&party->evidence.key_public);
    EVP_PKEY *ak_pkey = NULL, *key_pkey = NULL;
    assert_done(public_pkey(&ak, &ak_pkey, &err), err);
    assert_done(public_pkey(&key, &key_pkey, &err), err);
    scene_set_ak_certificate(scene, &party->evidence, &scene->intermediate, ak_pkey, &ek,
                             SCENE_AK_PURPOSE, SCENE_NO_CA);
    scene_set_key_certificate(scene, &party->evidence, &scene->intermediate, key_pkey, SCENE_NO_CA);
    EVP_PKEY_free(ak_pkey);
    EVP_PKEY_free(key_pkey);
}

static void party_open(struct party *party, enum lab_ek ek, enum key_type ak_type)
{
    struct error err;
    struct software_boot boot;
    *party = (struct party){.lab.config.ak_type = ak_type};
    assert_done(secret_init(&err), err);
    software_boot_new(&boot, true);
    lab_make_tpm(&party->lab, ek);
    (void)snprintf(party->event_log_path, sizeof(party->event_log_path), "%s/event_log",
                   party->lab.swtpm.folder);
    (void)snprintf(party->ima_path, sizeof(party->ima_path), "%s/ima", party->lab.swtpm.folder);
    write_bytes(party->event_log_path, &boot.event_log);
    write_bytes(party->ima_path, &boot.ima_list);
    extend_all(&party->lab, &boot);
    software_boot_clear(&boot);
    party->lab.config.event_log_path = party->event_log_path;
    party->lab.config.ima_path = party->ima_path;
    lab_open_keystore(&party->lab);
    lab_open_host(&party->lab);
    party->key = lab_key(&party->lab, KEY_TYPE_EC_P256);
    party->policy.ek_trust = make_trust(&party->lab);
    party->policy.selection = lab_selection(SELECTION);
    text_list_add(&party->policy.facts, "secure_boot=on");
    party->policy.requires_event_log = true;
    party->policy.requires_ima = true;
    party->policy.resets = RESET_DENY;
    make_evidence(party, lab_nonce, &party->policy.selection);
    struct baseline baseline = {.name = "golden", .pcrs = party->evidence.pcrs};
    assert_done(baselines_add(&party->policy.baselines, &baseline, &err), err);
}

static void party_close(struct party *party)
{
    key_unref(party->key);
    evidence_clear(&party->evidence);
    secret_clear(&party->secret);
    attest_policy_clear(&party->policy);
    buffer_clear(&party->memory.ek_public);
    lab_close(&party->lab);
}

static struct judge_request request_of(const struct party *party, STACK_OF(X509) * issuers)
{
    return (struct judge_request){
        .evidence = &party->evidence,
        .policy = &party->policy,
        .nonce = lab_nonce,
        .challenge_secret = secret_bytes(&party->secret),
        .issuers = issuers,
        .memory = &party->memory,
        .wants_key = true,
        /* What swtpm's tools issue begins now. */
        .now_s = clock_now_s() + 60,
    };
}

static void remember(struct party *party, const struct verdict *verdict)
{
    const TPMT_PUBLIC ak = lab_public(&party->evidence.ak_public);
    party->memory.is_known = true;
    party->memory.is_same_boot = true;
    party->memory.clock = verdict->clock;
    buffer_reset(&party->memory.ek_public);
    buffer_append(&party->memory.ek_public, party->evidence.ek_public.data,
                  party->evidence.ek_public.size);
    assert_int_equal(public_name(&ak, &party->memory.ak_name, NULL), 0);
}

static void expect_reason(const struct judge_request *request, enum claim claim,
                          enum verdict_reason reason)
{
    struct verdict verdict;
    judge_evidence(request, &verdict);
    if (verdict_allows(&verdict) || verdict.claims[claim].reason != reason) {
        scene_say(&verdict, "real TPM");
        fail_msg("expected %s to fail by %s", claim_name(claim), verdict_reason_name(reason));
    }
    verdict_clear(&verdict);
}

static const struct {
    enum lab_ek ek;
    enum key_type ak_type;
} kinds[] = {
    {LAB_EK_P384, KEY_TYPE_EC_P256},
    {LAB_EK_RSA, KEY_TYPE_RSA_2048},
};

static void fields_of_two_tpms(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        struct scene scene;
        struct party a, b;
        struct verdict verdict;
        scene_new(&scene);
        party_open(&a, kinds[i].ek, kinds[i].ak_type);
        party_open(&b, kinds[i].ek, kinds[i].ak_type);
        add_certificates(&a, &scene);
        add_certificates(&b, &scene);
        struct judge_request request = request_of(&a, scene.issuers);
        judge_evidence(&request, &verdict);
        if (!verdict_allows(&verdict)) {
            scene_say(&verdict, "real TPM");
            fail_msg("the whole truth is not believed");
        }
        remember(&a, &verdict);
        verdict_clear(&verdict);
        fields_check(&request, &a.evidence, &b.evidence);
        request.evidence = &b.evidence;
        expect_reason(&request, CLAIM_AK_IN_TPM, VERDICT_ACTIVATION);
        expect_reason(&request, CLAIM_COUNTERS, VERDICT_TPM_REPLACED);
        party_close(&a);
        party_close(&b);
        scene_clear(&scene);
    }
}

/* The bank sha1 is off in these TPMs, and they quote it without a word. */
static void banks_that_are_not_active(void **state)
{
    (void)state;
    struct party party;
    struct error err;
    party_open(&party, LAB_EK_P384, KEY_TYPE_EC_P256);
    party.policy.selection = lab_selection("sha256:7+sha1:7");
    const struct judge_request request = request_of(&party, NULL);
    if (attest_host_quote(party.lab.host, lab_nonce, &party.policy.selection, &party.evidence,
                          &err) == 0) {
        expect_reason(&request, CLAIM_PCR_VALUES, VERDICT_PCR_BANK);
    } else {
        assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
    }
    party_close(&party);
}

/* Reset by itself, and put into a state that looks the same. */
static void a_reset_behind_the_host(void **state)
{
    (void)state;
    struct party party;
    struct verdict verdict;
    struct software_boot boot;
    party_open(&party, LAB_EK_P384, KEY_TYPE_EC_P256);
    const struct judge_request request = request_of(&party, NULL);
    judge_evidence(&request, &verdict);
    assert_true(verdict.claims[CLAIM_QUOTE].result == CLAIM_PROVEN);
    remember(&party, &verdict);
    verdict_clear(&verdict);
    lab_shell(&party.lab, "swtpm_ioctl --unix sock.ctrl -i; tpm2_startup -c");
    software_boot_new(&boot, true);
    extend_all(&party.lab, &boot);
    software_boot_clear(&boot);
    make_evidence(&party, lab_nonce, &party.policy.selection);
    struct judge_request again = request_of(&party, NULL);
    expect_reason(&again, CLAIM_COUNTERS, VERDICT_TPM_RESET);
    party.memory.is_same_boot = false;
    again.wants_key = false;
    judge_evidence(&again, &verdict);
    if (!verdict_allows(&verdict)) {
        scene_say(&verdict, "after a reboot");
        fail_msg("a reboot is not believed");
    }
    verdict_clear(&verdict);
    party_close(&party);
}

/* A register that somebody extends after the boot. */
static void a_changed_register(void **state)
{
    (void)state;
    struct party party;
    party_open(&party, LAB_EK_P384, KEY_TYPE_EC_P256);
    lab_shell(&party.lab, "tpm2_pcrextend 4:sha256=$(printf 11%.0s $(seq 32))");
    make_evidence(&party, lab_nonce, &party.policy.selection);
    const struct judge_request request = request_of(&party, NULL);
    expect_reason(&request, CLAIM_PCR_ACCEPTED, VERDICT_PCR_CHANGED);
    expect_reason(&request, CLAIM_EVENT_LOG, VERDICT_EVENT_LOG_REPLAY);
    party_close(&party);
}

/* swtpm's platform certificate is of the EK's key, by the same CA. */
static void the_platform_certificate(void **state)
{
    (void)state;
    struct party party;
    struct error err;
    _cleanup_(buffer_clear) struct buffer der = {0};
    char path[96];
    party_open(&party, LAB_EK_RSA, KEY_TYPE_EC_P256);
    lab_shell(&party.lab, "tpm2_nvread 0x1c08000 -o platform");
    (void)snprintf(path, sizeof(path), "%s/platform", party.lab.swtpm.folder);
    assert_done(buffer_read_file(path, 1 << 14, &der, &err), err);
    buffer_clear(&party.evidence.ek_certificates.items[0]);
    buffer_append(&party.evidence.ek_certificates.items[0], der.data, der.size);
    const struct judge_request request = request_of(&party, NULL);
    expect_reason(&request, CLAIM_EK_GENUINE, VERDICT_EK_UNTRUSTED);
    party_close(&party);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_of_two_tpms),       cmocka_unit_test(banks_that_are_not_active),
        cmocka_unit_test(a_reset_behind_the_host),  cmocka_unit_test(a_changed_register),
        cmocka_unit_test(the_platform_certificate),
    };
    return cmocka_run_group_tests(tests, NULL, lab_remove_ca);
}
