/* Lies about EK and AK, and about both being of one TPM. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/attest/judge_scene.h"

/* ---- EK ---- */

static void set_ek_certificate(struct scene *scene, X509 *certificate)
{
    scene_drop_chain(&scene->evidence.ek_certificates);
    scene_add_der(&scene->evidence.ek_certificates, certificate);
}

static void ek_certificate_of_b(struct scene *scene)
{
    set_ek_certificate(scene, scene->b.ek_certificate);
}

static void ek_platform_certificate(struct scene *scene)
{
    X509 *certificate = software_ek_certificate(&scene->ek_ca, scene->a.ek, "2.23.133.8.2");
    set_ek_certificate(scene, certificate);
    X509_free(certificate);
}

static void ek_by_stranger(struct scene *scene)
{
    X509 *certificate = software_ek_certificate(&scene->stranger, scene->a.ek, "2.23.133.8.1");
    set_ek_certificate(scene, certificate);
    X509_free(certificate);
}

static void ek_bare(struct scene *scene)
{
    scene_drop_chain(&scene->evidence.ek_certificates);
}

static void ek_expired(struct scene *scene)
{
    scene->request.now_s = SOFTWARE_CA_EPOCH_S + SOFTWARE_CA_LIFE_S + 1;
}

static void ek_not_yet(struct scene *scene)
{
    scene->request.now_s = SOFTWARE_CA_EPOCH_S - 1;
}

static void ek_of_b(struct scene *scene)
{
    scene_set_public(&scene->evidence.ek_public, &scene->b.ek_public);
}

/* The whole of another's EK, for which this AK is not. */
static void ek_whole_of_b(struct scene *scene)
{
    ek_of_b(scene);
    ek_certificate_of_b(scene);
}

static void change_ek(struct scene *scene, const TPMT_PUBLIC *ek)
{
    scene_set_public(&scene->evidence.ek_public, ek);
}

static void ek_attributes(struct scene *scene)
{
    TPMT_PUBLIC ek = scene->a.ek_public;
    ek.objectAttributes &= ~TPMA_OBJECT_RESTRICTED;
    change_ek(scene, &ek);
}

static void ek_policy(struct scene *scene)
{
    TPMT_PUBLIC ek = scene->a.ek_public;
    ek.authPolicy.buffer[0] ^= 1;
    change_ek(scene, &ek);
}

static void ek_is_ak(struct scene *scene)
{
    change_ek(scene, &scene->a.ak_public);
}

static void ek_none(struct scene *scene)
{
    buffer_reset(&scene->evidence.ek_public);
    scene_drop_chain(&scene->evidence.ek_certificates);
}

/* ---- AK ---- */

/* The same key with other attributes: the quote is signed well, and all is told consistently. */
static void change_ak(struct scene *scene, const TPMT_PUBLIC *ak)
{
    scene->a.ak_public = *ak;
    scene_make(scene, &scene->a, &scene->evidence);
}

static void ak_clear_attribute(struct scene *scene, TPMA_OBJECT attribute)
{
    TPMT_PUBLIC ak = scene->a.ak_public;
    ak.objectAttributes &= ~attribute;
    change_ak(scene, &ak);
}

static void ak_set_attribute(struct scene *scene, TPMA_OBJECT attribute)
{
    TPMT_PUBLIC ak = scene->a.ak_public;
    ak.objectAttributes |= attribute;
    change_ak(scene, &ak);
}

static void ak_unrestricted(struct scene *scene)
{
    ak_clear_attribute(scene, TPMA_OBJECT_RESTRICTED);
}

static void ak_not_fixed_tpm(struct scene *scene)
{
    ak_clear_attribute(scene, TPMA_OBJECT_FIXEDTPM);
}

static void ak_not_fixed_parent(struct scene *scene)
{
    ak_clear_attribute(scene, TPMA_OBJECT_FIXEDPARENT);
}

static void ak_from_outside(struct scene *scene)
{
    ak_clear_attribute(scene, TPMA_OBJECT_SENSITIVEDATAORIGIN);
}

static void ak_not_signing(struct scene *scene)
{
    ak_clear_attribute(scene, TPMA_OBJECT_SIGN_ENCRYPT);
}

static void ak_decrypting(struct scene *scene)
{
    ak_set_attribute(scene, TPMA_OBJECT_DECRYPT);
}

