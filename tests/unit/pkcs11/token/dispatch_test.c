#include "tests/unit/cmocka_all.h"

#include "pkcs11/token/dispatch.h"
#include "tests/unit/pkcs11/token/fixture.h"
#include "tests/unit/pkcs11/token/rpc.h"

struct place {
    struct fixture fixture;
    struct dispatch_counters counters;
    struct dispatch dispatch;
    struct token_generation *generations[2]; /* EC, RSA */
    struct buffer output;
    struct rpc_reply reply;
};

static void note_signed(void *user, CK_RV rv, struct bytes signature)
{
    struct place *place = user;
    dispatch_finish(&place->dispatch, rv, signature, &place->output);
}

static void set_up(struct place *place)
{
    static const enum key_type types[] = {KEY_TYPE_EC_P256, KEY_TYPE_RSA_2048};
    *place = (struct place){0};
    fixture_set_up(&place->fixture);
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        place->generations[i] = fixture_generation(&place->fixture, key_type_name(types[i]),
                                                   types[i], (struct bytes){0});
    }
    fixture_publish(&place->fixture, place->generations, 2, 2, NULL);
    place->dispatch = (struct dispatch){
        .caller = place->fixture.caller,
        .counters = &place->counters,
        .is_signed = note_signed,
        .user = place,
    };
}

static void tear_down(struct place *place)
{
    token_generation_unref(place->generations[0]);
    token_generation_unref(place->generations[1]);
    buffer_clear(&place->output);
    fixture_tear_down(&place->fixture);
}

static enum dispatch_result run(struct place *place, const struct buffer *request)
{
    struct reader input = reader_of(buffer_bytes(request));
    buffer_reset(&place->output);
    enum dispatch_result result = dispatch_next(&place->dispatch, &input, &place->output);
    assert_true(reader_is_done(&input));
    assert_int_not_equal(result, DISPATCH_NEEDS_BYTES);
    while (result == DISPATCH_WAITS && place->output.size == 0) {
        fixture_deliver(&place->fixture);
    }
    return result;
}

/* Makes a call; the code that it is answered with. Its values are in place->reply. */
static CK_RV call(struct place *place, uint32_t id, const char *signature, const char *kinds, ...)
{
    _cleanup_(buffer_clear) struct buffer request = {0};
    va_list arguments;
    va_start(arguments, kinds);
    rpc_request_of(&request, id, signature, kinds, arguments);
    va_end(arguments);
    assert_int_not_equal(run(place, &request), DISPATCH_MALFORMED);
    assert_true(rpc_read_reply(buffer_bytes(&place->output), &place->reply));
    assert_int_equal(place->reply.size, place->output.size);
    assert_int_equal(place->reply.code, RPC_CODE + id);
    assert_true(place->reply.id == id || place->reply.id == RPC_ERROR);
    return place->reply.rv;
}

static CK_RV initialize(struct place *place)
{
    return call(place, RPC_INITIALIZE, "ayyay", "aya", strlen(RPC_HANDSHAKE), RPC_HANDSHAKE, 0,
                (size_t)1, "");
}

static CK_SESSION_HANDLE open_session(struct place *place)
{
    assert_int_equal(call(place, RPC_OPEN_SESSION, "uu", "uu", (CK_ULONG)TOKEN_SLOT_ID,
                          (CK_ULONG)CKF_SERIAL_SESSION),
                     CKR_OK);
    return reader_u64(&place->reply.values);
}

static void test_order_of_calls(void **state)
{
    (void)state;
    struct place place;
    set_up(&place);
    assert_int_equal(call(&place, RPC_GET_INFO, "", ""), CKR_CRYPTOKI_NOT_INITIALIZED);
    assert_int_equal(call(&place, RPC_DIGEST_INIT, "uM", ""), CKR_CRYPTOKI_NOT_INITIALIZED);
    assert_int_equal(call(&place, RPC_FINALIZE, "", ""), CKR_CRYPTOKI_NOT_INITIALIZED);
    assert_int_equal(
        call(&place, RPC_INITIALIZE, "ayyay", "aya", (size_t)4, "what", 0, (size_t)1, ""),
        CKR_GENERAL_ERROR);
    assert_int_equal(initialize(&place), CKR_OK);
    assert_int_equal(initialize(&place), CKR_CRYPTOKI_ALREADY_INITIALIZED);
    assert_int_equal(call(&place, RPC_GET_INFO, "", ""), CKR_OK);
    CK_SESSION_HANDLE session = open_session(&place);
    assert_int_equal(place.dispatch.sessions, 2); /* the fixture has one */
    assert_int_equal(call(&place, RPC_FINALIZE, "", ""), CKR_OK);
    assert_int_equal(place.dispatch.sessions, 0);
    assert_int_equal(initialize(&place), CKR_OK);
    assert_int_equal(call(&place, RPC_GET_SESSION_INFO, "u", "u", session),
                     CKR_SESSION_HANDLE_INVALID);
    tear_down(&place);
}

