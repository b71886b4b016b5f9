/* Lies about the key that the evidence is about. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/attest/judge_scene.h"

static void change_key(struct scene *scene, const TPMT_PUBLIC *key)
{
    scene->a.key_public = *key;
    scene_set_key(scene, &scene->a, &scene->evidence);
}

static void key_change_attributes(struct scene *scene, TPMA_OBJECT clear, TPMA_OBJECT set)
{
    TPMT_PUBLIC key = scene->a.key_public;
    key.objectAttributes &= ~clear;
    key.objectAttributes |= set;
    change_key(scene, &key);
}

static void key_exportable(struct scene *scene)
{
    key_change_attributes(scene, TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT, 0);
}

static void key_movable(struct scene *scene)
{
    key_change_attributes(scene, TPMA_OBJECT_FIXEDPARENT, 0);
}

static void key_imported(struct scene *scene)
{
    key_change_attributes(scene, TPMA_OBJECT_SENSITIVEDATAORIGIN, 0);
}

static void key_decrypting(struct scene *scene)
{
    key_change_attributes(scene, 0, TPMA_OBJECT_DECRYPT);
}

static void key_not_signing(struct scene *scene)
{
    key_change_attributes(scene, TPMA_OBJECT_SIGN_ENCRYPT, 0);
}

/* Attributes told are not those certified. */
static void key_attributes_untold(struct scene *scene)
{
    TPMT_PUBLIC key = scene->a.key_public;
    key.objectAttributes &= ~TPMA_OBJECT_FIXEDTPM;
    TPMS_ATTEST attest = software_certify(&scene->a, &key, scene_nonce(scene));
    software_sign(scene->a.ak, &attest, &scene->evidence.key);
}

static void key_of_b(struct scene *scene)
{
    scene_set_public(&scene->evidence.key_public, &scene->b.key_public);
}

static void key_certified_by_b(struct scene *scene)
{
    scene_set_key(scene, &scene->b, &scene->evidence);
}

static void key_certified_by_itself(struct scene *scene)
{
    TPMS_ATTEST attest = software_certify(&scene->a, &scene->a.key_public, scene_nonce(scene));
    software_sign(scene->a.key, &attest, &scene->evidence.key);
}

static void key_is_quote(struct scene *scene)
{
    TPMS_ATTEST attest = software_quote(&scene->a, &scene->selection, scene_nonce(scene));
    software_sign(scene->a.ak, &attest, &scene->evidence.key);
}

/* A key that was created here says when, not that it still is. */
static void key_is_creation(struct scene *scene)
{
    TPMS_ATTEST attest = software_attest(&scene->a, TPM2_ST_ATTEST_CREATION, scene_nonce(scene));
    software_sign(scene->a.ak, &attest, &scene->evidence.key);
}

static void key_nonce(struct scene *scene)
{
    TPMS_ATTEST attest =
        software_certify(&scene->a, &scene->a.key_public, (struct bytes){scene->other_nonce, 32});
    software_sign(scene->a.ak, &attest, &scene->evidence.key);
}

static void key_magic(struct scene *scene)
{
    TPMS_ATTEST attest = software_certify(&scene->a, &scene->a.key_public, scene_nonce(scene));
    attest.magic = 0;
    software_sign(scene->a.ak, &attest, &scene->evidence.key);
}

static void key_after_reset(struct scene *scene)
{
    scene->a.clock.resetCount++;
    scene_set_key(scene, &scene->a, &scene->evidence);
}

static void key_name_empty(struct scene *scene)
{
    TPMS_ATTEST attest = software_certify(&scene->a, &scene->a.key_public, scene_nonce(scene));
    attest.attested.certify.name.size = 0;
    software_sign(scene->a.ak, &attest, &scene->evidence.key);
}

static void key_none(struct scene *scene)
{
    buffer_reset(&scene->evidence.key_public);
}

static void key_all_none(struct scene *scene)
{
    key_none(scene);
    scene_drop_chain(&scene->evidence.key_certificates);
}

/* Another key of the TPM, truly certified, beside the certificate of this one. */
static void key_certificate_beside_other_key(struct scene *scene)
{
    change_key(scene, &scene->b.key_public);
}

static void key_certificate_none(struct scene *scene)
{
    scene_drop_chain(&scene->evidence.key_certificates);
}

static void key_certificate_of_b(struct scene *scene)
{
    scene_set_key_certificate(scene, &scene->evidence, &scene->intermediate, scene->b.key,
                              SCENE_NO_CA);
}

static void key_certificate_by_stranger(struct scene *scene)
{
    scene_set_key_certificate(scene, &scene->evidence, &scene->stranger, scene->a.key, SCENE_NO_CA);
}

static void key_certificate_of_ca(struct scene *scene)
{
    scene_set_key_certificate(scene, &scene->evidence, &scene->intermediate, scene->a.key,
                              "critical,CA:TRUE");
}

static void key_certificate_without_intermediate(struct scene *scene)
{
    buffer_clear(&scene->evidence.key_certificates.items[1]);
    scene->evidence.key_certificates.count = 1;
}

static const struct lie lies[] = {
    LIE(key_exportable, KEY_PROPERTIES, KEY_PROPERTIES),
    LIE(key_movable, KEY_PROPERTIES, KEY_PROPERTIES),
    LIE(key_imported, KEY_PROPERTIES, KEY_PROPERTIES),
    LIE(key_decrypting, KEY_PROPERTIES, KEY_PROPERTIES),
    LIE(key_not_signing, KEY_PROPERTIES, KEY_PROPERTIES),
    LIE(key_attributes_untold, KEY_IN_TPM, KEY_MISMATCH),
    LIE(key_of_b, KEY_IN_TPM, KEY_MISMATCH),
    LIE(key_certified_by_b, KEY_IN_TPM, SIGNATURE),
    LIE(key_certified_by_itself, KEY_IN_TPM, SIGNATURE),
    LIE(key_is_quote, KEY_IN_TPM, WRONG_TYPE),
    LIE(key_is_creation, KEY_IN_TPM, WRONG_TYPE),
    LIE(key_nonce, KEY_IN_TPM, NONCE),
    LIE(key_magic, KEY_IN_TPM, NOT_BY_TPM),
    LIE(key_after_reset, KEY_IN_TPM, TPM_RESET),
    LIE(key_name_empty, KEY_IN_TPM, KEY_MISMATCH),
    LIE(key_none, KEY_IN_TPM, MISSING),
    LIE(key_all_none, KEY_IN_TPM, MISSING),
    LIE(key_certificate_beside_other_key, KEY_CERTIFICATE, KEY_CERTIFICATE),
    LIE(key_certificate_none, KEY_CERTIFICATE, MISSING),
    LIE(key_certificate_of_b, KEY_CERTIFICATE, KEY_CERTIFICATE),
    LIE(key_certificate_by_stranger, KEY_CERTIFICATE, KEY_CERTIFICATE),
    LIE(key_certificate_of_ca, KEY_CERTIFICATE, KEY_CERTIFICATE),
    LIE(key_certificate_without_intermediate, KEY_CERTIFICATE, KEY_CERTIFICATE),
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