static void ak_duplicable(struct scene *scene)
{
    ak_set_attribute(scene, TPMA_OBJECT_ENCRYPTEDDUPLICATION);
}

static void ak_without_scheme(struct scene *scene)
{
    TPMT_PUBLIC ak = scene->a.ak_public;
    ak.parameters.eccDetail.scheme.scheme = TPM2_ALG_NULL;
    change_ak(scene, &ak);
}

static void ak_sha1(struct scene *scene)
{
    TPMT_PUBLIC ak = scene->a.ak_public;
    ak.parameters.eccDetail.scheme.details.ecdsa.hashAlg = TPM2_ALG_SHA1;
    change_ak(scene, &ak);
}

static void ak_other_hash(struct scene *scene)
{
    TPMT_PUBLIC ak = scene->a.ak_public;
    ak.parameters.eccDetail.scheme.details.ecdsa.hashAlg = TPM2_ALG_SHA384;
    change_ak(scene, &ak);
}

static void ak_is_ek(struct scene *scene)
{
    scene_set_public(&scene->evidence.ak_public, &scene->a.ek_public);
}

static void ak_none(struct scene *scene)
{
    buffer_reset(&scene->evidence.ak_public);
}

static void ak_of_b(struct scene *scene)
{
    scene_set_public(&scene->evidence.ak_public, &scene->b.ak_public);
}

/* ---- binding ---- */

static void without_challenge(struct scene *scene)
{
    scene->request.challenge_secret = (struct bytes){0};
}

static void binding_none(struct scene *scene)
{
    without_challenge(scene);
    scene_drop_chain(&scene->evidence.ak_certificates);
}

static void binding_unknown_issuer(struct scene *scene)
{
    without_challenge(scene);
    scene->request.issuers = NULL;
}

static void answer_missing(struct scene *scene)
{
    buffer_reset(&scene->evidence.activated);
    scene_drop_chain(&scene->evidence.ak_certificates);
}

static void answer_wrong(struct scene *scene)
{
    scene->evidence.activated.data[31] ^= 1;
}

static void answer_short(struct scene *scene)
{
    scene->evidence.activated.size--;
}

/* What a host learns from a challenge for one AK must not serve for another, which it made in
 * software: neither the answer nor anything else that it can tell. */
static void answer_for_another_ak(struct scene *scene)
{
    struct buffer answer = scene->evidence.activated;
    scene->evidence.activated = (struct buffer){0};
    EVP_PKEY_free(scene->a.ak);
    scene->a.ak = EVP_EC_gen("P-256");
    software_point(scene->a.ak, &scene->a.ak_public.unique.ecc);
    scene_make(scene, &scene->a, &scene->evidence);
    scene_drop_chain(&scene->evidence.ak_certificates);
    buffer_clear(&scene->evidence.activated);
    scene->evidence.activated = answer;
}

static void secret_itself_as_answer(struct scene *scene)
{
    buffer_reset(&scene->evidence.activated);
    buffer_append(&scene->evidence.activated, scene->secret, sizeof(scene->secret));
}

/* What the TPM read, as others' protocols would be told it. */
static void hidden_as_answer(struct scene *scene)
{
    uint8_t hidden[JUDGE_ANSWER_BYTES];
    struct tpm2_name name;
    assert_int_equal(public_name(&scene->a.ak_public, &name, NULL), 0);
    assert_int_equal(judge_answer((struct bytes){scene->secret, sizeof(scene->secret)},
                                  buffer_bytes(&scene->evidence.ek_public), &name, hidden, NULL),
                     0);
    buffer_reset(&scene->evidence.activated);
    buffer_append(&scene->evidence.activated, hidden, sizeof(hidden));
}

static void answer_for_another_nonce(struct scene *scene)
{
    struct buffer nonce = scene->evidence.nonce;
    uint8_t other[EVIDENCE_NONCE_MAX_BYTES] = {1};
    scene->evidence.nonce = (struct buffer){0};
    buffer_append(&scene->evidence.nonce, other, sizeof(other));
    scene_set_activated(scene, &scene->evidence);
    buffer_clear(&scene->evidence.nonce);
    scene->evidence.nonce = nonce;
}

