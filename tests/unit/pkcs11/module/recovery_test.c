/* A token that is lost and comes back, with the module in this process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>

#include "tests/unit/pkcs11/module/fixture.h"

static const uint8_t id[16] = {42};

/* A keystore with one key that lasts and one that does not. */
struct scene {
    struct module_config config;
    void *state;
    struct driver_key *lasting, *ephemeral;
};

static void scene_open(struct scene *scene, const char *module)
{
    scene->config = fixture_config();
    scene->config.module = module;
    scene->state = fixture_open(&scene->config);
    scene->lasting = fixture_generate(scene->state, KEY_TYPE_EC_P256, id);
    scene->ephemeral = fixture_generate(scene->state, KEY_TYPE_EC_P256, NULL);
}

static void scene_close(struct scene *scene)
{
    struct error err = {0};
    keystore_driver_module.key_close(scene->state, scene->lasting);
    keystore_driver_module.key_close(scene->state, scene->ephemeral);
    assert_int_equal(keystore_driver_module.destroy_id(scene->state, id, &err), 0);
    keystore_driver_module.close(scene->state);
}

static void probe_well(struct scene *scene)
{
    struct error err = {0};
    if (keystore_driver_module.probe(scene->state, &err) < 0) {
        fail_msg("%s", err.text);
    }
}

static void assert_ephemeral_is_lost(struct scene *scene)
{
    struct error err = {0};
    assert_true(scene->ephemeral->is_lost);
    assert_int_equal(fixture_sign(scene->state, scene->ephemeral, &err), -1);
    assert_int_equal(err.code, ERROR_DATA_LOSS);
}

/* What an operator's other tool, or the module itself, may do to us. */
static void close_all_sessions(void)
{
    CK_SLOT_ID slots[16];
    CK_ULONG count = ARRAY_SIZE(slots);
    CK_FUNCTION_LIST *functions = p11_kit_module_load(SOFTHSM, P11_KIT_MODULE_UNMANAGED);
    assert_non_null(functions);
    assert_int_equal(functions->C_GetSlotList(CK_TRUE, slots, &count), CKR_OK);
    for (CK_ULONG i = 0; i < count; i++) {
        (void)functions->C_CloseAllSessions(slots[i]);
    }
    p11_kit_module_release(functions);
}

static void test_closed_sessions(void **unused)
{
    (void)unused;
    struct scene scene;
    scene_open(&scene, SOFTHSM);
    fixture_sign_well(scene.state, scene.lasting);
    close_all_sessions();
    /* Without a probe: the first use connects anew. */
    fixture_sign_well(scene.state, scene.lasting);
    assert_ephemeral_is_lost(&scene);
    close_all_sessions();
    probe_well(&scene);
    fixture_sign_well(scene.state, scene.lasting);
    struct driver_key *fresh = fixture_generate(scene.state, KEY_TYPE_EC_P256, NULL);
    fixture_sign_well(scene.state, fresh);
    keystore_driver_module.key_close(scene.state, fresh);
    scene_close(&scene);
}

static void test_ephemeral_key_notices_first(void **unused)
{
    (void)unused;
    struct scene scene;
    struct error err = {0};
    scene_open(&scene, SOFTHSM);
    close_all_sessions();
    assert_int_equal(fixture_sign(scene.state, scene.ephemeral, &err), -1);
    assert_int_equal(err.code, ERROR_DATA_LOSS);
    assert_true(scene.ephemeral->is_lost);
    fixture_sign_well(scene.state, scene.lasting);
    scene_close(&scene);
}

static void test_finalized_module(void **unused)
{
    (void)unused;
    struct scene scene;
    scene_open(&scene, SOFTHSM);
    CK_FUNCTION_LIST *functions = p11_kit_module_load(SOFTHSM, P11_KIT_MODULE_UNMANAGED);
    assert_int_equal(functions->C_Finalize(NULL), CKR_OK);
    p11_kit_module_release(functions);
    fixture_sign_well(scene.state, scene.lasting);
    assert_ephemeral_is_lost(&scene);
    scene_close(&scene);
}