/* What the other calls answer, whatever their arguments are. */
static CK_RV fixed_code(uint32_t id)
{
    static const struct {
        uint32_t id;
        CK_RV rv;
    } codes[] = {
        {9, CKR_TOKEN_WRITE_PROTECTED},  /* C_InitToken */
        {14, CKR_TOKEN_WRITE_PROTECTED}, /* C_InitPIN */
        {15, CKR_TOKEN_WRITE_PROTECTED}, /* C_SetPIN */
        {16, CKR_STATE_UNSAVEABLE},      /* C_GetOperationState */
        {20, CKR_TOKEN_WRITE_PROTECTED}, /* C_CreateObject */
        {21, CKR_TOKEN_WRITE_PROTECTED}, /* C_CopyObject */
        {22, CKR_TOKEN_WRITE_PROTECTED}, /* C_DestroyObject */
        {25, CKR_ATTRIBUTE_READ_ONLY},   /* C_SetAttributeValue */
        {63, CKR_RANDOM_SEED_NOT_SUPPORTED}, {88, CKR_TOKEN_WRITE_PROTECTED}, /* C_InitToken2 */
    };
    for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
        if (codes[i].id == id) {
            return codes[i].rv;
        }
    }
    return CKR_FUNCTION_NOT_SUPPORTED;
}

/* Signatures of the calls that this token does not serve, from C_Initialize's id on. */
static const struct {
    uint32_t id;
    const char *signature;
} unserved[] = {
    {9, "uayz"},      {14, "uay"},    {15, "uayay"},  {16, "ufy"},       {17, "uayuu"},
    {20, "uaA"},      {21, "uuaA"},   {22, "uu"},     {23, "uu"},        {25, "uuaA"},
    {29, "uMu"},      {30, "uayfy"},  {31, "uayfy"},  {32, "ufy"},       {33, "uMu"},
    {34, "uayfy"},    {35, "uayfy"},  {36, "ufy"},    {37, "uM"},        {38, "uayfy"},
    {39, "uay"},      {40, "uu"},     {41, "ufy"},    {46, "uMu"},       {47, "uayfy"},
    {48, "uMu"},      {49, "uayay"},  {50, "uay"},    {51, "uay"},       {52, "uMu"},
    {53, "uayfy"},    {54, "uayfy"},  {55, "uayfy"},  {56, "uayfy"},     {57, "uayfy"},
    {58, "uMaA"},     {59, "uMaAaA"}, {60, "uMuufy"}, {61, "uMuayaA"},   {62, "uMuaA"},
    {63, "uay"},      {67, "uu"},     {68, "uMu"},    {69, "uayayayfy"}, {70, "uayay"},
    {71, "uayayfyu"}, {72, "u"},      {73, "uMu"},    {74, "uayayayfy"}, {75, "uayay"},
    {76, "uayayfyu"}, {77, "u"},      {78, "uMu"},    {79, "uayayfy"},   {80, "uay"},
    {81, "uayayyfy"}, {82, "u"},      {83, "uMu"},    {84, "uayayay"},   {85, "uay"},
    {86, "uayayay"},  {87, "u"},      {88, "uays"},   {89, "uMuaA"},
};

static void test_unserved_calls(void **state)
{
    (void)state;
    struct place place;
    set_up(&place);
    assert_int_equal(initialize(&place), CKR_OK);
    for (size_t i = 0; i < ARRAY_SIZE(unserved); i++) {
        CK_RV rv = call(&place, unserved[i].id, unserved[i].signature, "u", (CK_ULONG)1);
        if (rv != fixed_code(unserved[i].id)) {
            fail_msg("call %u: 0x%lx", unserved[i].id, rv);
        }
    }
    tear_down(&place);
}

