/* Everything around one judgement, whole and true at first: two TPMs of one manufacturer, a policy
 * that asks for all that there is, and evidence of the first TPM. */
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/attest/software_tpm.h"

enum { SCENE_RESET = 7 };
#define SCENE_NOW_S (SOFTWARE_CA_EPOCH_S + 3600)
#define SCENE_SELECTION "sha256:0,4,7,10+sha1:0,7"

struct scene {
    struct software_ca ek_ca, issuer, intermediate, stranger;
    struct software_tpm a, b;
    struct attest_policy policy;
    struct pcr_selection selection;
    struct judge_memory memory;
    STACK_OF(X509) * issuers;
    uint8_t nonce[32], other_nonce[32];
    uint8_t secret[32];
    struct evidence evidence;
    struct judge_request request;
};

#define SCENE_AK_PURPOSE "critical," JUDGE_AK_CERTIFICATE_PURPOSE
#define SCENE_NO_CA "critical,CA:FALSE"

static inline struct bytes scene_nonce(const struct scene *scene)
{
    return (struct bytes){scene->nonce, sizeof(scene->nonce)};
}

static inline void scene_add_der(struct evidence_chain *chain, X509 *certificate)
{
    software_append_der(certificate, &chain->items[chain->count++]);
}

static inline void scene_drop_chain(struct evidence_chain *chain)
{
    for (size_t i = 0; i < chain->count; i++) {
        buffer_clear(&chain->items[i]);
    }
    chain->count = 0;
}

static inline X509 *scene_ak_certificate(const struct software_ca *issuer, EVP_PKEY *ak,
                                         const TPMT_PUBLIC *ek, const char *purpose,
                                         const char *constraints)
{
    char fingerprint[80];
    (void)judge_ek_fingerprint(ek, fingerprint, NULL);
    const struct software_extension extensions[] = {
        {NID_basic_constraints, constraints},
        {NID_ext_key_usage, purpose},
        {NID_key_usage, "critical,digitalSignature"},
    };
    const struct software_leaf leaf = {NULL, fingerprint, extensions, ARRAY_SIZE(extensions)};
    return software_certificate(&leaf, ak, issuer, issuer->pkey);
}

static inline void scene_set_ak_certificate(struct scene *scene, struct evidence *evidence,
                                            const struct software_ca *issuer, EVP_PKEY *ak,
                                            const TPMT_PUBLIC *ek, const char *purpose,
                                            const char *constraints)
{
    X509 *certificate = scene_ak_certificate(issuer, ak, ek, purpose, constraints);
    scene_drop_chain(&evidence->ak_certificates);
    scene_add_der(&evidence->ak_certificates, certificate);
    scene_add_der(&evidence->ak_certificates, scene->intermediate.certificate);
    X509_free(certificate);
}

static inline void scene_set_key_certificate(struct scene *scene, struct evidence *evidence,
                                             const struct software_ca *issuer, EVP_PKEY *key,
                                             const char *constraints)
{
    const struct software_extension extensions[] = {
        {NID_basic_constraints, constraints},
        {NID_key_usage, "critical,digitalSignature"},
        {NID_ext_key_usage, "serverAuth,clientAuth"},
        {NID_subject_alt_name, "URI:spiffe://example.org/web"},
    };
    const struct software_leaf leaf = {"web", NULL, extensions, ARRAY_SIZE(extensions)};
    X509 *certificate = software_certificate(&leaf, key, issuer, issuer->pkey);
    scene_drop_chain(&evidence->key_certificates);
    scene_add_der(&evidence->key_certificates, certificate);
    scene_add_der(&evidence->key_certificates, scene->intermediate.certificate);
    X509_free(certificate);
}

static inline void scene_set_public(struct buffer *field, const TPMT_PUBLIC *public)
{
    buffer_reset(field);
    public_encode(public, field);
}

/* The answer that the TPM would read out of the challenge. */
static inline void scene_set_activated(const struct scene *scene, struct evidence *evidence)
{
    uint8_t answer[JUDGE_ANSWER_BYTES];
    struct tpm2_name name;
    TPMT_PUBLIC ak;
    buffer_reset(&evidence->activated);
    if (public_parse(buffer_bytes(&evidence->ak_public), &ak, NULL) == 0 &&
        public_name(&ak, &name, NULL) == 0 &&
        judge_answer((struct bytes){scene->secret, sizeof(scene->secret)},
                     buffer_bytes(&evidence->ek_public), &name, answer, NULL) == 0) {
        struct bytes hidden = {answer, sizeof(answer)};
        (void)challenge_answer(hidden, buffer_bytes(&evidence->nonce), &evidence->activated, NULL);
    }
}