static void test_logout(void **unused)
{
    (void)unused;
    struct scene scene;
    scene_open(&scene, SOFTHSM);
    CK_SLOT_ID slots[16];
    CK_ULONG count = ARRAY_SIZE(slots);
    CK_FUNCTION_LIST *functions = p11_kit_module_load(SOFTHSM, P11_KIT_MODULE_UNMANAGED);
    assert_int_equal(functions->C_GetSlotList(CK_TRUE, slots, &count), CKR_OK);
    for (CK_ULONG i = 0; i < count; i++) {
        CK_SESSION_HANDLE session = 0;
        if (functions->C_OpenSession(slots[i], CKF_SERIAL_SESSION, NULL, NULL, &session) ==
            CKR_OK) {
            (void)functions->C_Logout(session);
            assert_int_equal(functions->C_CloseSession(session), CKR_OK);
        }
    }
    p11_kit_module_release(functions);
    probe_well(&scene);
    fixture_sign_well(scene.state, scene.lasting);
    assert_ephemeral_is_lost(&scene);
    scene_close(&scene);
}

static void test_token_taken_out(void **unused)
{
    (void)unused;
    struct scene scene;
    struct error err = {0};
    scene_open(&scene, FAULTY_MODULE);
    fixture_sign_well(scene.state, scene.ephemeral);
    fixture_write("control", "* absent\n");
    assert_int_equal(fixture_sign(scene.state, scene.lasting, &err), -1);
    assert_int_equal(err.code, ERROR_UNAVAILABLE);
    for (int i = 0; i < 3; i++) {
        struct driver_key *key = NULL;
        assert_int_equal(keystore_driver_module.probe(scene.state, &err), -1);
        assert_int_equal(err.code, ERROR_UNAVAILABLE);
        assert_contains(err.text, "finding token \"signet\"");
        assert_int_equal(
            keystore_driver_module.key_generate(scene.state, KEY_TYPE_EC_P256, NULL, &key, &err),
            -1);
        assert_int_equal(err.code, ERROR_UNAVAILABLE);
    }
    assert_false(scene.lasting->is_lost);
    (void)unlink(fixture.control_path);
    probe_well(&scene);
    fixture_sign_well(scene.state, scene.lasting);
    assert_ephemeral_is_lost(&scene);
    scene_close(&scene);
}

/* The same with SoftHSM's own files, which it notices or not as it likes. */
static void test_token_files_moved_away(void **unused)
{
    (void)unused;
    struct scene scene;
    struct error err = {0};
    scene_open(&scene, SOFTHSM);
    _cleanup_(free_cleanup) char *tokens = file_join(fixture.folder, "tokens");
    _cleanup_(free_cleanup) char *away = file_join(fixture.folder, "away");
    assert_int_equal(rename(tokens, away), 0);
    struct driver_key *key = NULL;
    assert_int_equal(fixture_sign(scene.state, scene.lasting, &err), -1);
    assert_int_equal(err.code, ERROR_UNAVAILABLE);
    assert_int_equal(keystore_driver_module.probe(scene.state, &err), -1);
    assert_int_equal(err.code, ERROR_UNAVAILABLE);
    assert_int_equal(keystore_driver_module.key_generate(scene.state, KEY_TYPE_EC_P256,
                                                         (const uint8_t[16]){43}, &key, &err),
                     -1);
    assert_int_equal(rename(away, tokens), 0);
    probe_well(&scene);
    fixture_sign_well(scene.state, scene.lasting);
    key = fixture_generate(scene.state, KEY_TYPE_EC_P256, NULL);
    fixture_sign_well(scene.state, key);
    keystore_driver_module.key_close(scene.state, key);
    scene_close(&scene);
}

/* What a module says that was not started anew is no reason to give up a CA's key. */
static void test_lasting_key_not_seen_for_a_while(void **unused)
{
    (void)unused;
    struct scene scene;
    struct error err = {0};
    scene_open(&scene, FAULTY_MODULE);
    fixture_write("control", "* absent\n");
    assert_int_equal(keystore_driver_module.probe(scene.state, &err), -1);
    fixture_write("control", "C_FindObjects empty 0 1\n");
    probe_well(&scene);
    assert_false(scene.lasting->is_lost);
    fixture_sign_well(scene.state, scene.lasting);
    (void)unlink(fixture.control_path);
    scene_close(&scene);
}