static void test_malformed(void **state)
{
    (void)state;
    static const struct {
        uint32_t id;
        const char *signature, *kinds;
    } bad[] = {
        {RPC_ERROR, "u", "u"},
        {RPC_IDS, "u", "u"},
        {999, "u", "u"},
        {0xffffffff, "", ""},
        {RPC_GET_INFO, "u", "u"},
        {RPC_LOGOUT, "", ""},
        {RPC_LOGOUT, "uu", "uu"},
        {RPC_LOGOUT, "u", ""},
        {RPC_LOGOUT, "u", "uu"},
        {RPC_SIGN_INIT, "uMu", "u"},
        {RPC_FIND_OBJECTS, "ufu", "uu"},
    };
    struct place place;
    set_up(&place);
    assert_int_equal(initialize(&place), CKR_OK);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        _cleanup_(buffer_clear) struct buffer request = {0};
        rpc_request(&request, bad[i].id, bad[i].signature, bad[i].kinds, (CK_ULONG)1, (CK_ULONG)1);
        if (run(&place, &request) != DISPATCH_MALFORMED || place.output.size != 0) {
            fail_msg("call %u with %s", bad[i].id, bad[i].signature);
        }
    }
    tear_down(&place);
}

static void test_lists(void **state)
{
    (void)state;
    struct place place;
    set_up(&place);
    assert_int_equal(initialize(&place), CKR_OK);
    static const struct {
        uint32_t room;
        bool has_slot;
    } rooms[] = {{0, false}, {1, true}, {5, true}, {0xffffffff, true}};
    for (size_t i = 0; i < ARRAY_SIZE(rooms); i++) {
        assert_int_equal(call(&place, RPC_GET_SLOT_LIST, "yfu", "yf", 1, rooms[i].room), CKR_OK);
        assert_int_equal(reader_u8(&place.reply.values), rooms[i].has_slot);
        assert_int_equal(reader_u32(&place.reply.values), 1);
        assert_int_equal(reader_u64(&place.reply.values), rooms[i].has_slot ? TOKEN_SLOT_ID : 0);
    }
    size_t count[2];
    for (int is_modern = 0; is_modern < 2; is_modern++) {
        place.dispatch.is_modern = is_modern;
        assert_int_equal(
            call(&place, RPC_GET_MECHANISM_LIST, "ufu", "uf", (CK_ULONG)TOKEN_SLOT_ID, 100),
            CKR_OK);
        assert_int_equal(reader_u8(&place.reply.values), 1);
        count[is_modern] = reader_u32(&place.reply.values);
    }
    assert_true(count[0] < count[1]);
    assert_int_equal(call(&place, RPC_GET_MECHANISM_LIST, "ufu", "uf", (CK_ULONG)TOKEN_SLOT_ID,
                          (uint32_t)count[1] - 1),
                     CKR_OK);
    assert_int_equal(reader_u8(&place.reply.values), 0);
    assert_int_equal(reader_u32(&place.reply.values), count[1]);
    assert_int_equal(call(&place, RPC_GET_MECHANISM_LIST, "ufu", "uf", (CK_ULONG)99, 100),
                     CKR_SLOT_ID_INVALID);
    tear_down(&place);
}