static void set_ak_certificate(struct scene *scene, const struct software_ca *issuer, EVP_PKEY *ak,
                               const TPMT_PUBLIC *ek, const char *purpose, const char *constraints)
{
    without_challenge(scene);
    scene_set_ak_certificate(scene, &scene->evidence, issuer, ak, ek, purpose, constraints);
}

static void ak_certificate_by_stranger(struct scene *scene)
{
    set_ak_certificate(scene, &scene->stranger, scene->a.ak, &scene->a.ek_public, SCENE_AK_PURPOSE,
                       SCENE_NO_CA);
}

static void ak_certificate_of_other_key(struct scene *scene)
{
    set_ak_certificate(scene, &scene->intermediate, scene->b.ak, &scene->a.ek_public,
                       SCENE_AK_PURPOSE, SCENE_NO_CA);
}

static void ak_certificate_names_b(struct scene *scene)
{
    set_ak_certificate(scene, &scene->intermediate, scene->a.ak, &scene->b.ek_public,
                       SCENE_AK_PURPOSE, SCENE_NO_CA);
}

static void ak_certificate_not_critical(struct scene *scene)
{
    set_ak_certificate(scene, &scene->intermediate, scene->a.ak, &scene->a.ek_public,
                       JUDGE_AK_CERTIFICATE_PURPOSE, SCENE_NO_CA);
}

static void ak_certificate_of_ek_purpose(struct scene *scene)
{
    set_ak_certificate(scene, &scene->intermediate, scene->a.ak, &scene->a.ek_public,
                       "critical,2.23.133.8.1", SCENE_NO_CA);
}

static void ak_certificate_for_tls(struct scene *scene)
{
    set_ak_certificate(scene, &scene->intermediate, scene->a.ak, &scene->a.ek_public,
                       "critical,serverAuth,clientAuth", SCENE_NO_CA);
}

static void ak_certificate_two_purposes(struct scene *scene)
{
    set_ak_certificate(scene, &scene->intermediate, scene->a.ak, &scene->a.ek_public,
                       SCENE_AK_PURPOSE ",clientAuth", SCENE_NO_CA);
}

static void ak_certificate_of_ca(struct scene *scene)
{
    set_ak_certificate(scene, &scene->intermediate, scene->a.ak, &scene->a.ek_public,
                       SCENE_AK_PURPOSE, "critical,CA:TRUE");
}

/* A workload's certificate of the right key is not the issuer's word on the AK. */
static void ak_certificate_is_svid(struct scene *scene)
{
    without_challenge(scene);
    scene_drop_chain(&scene->evidence.ak_certificates);
    scene_set_key_certificate(scene, &scene->evidence, &scene->intermediate, scene->a.ak,
                              SCENE_NO_CA);
    scene->evidence.ak_certificates = scene->evidence.key_certificates;
    scene->evidence.key_certificates = (struct evidence_chain){0};
    scene_set_key_certificate(scene, &scene->evidence, &scene->intermediate, scene->a.key,
                              SCENE_NO_CA);
}

static void ak_certificate_without_intermediate(struct scene *scene)
{
    without_challenge(scene);
    buffer_clear(&scene->evidence.ak_certificates.items[1]);
    scene->evidence.ak_certificates.count = 1;
}

/* A good answer does not excuse a bad certificate. */
static void ak_certificate_bad_beside_answer(struct scene *scene)
{
    scene_set_ak_certificate(scene, &scene->evidence, &scene->stranger, scene->a.ak,
                             &scene->a.ek_public, SCENE_AK_PURPOSE, SCENE_NO_CA);
}

/* A good certificate beside other keys than its own. */
static void ak_certificate_beside_other_ak(struct scene *scene)
{
    without_challenge(scene);
    ak_of_b(scene);
}

static void ak_certificate_beside_other_ek(struct scene *scene)
{
    without_challenge(scene);
    ek_whole_of_b(scene);
}

static void ak_certificate_trailing(struct scene *scene)
{
    without_challenge(scene);
    buffer_append_u8(&scene->evidence.ak_certificates.items[0], 0);
}