/* Files and sessions at once. */
static void test_token_files_moved_away_and_sessions_closed(void **unused)
{
    (void)unused;
    struct scene scene;
    struct error err = {0};
    scene_open(&scene, SOFTHSM);
    _cleanup_(free_cleanup) char *tokens = file_join(fixture.folder, "tokens");
    _cleanup_(free_cleanup) char *away = file_join(fixture.folder, "away");
    assert_int_equal(rename(tokens, away), 0);
    close_all_sessions();
    assert_int_equal(fixture_sign(scene.state, scene.lasting, &err), -1);
    assert_int_equal(err.code, ERROR_UNAVAILABLE);
    assert_int_equal(keystore_driver_module.probe(scene.state, &err), -1);
    assert_int_equal(err.code, ERROR_UNAVAILABLE);
    assert_int_equal(rename(away, tokens), 0);
    probe_well(&scene);
    fixture_sign_well(scene.state, scene.lasting);
    assert_ephemeral_is_lost(&scene);
    scene_close(&scene);
}

/* A failure while everything is in place: tried once more, no key is given up. */
static void test_passing_failures(void **unused)
{
    (void)unused;
    static const char *const rules[] = {
        "C_Sign fail 0x30 1\n",    /* DEVICE_ERROR */
        "C_SignInit fail 0x5 1\n", /* GENERAL_ERROR */
        "C_Sign fail 0xb3 1\n",    /* SESSION_HANDLE_INVALID */
        "C_OpenSession fail 0x6 1\n",
    };
    struct scene scene;
    scene_open(&scene, FAULTY_MODULE);
    for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
        fixture_write("control", rules[i]);
        fixture_sign_well(scene.state, scene.ephemeral);
        assert_false(scene.ephemeral->is_lost);
    }
    (void)unlink(fixture.control_path);
    scene_close(&scene);
}

static void test_lasting_failures(void **unused)
{
    (void)unused;
    static const struct {
        const char *rule;
        enum error_code code;
        const char *text;
    } cases[] = {
        {"C_Sign fail 0x30\n", ERROR_ABORTED, "C_Sign of module"},
        {"C_Sign fail 0x31\n", ERROR_RESOURCE_EXHAUSTED, "(0x31)"},
        {"C_SignInit fail 0x70\n", ERROR_UNIMPLEMENTED, "on token \"signet\""},
        {"C_Sign fail 0x12345\n", ERROR_INTERNAL, "(0x12345)"},
    };
    struct scene scene;
    scene_open(&scene, FAULTY_MODULE);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct error err = {0};
        fixture_write("control", cases[i].rule);
        assert_int_equal(fixture_sign(scene.state, scene.ephemeral, &err), -1);
        assert_int_equal(err.code, cases[i].code);
        assert_contains(err.text, cases[i].text);
        (void)unlink(fixture.control_path);
        fixture_sign_well(scene.state, scene.ephemeral);
    }
    scene_close(&scene);
}

/* A pair that was made but not read leaves nothing behind, and a lasting one no twin. */
static void test_failure_after_generation(void **unused)
{
    (void)unused;
    struct scene scene;
    struct error err = {0};
    struct driver_key *key = NULL;
    static const uint8_t other_id[16] = {44};
    static const uint8_t reference[17] = {1, 44};
    scene_open(&scene, FAULTY_MODULE);
    fixture_write("control", "C_GetAttributeValue fail 0x31\n");
    assert_int_equal(
        keystore_driver_module.key_generate(scene.state, KEY_TYPE_EC_P256, other_id, &key, &err),
        -1);
    (void)unlink(fixture.control_path);
    assert_int_equal(keystore_driver_module.key_open(scene.state, KEY_TYPE_EC_P256, other_id,
                                                     (struct bytes){reference, 17}, &key, &err),
                     -1);
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    /* The session ends between making and reading: the second attempt clears up. */
    fixture_write("control", "C_GetAttributeValue fail 0xb3 1\nC_DestroyObject fail 0xb3 2\n");
    key = fixture_generate(scene.state, KEY_TYPE_EC_P256, other_id);
    (void)unlink(fixture.control_path);
    keystore_driver_module.key_close(scene.state, key);
    assert_int_equal(keystore_driver_module.key_open(scene.state, KEY_TYPE_EC_P256, other_id,
                                                     (struct bytes){reference, 17}, &key, &err),
                     0);
    keystore_driver_module.key_close(scene.state, key);
    assert_int_equal(keystore_driver_module.destroy_id(scene.state, other_id, &err), 0);
    scene_close(&scene);
}

static void test_lasting_key_destroyed_by_another(void **unused)
{
    (void)unused;
    struct scene scene;
    struct error err = {0};
    scene_open(&scene, SOFTHSM);
    assert_int_equal(keystore_driver_module.destroy_id(scene.state, id, &err), 0);
    /* A module may be wrong about that until it was started anew. */
    assert_int_equal(fixture_sign(scene.state, scene.lasting, &err), -1);
    assert_int_equal(err.code, ERROR_UNAVAILABLE);
    assert_false(scene.lasting->is_lost);
    probe_well(&scene);
    assert_int_equal(fixture_sign(scene.state, scene.lasting, &err), -1);
    assert_int_equal(err.code, ERROR_DATA_LOSS);
    assert_true(scene.lasting->is_lost);
    scene_close(&scene);
}