static void test_information(void **state)
{
    (void)state;
    struct place place;
    set_up(&place);
    assert_int_equal(initialize(&place), CKR_OK);
    CK_SESSION_HANDLE session = open_session(&place);
    const struct {
        uint32_t id;
        const char *signature;
        CK_ULONG argument;
        size_t size;
        CK_RV rv;
    } calls[] = {
        {RPC_GET_INFO, "", 0, 2 + 36 + 8 + 36 + 2, CKR_OK},
        {RPC_GET_SLOT_INFO, "u", TOKEN_SLOT_ID, 68 + 36 + 8 + 4, CKR_OK},
        {RPC_GET_SLOT_INFO, "u", 2, 0, CKR_SLOT_ID_INVALID},
        {RPC_GET_TOKEN_INFO, "u", TOKEN_SLOT_ID, 36 + 36 + 20 + 20 + 88 + 4 + 20, CKR_OK},
        {RPC_GET_TOKEN_INFO, "u", 0, 0, CKR_SLOT_ID_INVALID},
        {RPC_GET_SESSION_INFO, "u", session, 32, CKR_OK},
        {RPC_GET_SESSION_INFO, "u", session + 1, 0, CKR_SESSION_HANDLE_INVALID},
        {RPC_CLOSE_SESSION, "u", session + 1, 0, CKR_SESSION_HANDLE_INVALID},
        {RPC_CLOSE_SESSION, "u", session, 0, CKR_OK},
        {RPC_CLOSE_SESSION, "u", session, 0, CKR_SESSION_HANDLE_INVALID},
        {RPC_CLOSE_ALL_SESSIONS, "u", 9, 0, CKR_SLOT_ID_INVALID},
        {RPC_WAIT_FOR_SLOT_EVENT, "u", CKF_DONT_BLOCK, 0, CKR_NO_EVENT},
        {RPC_WAIT_FOR_SLOT_EVENT, "u", 0, 0, CKR_FUNCTION_NOT_SUPPORTED},
    };
    for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
        const char *kinds = calls[i].signature;
        CK_RV rv = call(&place, calls[i].id, calls[i].signature, kinds, calls[i].argument);
        if (rv != calls[i].rv || place.reply.values.rest.size != calls[i].size) {
            fail_msg("call %u: 0x%lx, %zu bytes", calls[i].id, rv, place.reply.values.rest.size);
        }
    }
    session = open_session(&place);
    assert_int_equal(
        call(&place, RPC_LOGIN, "uuay", "uua", session, (CK_ULONG)CKU_USER, (size_t)4, "1234"),
        CKR_OK);
    assert_int_equal(call(&place, RPC_LOGOUT, "u", "u", session), CKR_OK);
    tear_down(&place);
}

static void test_random(void **state)
{
    (void)state;
    struct place place;
    set_up(&place);
    assert_int_equal(initialize(&place), CKR_OK);
    CK_SESSION_HANDLE session = open_session(&place);
    static const struct {
        uint32_t room;
        uint32_t size;
        CK_RV rv;
    } rooms[] = {
        {0, 0, CKR_OK},
        {32, 32, CKR_OK},
        {1000, 1000, CKR_OK},
        {0xffffffff, 0, CKR_OK},
        {64 * 1024, 0, CKR_ARGUMENTS_BAD},
        {0x7ffffff0, 0, CKR_ARGUMENTS_BAD},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rooms); i++) {
        assert_int_equal(call(&place, RPC_GENERATE_RANDOM, "ufy", "uf", session, rooms[i].room),
                         rooms[i].rv);
        if (rooms[i].rv == CKR_OK) {
            assert_int_equal(reader_u8(&place.reply.values), 1);
            assert_int_equal(reader_u32(&place.reply.values), rooms[i].size);
            assert_int_equal(place.reply.values.rest.size, rooms[i].size);
        }
    }
    assert_int_equal(call(&place, RPC_GENERATE_RANDOM, "ufy", "uf", session + 1, 32),
                     CKR_SESSION_HANDLE_INVALID);
    tear_down(&place);
}

/* An array of attributes to search for, as bytes of a request. */
static void add_label(struct buffer *buffer, const char *label)
{
    uint32_t size = (uint32_t)strlen(label);
    buffer_append_u32(buffer, 1);
    buffer_append_u32(buffer, CKA_LABEL);
    buffer_append_u8(buffer, 1);
    buffer_append_u32(buffer, size);
    buffer_append_u32(buffer, size);
    buffer_append_text(buffer, label);
}