static inline void scene_set_quote(struct scene *scene, const struct software_tpm *tpm,
                                   struct evidence *evidence)
{
    TPMS_ATTEST quote = software_quote(tpm, &scene->selection, scene_nonce(scene));
    software_sign(tpm->ak, &quote, &evidence->quote);
    software_pcrs(tpm, &scene->selection, &evidence->pcrs);
}

static inline void scene_set_key(struct scene *scene, const struct software_tpm *tpm,
                                 struct evidence *evidence)
{
    TPMS_ATTEST certify = software_certify(tpm, &tpm->key_public, scene_nonce(scene));
    scene_set_public(&evidence->key_public, &tpm->key_public);
    software_sign(tpm->ak, &certify, &evidence->key);
}

static inline void scene_set_logs(const struct software_tpm *tpm, struct evidence *evidence)
{
    buffer_reset(&evidence->event_log);
    buffer_reset(&evidence->ima_list);
    buffer_append(&evidence->event_log, tpm->boot.event_log.data, tpm->boot.event_log.size);
    buffer_append(&evidence->ima_list, tpm->boot.ima_list.data, tpm->boot.ima_list.size);
}

static inline void scene_make(struct scene *scene, const struct software_tpm *tpm,
                              struct evidence *evidence)
{
    evidence_clear(evidence);
    buffer_append(&evidence->nonce, scene->nonce, sizeof(scene->nonce));
    evidence->made_at_s = SCENE_NOW_S;
    scene_set_public(&evidence->ek_public, &tpm->ek_public);
    scene_add_der(&evidence->ek_certificates, tpm->ek_certificate);
    scene_set_public(&evidence->ak_public, &tpm->ak_public);
    scene_set_ak_certificate(scene, evidence, &scene->intermediate, tpm->ak, &tpm->ek_public,
                             SCENE_AK_PURPOSE, SCENE_NO_CA);
    scene_set_activated(scene, evidence);
    scene_set_quote(scene, tpm, evidence);
    scene_set_logs(tpm, evidence);
    scene_set_key(scene, tpm, evidence);
    scene_set_key_certificate(scene, evidence, &scene->intermediate, tpm->key, SCENE_NO_CA);
}

static inline struct baseline scene_baseline(const char *name, const struct software_tpm *tpm)
{
    struct baseline baseline = {0};
    struct pcr_selection selection;
    (void)pcr_selection_parse("sha256:0,4,7+sha1:0", &selection, NULL);
    (void)snprintf(baseline.name, sizeof(baseline.name), "%s", name);
    software_pcrs(tpm, &selection, &baseline.pcrs);
    return baseline;
}

static inline void scene_set_trust(struct scene *scene)
{
    char folder[] = "/tmp/signet-judge-XXXXXX";
    char path[64];
    struct error err = {0};
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/ca.der", folder);
    struct buffer der = {0};
    software_append_der(scene->ek_ca.certificate, &der);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_int_equal(fwrite(der.data, 1, der.size, file), der.size);
    assert_int_equal(fclose(file), 0);
    scene->policy.ek_trust = ek_trust_new();
    int result = ek_trust_add_folder(scene->policy.ek_trust, folder, &err);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
    buffer_clear(&der);
    if (result < 0) {
        fail_msg("%s", err.text);
    }
}

static inline void scene_set_memory(struct scene *scene, const struct software_tpm *tpm)
{
    scene->memory.is_known = true;
    scene->memory.is_same_boot = true;
    scene->memory.clock = tpm->clock;
    scene->memory.clock.clock -= 1000;
    scene_set_public(&scene->memory.ek_public, &tpm->ek_public);
    (void)public_name(&tpm->ak_public, &scene->memory.ak_name, NULL);
}

