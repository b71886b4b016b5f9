/* Evidence and challenges as JSON: there and back, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/attest/judge_scene.h"

static void test_there_and_back(void **state)
{
    (void)state;
    struct scene scene;
    struct buffer json = {0}, again = {0};
    struct evidence evidence = {0};
    struct error err = {0};
    scene_new(&scene);
    evidence_format(&scene.evidence, &json);
    if (evidence_parse(buffer_bytes(&json), &evidence, &err) < 0) {
        fail_msg("%s", err.text);
    }
    evidence_format(&evidence, &again);
    assert_true(bytes_is_equal(buffer_bytes(&json), buffer_bytes(&again)));
    assert_int_equal(json.data[json.size - 1], '\n');
    assert_int_equal(evidence.made_at_s, SCENE_NOW_S);
    struct verdict verdict;
    scene.request.evidence = &evidence;
    judge_evidence(&scene.request, &verdict);
    assert_true(verdict_allows(&verdict));
    verdict_clear(&verdict);
    evidence_clear(&evidence);
    buffer_clear(&json);
    buffer_clear(&again);
    scene_clear(&scene);
}

/* No prefix of it is evidence, and none makes the reader go on behind its end. */
static void test_cut(void **state)
{
    (void)state;
    struct scene scene;
    struct buffer json = {0};
    scene_new(&scene);
    evidence_format(&scene.evidence, &json);
    for (size_t size = 0; size < json.size - 2; size++) {
        struct evidence evidence = {0};
        struct error err = {0};
        uint8_t *copy = memory_new(size + 1);
        memcpy(copy, json.data, size);
        assert_int_equal(evidence_parse((struct bytes){copy, size}, &evidence, &err), -1);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        assert_int_equal(evidence.nonce.size, 0);
        free(copy);
    }
    buffer_clear(&json);
    scene_clear(&scene);
}

#define NONCE "\"nonce\":\"AAAAAAAAAAA=\""
static const struct {
    const char *json, *says;
} texts[] = {
    {"{\"version\":1," NONCE "}", NULL},
    {" {\t\"version\" : 1 ,\n" NONCE "\r} ", NULL},
    {"{\"version\":1," NONCE ",\"pcrs\":[]}", NULL},
    {"{\"version\":1," NONCE ",\"made_at\":0}", NULL},
    {"", "expected '{'"},
    {"null", "expected '{'"},
    {"[]", "expected '{'"},
    {"{}", "\"version\": it is missing"},
    {"{\"version\":1}", "\"nonce\": it is missing"},
    {"{\"version\":2," NONCE "}", "only 1 is understood"},
    {"{\"version\":01," NONCE "}", "whole number"},
    {"{\"version\":1.0," NONCE "}", "expected ','"},
    {"{\"version\":-1," NONCE "}", "whole number"},
    {"{\"version\":\"1\"," NONCE "}", "whole number"},
    {"{\"version\":11111111111111111111," NONCE "}", "whole number"},
    {"{\"version\":1," NONCE ",\"made_at\":1e3}", "expected ','"},
    {"{\"version\":1," NONCE "}x", "behind its end"},
    {"{\"version\":1," NONCE "}{}", "behind its end"},
    {"{\"version\":1," NONCE ",}", "expected '\"'"},
    {"{,\"version\":1," NONCE "}", "expected '\"'"},
    {"{\"version\":1 " NONCE "}", "expected ','"},
    {"{\"version\":1," NONCE ",\"more\":1}", "\"more\", which is not known"},
    {"{\"version\":1," NONCE ",\"ver\\u0073ion\":1}", "which is not known"},
    {"{\"version\":1," NONCE ",\"\":1}", "\"\", which is not known"},
    {"{\"version\":1," NONCE "," NONCE "}", "it is there twice"},
    {"{\"version\":1,\"version\":1," NONCE "}", "it is there twice"},
    {"{\"version\":1,\"nonce\":\"\"}", "8 to 32 are allowed"},
    {"{\"version\":1,\"nonce\":\"AAAAAAAAAA==\"}", "8 to 32 are allowed"},
    {"{\"version\":1,\"nonce\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}",
     "8 to 32 are allowed"},
    {"{\"version\":1,\"nonce\":\"AAAAAAAAAAA\"}", "not base64"},
    {"{\"version\":1,\"nonce\":\"AAAAAAAAAAB=\"}", "not base64"},
    {"{\"version\":1,\"nonce\":\"AAAAAAAAA=A=\"}", "not base64"},
    {"{\"version\":1,\"nonce\":\"AAAA AAAAAA=\"}", "not base64"},
    {"{\"version\":1,\"nonce\":\"AAAA\\u0041AA=\"}", "not base64"},
    {"{\"version\":1,\"nonce\":\"AAAA-AAAAAA=\"}", "not base64"},
    {"{\"version\":1,\"nonce\":\"AAAAAAAAAAA=}", "does not end"},
    {"{\"version\":1,\"nonce\":null}", "expected '\"'"},
    {"{\"version\":1," NONCE ",\"ek\":{}}", "\"public\": it is missing"},
    {"{\"version\":1," NONCE ",\"ek\":[]}", "expected '{'"},
    {"{\"version\":1," NONCE ",\"ek\":{\"public\":\"\"}}", "1 to 1024"},
    {"{\"version\":1," NONCE ",\"ek\":{\"public\":\"AA==\",\"public\":\"AA==\"}}", "twice"},
    {"{\"version\":1," NONCE ",\"ek\":{\"public\":\"AA==\",\"certificates\":\"AA==\"}}",
     "expected '['"},
    {"{\"version\":1," NONCE ",\"ek\":{\"public\":\"AA==\",\"certificates\":[1]}}",
     "expected '\"'"},
    {"{\"version\":1," NONCE ",\"ek\":{\"public\":\"AA==\",\"certificates\":[\"AA==\",]}}",
     "expected '\"'"},
    {"{\"version\":1," NONCE ",\"ek\":{\"public\":\"AA==\",\"certificates\":[\"AA==\",\"AA==\","
     "\"AA==\",\"AA==\",\"AA==\",\"AA==\",\"AA==\",\"AA==\",\"AA==\"]}}",
     "more certificates"},
    {"{\"version\":1," NONCE ",\"quote\":{\"attested\":\"AA==\"}}", "\"signature\": it is missing"},
    {"{\"version\":1," NONCE ",\"key\":{\"public\":\"AA==\"}}", "\"attested\": it is missing"},
    {"{\"version\":1," NONCE ",\"pcrs\":[\"sha256:7\"]}", "sha256:7"},
    {"{\"version\":1," NONCE ",\"pcrs\":[\"sha1:7=00\"]}", "1 bytes"},
    {"{\"version\":1," NONCE ",\"pcrs\":[\"sha1:7=0000000000000000000000000000000000000000\","
     "\"sha1:7=0000000000000000000000000000000000000000\"]}",
     "twice"},
};