static void test_read_only_token(void **unused)
{
    (void)unused;
    struct module_config config = fixture_config();
    struct error err = {0};
    struct driver_key *key = NULL;
    config.module = FAULTY_MODULE;
    fixture_write("control", "* readonly\n");
    void *state = fixture_open(&config);
    key = fixture_generate(state, KEY_TYPE_EC_P256, NULL);
    fixture_sign_well(state, key);
    keystore_driver_module.key_close(state, key);
    assert_int_equal(keystore_driver_module.key_generate(state, KEY_TYPE_EC_P256, id, &key, &err),
                     -1);
    (void)unlink(fixture.control_path);
    keystore_driver_module.close(state);
}

/* A token that allows three sessions: one for objects, two to sign with. */
static void test_few_sessions(void **unused)
{
    (void)unused;
    struct scene scene;
    struct error err = {0};
    scene_open(&scene, FAULTY_MODULE);
    fixture_write("control", "C_OpenSession fail 0xb1\n");
    assert_int_equal(fixture_sign(scene.state, scene.ephemeral, &err), -1);
    assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
    (void)unlink(fixture.control_path);
    fixture_sign_well(scene.state, scene.ephemeral);
    fixture_write("control", "C_OpenSession fail 0xb1\n");
    fixture_sign_well(scene.state, scene.ephemeral);
    (void)unlink(fixture.control_path);
    scene_close(&scene);
}

struct signer {
    struct scene *scene;
    pthread_t thread;
    _Atomic bool *is_over;
    unsigned good, bad;
};

static void *sign_until_over(void *argument)
{
    struct signer *signer = argument;
    while (!atomic_load(signer->is_over)) {
        struct error err = {0};
        bool is_good = fixture_sign(signer->scene->state, signer->scene->lasting, &err) == 0;
        signer->good += is_good;
        signer->bad += !is_good;
    }
    return NULL;
}

/* A token that comes and goes while others sign. */
static void test_lost_under_load(void **unused)
{
    (void)unused;
    struct scene scene;
    struct signer signers[3] = {0};
    _Atomic bool is_over = false;
    scene_open(&scene, FAULTY_MODULE);
    for (size_t i = 0; i < ARRAY_SIZE(signers); i++) {
        signers[i].scene = &scene;
        signers[i].is_over = &is_over;
        assert_int_equal(pthread_create(&signers[i].thread, NULL, sign_until_over, &signers[i]), 0);
    }
    for (int i = 0; i < 20; i++) {
        struct error err = {0};
        fixture_write("control", "* absent\n");
        assert_int_equal(keystore_driver_module.probe(scene.state, &err), -1);
        (void)unlink(fixture.control_path);
        probe_well(&scene);
        struct driver_key *key = fixture_generate(scene.state, KEY_TYPE_EC_P256, NULL);
        fixture_sign_well(scene.state, key);
        keystore_driver_module.key_close(scene.state, key);
    }
    atomic_store(&is_over, true);
    for (size_t i = 0; i < ARRAY_SIZE(signers); i++) {
        assert_int_equal(pthread_join(signers[i].thread, NULL), 0);
        assert_true(signers[i].good > 0);
    }
    fixture_sign_well(scene.state, scene.lasting);
    scene_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_closed_sessions),
        cmocka_unit_test(test_ephemeral_key_notices_first),
        cmocka_unit_test(test_finalized_module),
        cmocka_unit_test(test_logout),
        cmocka_unit_test(test_token_taken_out),
        cmocka_unit_test(test_token_files_moved_away),
        cmocka_unit_test(test_token_files_moved_away_and_sessions_closed),
        cmocka_unit_test(test_lasting_key_not_seen_for_a_while),
        cmocka_unit_test(test_passing_failures),
        cmocka_unit_test(test_lasting_failures),
        cmocka_unit_test(test_failure_after_generation),
        cmocka_unit_test(test_lasting_key_destroyed_by_another),
        cmocka_unit_test(test_read_only_token),
        cmocka_unit_test(test_few_sessions),
        cmocka_unit_test(test_lost_under_load),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