static void test_search(void **state)
{
    (void)state;
    struct place place;
    set_up(&place);
    assert_int_equal(initialize(&place), CKR_OK);
    CK_SESSION_HANDLE session = open_session(&place);
    _cleanup_(buffer_clear) struct buffer wanted = {0};
    add_label(&wanted, "ec-p256");
    assert_int_equal(
        call(&place, RPC_FIND_OBJECTS_INIT, "uaA", "ur", session, wanted.size, wanted.data),
        CKR_OK);
    static const struct {
        uint32_t room, count;
    } rooms[] = {{1, 1}, {0, 0}, {0xffffffff, 2}, {8, 0}};
    for (size_t i = 0; i < ARRAY_SIZE(rooms); i++) {
        assert_int_equal(call(&place, RPC_FIND_OBJECTS, "ufu", "uf", session, rooms[i].room),
                         CKR_OK);
        assert_int_equal(reader_u8(&place.reply.values), 1);
        assert_int_equal(reader_u32(&place.reply.values), rooms[i].count);
        assert_int_equal(place.reply.values.rest.size, 8 * rooms[i].count);
    }
    assert_int_equal(call(&place, RPC_FIND_OBJECTS_FINAL, "u", "u", session), CKR_OK);
    assert_int_equal(call(&place, RPC_FIND_OBJECTS, "ufu", "uf", session, 8),
                     CKR_OPERATION_NOT_INITIALIZED);
    tear_down(&place);
}

static void test_attributes(void **state)
{
    (void)state;
    struct place place;
    set_up(&place);
    assert_int_equal(initialize(&place), CKR_OK);
    CK_SESSION_HANDLE session = open_session(&place);
    _cleanup_(buffer_clear) struct buffer asked = {0};
    buffer_append_u32(&asked, 3);
    buffer_append_u32(&asked, CKA_LABEL);
    buffer_append_u32(&asked, 0x7ffffff0);
    buffer_append_u32(&asked, CKA_VALUE);
    buffer_append_u32(&asked, 64);
    buffer_append_u32(&asked, 0x80001234);
    buffer_append_u32(&asked, 64);
    CK_OBJECT_HANDLE key = fixture_handle(place.generations[0], OBJECT_PRIVATE_KEY);
    assert_int_equal(
        call(&place, RPC_GET_ATTRIBUTE_VALUE, "uufA", "uur", session, key, asked.size, asked.data),
        CKR_OK);
    struct reader *values = &place.reply.values;
    assert_int_equal(reader_u32(values), 3);
    assert_int_equal(reader_u32(values), CKA_LABEL);
    assert_int_equal(reader_u8(values), 1);
    assert_int_equal(reader_u32(values), 7);
    assert_int_equal(reader_u32(values), 7);
    assert_true(bytes_is_equal(reader_bytes(values, 7), bytes_of_text("ec-p256")));
    assert_int_equal(reader_u32(values), CKA_VALUE);
    assert_int_equal(reader_u8(values), 0);
    assert_int_equal(reader_u32(values), 0x80001234);
    assert_int_equal(reader_u8(values), 0);
    CK_RV rv = reader_u64(values);
    assert_true(rv == CKR_ATTRIBUTE_SENSITIVE || rv == CKR_ATTRIBUTE_TYPE_INVALID);
    assert_int_equal(call(&place, RPC_GET_ATTRIBUTE_VALUE, "uufA", "uur", session, key + 12345,
                          asked.size, asked.data),
                     CKR_OBJECT_HANDLE_INVALID);
    tear_down(&place);
}

static const uint8_t ecdsa_classic[] = {0, 0, 0x10, 0x41, 0xff, 0xff, 0xff, 0xff};
static const uint8_t ecdsa_modern[] = {0, 0, 0x10, 0x41};
static const uint8_t no_mechanism[] = {0xff, 0xff, 0xff, 0xff};
static const uint8_t digest[32] = {1, 2, 3};

static CK_RV sign_init(struct place *place, CK_SESSION_HANDLE session, struct bytes mechanism)
{
    return call(place, RPC_SIGN_INIT, "uMu", "uru", session, mechanism.size, mechanism.data,
                fixture_handle(place->generations[0], OBJECT_PRIVATE_KEY));
}

static void expect_size_only(struct place *place, CK_RV rv)
{
    assert_int_equal(rv, CKR_OK);
    assert_int_equal(reader_u8(&place->reply.values), 0);
    assert_int_equal(reader_u32(&place->reply.values), 64);
}