static inline void scene_new(struct scene *scene)
{
    *scene = (struct scene){
        .ek_ca = software_ca_new("EK CA", NULL),
        .issuer = software_ca_new("issuer", NULL),
        .stranger = software_ca_new("issuer", NULL),
    };
    scene->intermediate = software_ca_new("intermediate", &scene->issuer);
    memset(scene->nonce, 0x5a, sizeof(scene->nonce));
    memset(scene->other_nonce, 0xa5, sizeof(scene->other_nonce));
    memset(scene->secret, 0x77, sizeof(scene->secret));
    software_tpm_new(&scene->a, &scene->ek_ca);
    software_tpm_new(&scene->b, &scene->ek_ca);
    scene_set_trust(scene);
    assert_int_equal(pcr_selection_parse(SCENE_SELECTION, &scene->selection, NULL), 0);
    scene->policy.selection = scene->selection;
    struct baseline baseline = scene_baseline("golden", &scene->a);
    assert_int_equal(baselines_add(&scene->policy.baselines, &baseline, NULL), 0);
    text_list_add(&scene->policy.facts, "secure_boot=on");
    scene->policy.requires_event_log = true;
    scene->policy.requires_ima = true;
    scene->policy.resets = RESET_DENY;
    scene->issuers = sk_X509_new_null();
    (void)sk_X509_push(scene->issuers, scene->issuer.certificate);
    scene_set_memory(scene, &scene->a);
    scene->request = (struct judge_request){
        .evidence = &scene->evidence,
        .policy = &scene->policy,
        .nonce = scene_nonce(scene),
        .challenge_secret = {scene->secret, sizeof(scene->secret)},
        .issuers = scene->issuers,
        .memory = &scene->memory,
        .wants_key = true,
        .now_s = SCENE_NOW_S,
    };
    scene_make(scene, &scene->a, &scene->evidence);
}

static inline void scene_clear(struct scene *scene)
{
    evidence_clear(&scene->evidence);
    attest_policy_clear(&scene->policy);
    buffer_clear(&scene->memory.ek_public);
    sk_X509_free(scene->issuers);
    software_tpm_clear(&scene->a);
    software_tpm_clear(&scene->b);
    software_ca_clear(&scene->ek_ca);
    software_ca_clear(&scene->issuer);
    software_ca_clear(&scene->intermediate);
    software_ca_clear(&scene->stranger);
}

/* One way to lie, and what it has to be refused for. */
struct lie {
    const char *name;
    void (*apply)(struct scene *scene);
    enum claim claim;
    enum verdict_reason reason;
};
#define LIE(apply, claim, reason)                                                                  \
    {                                                                                              \
#apply, apply, CLAIM_##claim, VERDICT_##reason                                             \
    }

static inline void scene_say(const struct verdict *verdict, const char *name)
{
    for (unsigned i = 0; i < CLAIM_COUNT; i++) {
        const struct finding *finding = &verdict->claims[i];
        print_error("%s: %s %s %s: %s\n", name, claim_name((enum claim)i),
                    claim_result_name(finding->result), verdict_reason_name(finding->reason),
                    finding->text);
    }
}

static inline void scene_check_lie(const struct lie *lie, struct judge_cache *cache)
{
    struct scene scene;
    struct verdict verdict;
    scene_new(&scene);
    scene.request.cache = cache;
    if (cache) {
        /* What was found good before must not help. */
        judge_evidence(&scene.request, &verdict);
        assert_true(verdict_allows(&verdict));
        verdict_clear(&verdict);
    }
    lie->apply(&scene);
    judge_evidence(&scene.request, &verdict);
    const struct finding *finding = &verdict.claims[lie->claim];
    const struct finding *first = verdict_first_flaw(&verdict, NULL);
    if (!first || first->text[0] == '\0' || verdict_allows(&verdict) ||
        finding->result == CLAIM_PROVEN || finding->reason != lie->reason ||
        finding->text[0] == '\0') {
        scene_say(&verdict, lie->name);
        fail_msg("%s: expected %s to fail by %s", lie->name, claim_name(lie->claim),
                 verdict_reason_name(lie->reason));
    }
    verdict_clear(&verdict);
    scene_clear(&scene);
}

static inline void scene_check_lies(const struct lie *lies, size_t count)
{
    struct judge_cache *cache = judge_cache_new();
    for (size_t i = 0; i < count; i++) {
        scene_check_lie(&lies[i], NULL);
        scene_check_lie(&lies[i], cache);
    }
    judge_cache_free(cache);
}