static const struct lie lies[] = {
    LIE(ek_certificate_of_b, EK_GENUINE, EK_MISMATCH),
    LIE(ek_platform_certificate, EK_GENUINE, EK_UNTRUSTED),
    LIE(ek_by_stranger, EK_GENUINE, EK_UNTRUSTED),
    LIE(ek_bare, EK_GENUINE, EK_UNTRUSTED),
    LIE(ek_expired, EK_GENUINE, EK_UNTRUSTED),
    LIE(ek_not_yet, EK_GENUINE, EK_UNTRUSTED),
    LIE(ek_of_b, EK_GENUINE, EK_MISMATCH),
    LIE(ek_whole_of_b, AK_IN_TPM, ACTIVATION),
    LIE(ek_attributes, EK_GENUINE, EK_TEMPLATE),
    LIE(ek_policy, EK_GENUINE, EK_TEMPLATE),
    LIE(ek_is_ak, EK_GENUINE, EK_TEMPLATE),
    LIE(ek_none, EK_GENUINE, MISSING),
    LIE(ak_unrestricted, AK_RESTRICTED, AK_PROPERTIES),
    LIE(ak_not_fixed_tpm, AK_RESTRICTED, AK_PROPERTIES),
    LIE(ak_not_fixed_parent, AK_RESTRICTED, AK_PROPERTIES),
    LIE(ak_from_outside, AK_RESTRICTED, AK_PROPERTIES),
    LIE(ak_not_signing, AK_RESTRICTED, AK_PROPERTIES),
    LIE(ak_decrypting, AK_RESTRICTED, AK_PROPERTIES),
    LIE(ak_duplicable, AK_RESTRICTED, AK_PROPERTIES),
    LIE(ak_without_scheme, AK_RESTRICTED, AK_PROPERTIES),
    LIE(ak_sha1, AK_RESTRICTED, AK_PROPERTIES),
    LIE(ak_other_hash, QUOTE, SIGNATURE),
    LIE(ak_is_ek, AK_RESTRICTED, AK_PROPERTIES),
    LIE(ak_none, AK_RESTRICTED, MISSING),
    LIE(ak_of_b, AK_IN_TPM, ACTIVATION),
    LIE(binding_none, AK_IN_TPM, AK_UNBOUND),
    LIE(binding_unknown_issuer, AK_IN_TPM, AK_UNBOUND),
    LIE(answer_missing, AK_IN_TPM, ACTIVATION),
    LIE(answer_wrong, AK_IN_TPM, ACTIVATION),
    LIE(answer_short, AK_IN_TPM, ACTIVATION),
    LIE(answer_for_another_ak, AK_IN_TPM, ACTIVATION),
    LIE(secret_itself_as_answer, AK_IN_TPM, ACTIVATION),
    LIE(hidden_as_answer, AK_IN_TPM, ACTIVATION),
    LIE(answer_for_another_nonce, AK_IN_TPM, ACTIVATION),
    LIE(ak_certificate_by_stranger, AK_IN_TPM, AK_CERTIFICATE),
    LIE(ak_certificate_of_other_key, AK_IN_TPM, AK_CERTIFICATE),
    LIE(ak_certificate_names_b, AK_IN_TPM, AK_CERTIFICATE),
    LIE(ak_certificate_not_critical, AK_IN_TPM, AK_CERTIFICATE),
    LIE(ak_certificate_of_ek_purpose, AK_IN_TPM, AK_CERTIFICATE),
    LIE(ak_certificate_for_tls, AK_IN_TPM, AK_CERTIFICATE),
    LIE(ak_certificate_two_purposes, AK_IN_TPM, AK_CERTIFICATE),
    LIE(ak_certificate_of_ca, AK_IN_TPM, AK_CERTIFICATE),
    LIE(ak_certificate_is_svid, AK_IN_TPM, AK_CERTIFICATE),
    LIE(ak_certificate_without_intermediate, AK_IN_TPM, AK_CERTIFICATE),
    LIE(ak_certificate_bad_beside_answer, AK_IN_TPM, AK_CERTIFICATE),
    LIE(ak_certificate_beside_other_ak, AK_IN_TPM, AK_CERTIFICATE),
    LIE(ak_certificate_beside_other_ek, AK_IN_TPM, AK_CERTIFICATE),
    LIE(ak_certificate_trailing, AK_IN_TPM, AK_CERTIFICATE),
};

static void test_lies(void **state)
{
    (void)state;
    scene_check_lies(lies, ARRAY_SIZE(lies));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lies)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