static void test_texts(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct evidence evidence = {0};
        struct error err = {0};
        int result = evidence_parse(bytes_of_text(texts[i].json), &evidence, &err);
        if (result != (texts[i].says ? -1 : 0) ||
            (texts[i].says &&
             (err.code != ERROR_INVALID_ARGUMENT || !strstr(err.text, texts[i].says)))) {
            fail_msg("%s: %s", texts[i].json, result < 0 ? err.text : "taken");
        }
        evidence_clear(&evidence);
    }
}

static void test_empty_parts_are_left_out(void **state)
{
    (void)state;
    struct evidence evidence = {0}, again = {0};
    struct buffer json = {0};
    buffer_append(&evidence.nonce, "12345678", 8);
    evidence.pcrs.count = 1;
    evidence.pcrs.banks[0].bank = TPM2_ALG_SHA256;
    evidence_format(&evidence, &json);
    assert_int_equal(evidence_parse(buffer_bytes(&json), &again, NULL), 0);
    assert_int_equal(again.ek_public.size, 0);
    evidence_clear(&again);
    evidence_clear(&evidence);
    buffer_clear(&json);
}

/* Every length of what base64 pads differently. */
static void test_base64(void **state)
{
    (void)state;
    for (size_t size = EVIDENCE_NONCE_MIN_BYTES; size <= EVIDENCE_NONCE_MAX_BYTES; size++) {
        struct evidence evidence = {0}, again = {0};
        struct buffer json = {0};
        for (size_t i = 0; i < size; i++) {
            buffer_append_u8(&evidence.nonce, (uint8_t)(i * 37 + size * 101));
        }
        evidence_format(&evidence, &json);
        assert_int_equal(evidence_parse(buffer_bytes(&json), &again, NULL), 0);
        assert_true(bytes_is_equal(buffer_bytes(&evidence.nonce), buffer_bytes(&again.nonce)));
        evidence_clear(&again);
        evidence_clear(&evidence);
        buffer_clear(&json);
    }
}

static void test_challenge(void **state)
{
    (void)state;
    struct scene scene;
    struct challenge challenge = {0}, again = {0};
    struct secret secret = {0};
    struct buffer json = {0};
    struct error err = {0};
    struct tpm2_name name;
    scene_new(&scene);
    assert_int_equal(secret_init(&err), 0);
    if (judge_challenge(&scene.evidence, &challenge, &secret, &err) < 0) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(secret.size, 32);
    assert_int_equal(public_name(&scene.a.ak_public, &name, NULL), 0);
    assert_true(bytes_is_equal(buffer_bytes(&challenge.ak_name), tpm2_name_bytes(&name)));
    challenge_format(&challenge, &json);
    assert_int_equal(challenge_parse(buffer_bytes(&json), &again, &err), 0);
    assert_true(bytes_is_equal(buffer_bytes(&challenge.id_object), buffer_bytes(&again.id_object)));
    assert_true(bytes_is_equal(buffer_bytes(&challenge.encrypted_secret),
                               buffer_bytes(&again.encrypted_secret)));
    challenge_clear(&again);
    for (size_t size = 0; size < json.size - 2; size++) {
        assert_int_equal(challenge_parse((struct bytes){json.data, size}, &again, &err), -1);
    }
    buffer_reset(&scene.evidence.ak_public);
    assert_int_equal(judge_challenge(&scene.evidence, &again, &secret, &err), -1);
    assert_non_null(strstr(err.text, "AK"));
    buffer_reset(&scene.evidence.ek_public);
    assert_int_equal(judge_challenge(&scene.evidence, &again, &secret, &err), -1);
    assert_non_null(strstr(err.text, "EK"));
    secret_clear(&secret);
    challenge_clear(&challenge);
    buffer_clear(&json);
    scene_clear(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back), cmocka_unit_test(test_cut),
        cmocka_unit_test(test_texts),          cmocka_unit_test(test_empty_parts_are_left_out),
        cmocka_unit_test(test_base64),         cmocka_unit_test(test_challenge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