static void test_signatures(void **state)
{
    (void)state;
    struct place place;
    set_up(&place);
    assert_int_equal(initialize(&place), CKR_OK);
    CK_SESSION_HANDLE session = open_session(&place);
    const struct bytes encodings[] = {{ecdsa_classic, sizeof(ecdsa_classic)},
                                      {ecdsa_modern, sizeof(ecdsa_modern)}};
    for (size_t i = 0; i < ARRAY_SIZE(encodings); i++) {
        assert_false(place.dispatch.is_modern);
        assert_int_equal(sign_init(&place, session, encodings[i]), CKR_OK);
        /* Asking for the size, or with too little room, leaves the operation as it is. */
        static const uint32_t rooms[] = {0, 63, 0xffffffff};
        for (size_t j = 0; j < ARRAY_SIZE(rooms); j++) {
            expect_size_only(&place, call(&place, RPC_SIGN, "uayfy", "uaf", session, sizeof(digest),
                                          digest, rooms[j]));
        }
        uint32_t room = i == 0 ? 64 : 0x7ffffff0;
        assert_int_equal(
            call(&place, RPC_SIGN, "uayfy", "uaf", session, sizeof(digest), digest, room), CKR_OK);
        assert_int_equal(place.reply.id, RPC_SIGN);
        assert_int_equal(reader_u8(&place.reply.values), 1);
        assert_int_equal(reader_u32(&place.reply.values), 64);
        assert_int_equal(
            call(&place, RPC_SIGN, "uayfy", "uaf", session, sizeof(digest), digest, room),
            CKR_OPERATION_NOT_INITIALIZED);
    }
    assert_true(place.dispatch.is_modern);
    assert_int_equal(place.counters.signatures, 2);
    /* No mechanism cancels. */
    const struct bytes none = {no_mechanism, sizeof(no_mechanism)};
    assert_int_equal(sign_init(&place, session, encodings[0]), CKR_OK);
    assert_int_equal(sign_init(&place, session, encodings[0]), CKR_OPERATION_ACTIVE);
    assert_int_equal(sign_init(&place, session, none), CKR_OK);
    assert_int_equal(sign_init(&place, session, encodings[0]), CKR_OK);
    tear_down(&place);
}

static void test_multipart(void **state)
{
    (void)state;
    struct place place;
    set_up(&place);
    assert_int_equal(initialize(&place), CKR_OK);
    CK_SESSION_HANDLE session = open_session(&place);
    assert_int_equal(
        sign_init(&place, session, (struct bytes){ecdsa_classic, sizeof(ecdsa_classic)}), CKR_OK);
    assert_int_equal(call(&place, RPC_SIGN_UPDATE, "uay", "ua", session, (size_t)16, digest),
                     CKR_OK);
    assert_int_equal(call(&place, RPC_SIGN_UPDATE, "uay", "ua", session, (size_t)16, digest),
                     CKR_OK);
    expect_size_only(&place, call(&place, RPC_SIGN_FINAL, "ufy", "uf", session, 0));
    assert_int_equal(call(&place, RPC_SIGN_FINAL, "ufy", "uf", session, 64), CKR_OK);
    assert_int_equal(reader_u8(&place.reply.values), 1);
    assert_int_equal(reader_u32(&place.reply.values), 64);
    assert_int_equal(call(&place, RPC_SIGN_FINAL, "ufy", "uf", session, 64),
                     CKR_OPERATION_NOT_INITIALIZED);
    tear_down(&place);
}

static void test_refusals_are_counted(void **state)
{
    (void)state;
    struct place place;
    set_up(&place);
    assert_int_equal(initialize(&place), CKR_OK);
    CK_SESSION_HANDLE session = open_session(&place);
    token_caller_set_view(place.fixture.caller, NULL, NULL);
    assert_int_equal(
        sign_init(&place, session, (struct bytes){ecdsa_classic, sizeof(ecdsa_classic)}),
        CKR_KEY_FUNCTION_NOT_PERMITTED);
    assert_int_equal(place.counters.refusals, 1);
    assert_int_equal(place.counters.calls, 3);
    tear_down(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_of_calls),
        cmocka_unit_test(test_unserved_calls),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_information),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_search),
        cmocka_unit_test(test_attributes),
        cmocka_unit_test(test_signatures),
        cmocka_unit_test(test_multipart),
        cmocka_unit_test(test_refusals_are_counted),
    };
    return cmocka_run_group_tests_name("dispatch", tests, NULL, NULL);
}
