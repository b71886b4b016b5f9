#include "tests/unit/cmocka_all.h"

#include <string.h>

#include "pkcs11/token/message_attribute.h"
#include "tests/unit/pkcs11/token/rpc.h"

static const struct {
    const char *name;
    uint32_t options, payload; /* as the header says */
    size_t size;               /* of the bytes that are there */
    enum message_frame_state state;
} frames[] = {
    {"nothing", 0, 0, 0, MESSAGE_FRAME_PARTIAL},
    {"half a header", 0, 0, 11, MESSAGE_FRAME_PARTIAL},
    {"an empty frame", 0, 0, 12, MESSAGE_FRAME_COMPLETE},
    {"one byte too few", 0, 8, 19, MESSAGE_FRAME_PARTIAL},
    {"whole", 0, 8, 20, MESSAGE_FRAME_COMPLETE},
    {"with more behind it", 0, 8, 30, MESSAGE_FRAME_COMPLETE},
    {"with options", 4, 8, 24, MESSAGE_FRAME_COMPLETE},
    {"options that lack", 4, 8, 23, MESSAGE_FRAME_PARTIAL},
    {"the largest", 0, MESSAGE_BODY_MAX, 12, MESSAGE_FRAME_PARTIAL},
    {"larger, and too little to go on", 0, MESSAGE_BODY_MAX + 1, 75, MESSAGE_FRAME_PARTIAL},
    {"larger", 0, MESSAGE_BODY_MAX + 1, 76, MESSAGE_FRAME_LONG},
    {"as large as can be said", 0, 0xffffffff, 80, MESSAGE_FRAME_LONG},
    {"larger with options", 6, MESSAGE_BODY_MAX, 82, MESSAGE_FRAME_LONG},
    {"larger, and too little behind the options", 6, MESSAGE_BODY_MAX, 81, MESSAGE_FRAME_PARTIAL},
    {"the most options", MESSAGE_LONG_OPTIONS_MAX, MESSAGE_BODY_MAX, 82, MESSAGE_FRAME_PARTIAL},
    {"more options", MESSAGE_LONG_OPTIONS_MAX + 1, MESSAGE_BODY_MAX, 82, MESSAGE_FRAME_REFUSED},
    {"mostly options", MESSAGE_BODY_MAX, 1, 12, MESSAGE_FRAME_REFUSED},
    {"sizes that overflow", 0xffffffff, 0xffffffff, 12, MESSAGE_FRAME_REFUSED},
};

static void test_frames(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(frames); i++) {
        _cleanup_(buffer_clear) struct buffer buffer = {0};
        buffer_append_u32(&buffer, 77);
        buffer_append_u32(&buffer, frames[i].options);
        buffer_append_u32(&buffer, frames[i].payload);
        memset(buffer_extend(&buffer, 80), 'x', 80);
        struct message_frame frame = {0};
        struct bytes input = {buffer.data, frames[i].size};
        enum message_frame_state got = message_read_frame(input, &frame);
        if (got != frames[i].state) {
            fail_msg("%s: %d", frames[i].name, (int)got);
        }
        if (got == MESSAGE_FRAME_COMPLETE) {
            assert_int_equal(frame.code, 77);
            assert_int_equal(frame.payload.size, frames[i].payload);
        }
        if (got == MESSAGE_FRAME_COMPLETE || got == MESSAGE_FRAME_LONG) {
            uint64_t options = frames[i].options;
            assert_int_equal(frame.size, 12 + options + frames[i].payload);
        }
    }
}

#define NULL_ARRAY 0xff, 0xff, 0xff, 0xff
#define N8(value) 0, 0, 0, 0, 0, 0, 0, value
#define N4(value) 0, 0, 0, value

static const struct {
    const char *name, *signature;
    uint8_t bytes[64];
    size_t size;
    bool is_read;
    CK_RV rv;
} arguments_cases[] = {
    {"nothing", "", {0}, 0, true, CKR_OK},
    {"junk behind", "", {0}, 1, false, CKR_OK},
    {"a number", "u", {N8(5)}, 8, true, CKR_OK},
    {"half a number", "u", {N8(5)}, 7, false, CKR_OK},
    {"three of them", "yuu", {1, N8(5), N8(6)}, 17, true, CKR_OK},
    {"an array", "ay", {1, N4(2), 'a', 'b'}, 7, true, CKR_OK},
    {"an array that is cut", "ay", {1, N4(3), 'a', 'b'}, 7, false, CKR_OK},
    {"an array of 4 GiB", "ay", {1, 0xff, 0xff, 0xff, 0xfe, 'a'}, 6, false, CKR_OK},
    {"an array that is NULL", "ay", {1, NULL_ARRAY}, 5, true, CKR_OK},
    {"no array, of no bytes", "ay", {0, N4(0)}, 5, true, CKR_OK},
    {"no array, of seven bytes", "ay", {0, N4(7)}, 5, true, CKR_ARGUMENTS_BAD},
    {"room", "fy", {N4(9)}, 4, true, CKR_OK},
    {"rooms for attributes", "fA", {N4(1), N4(3), N4(8)}, 12, true, CKR_OK},
    {"more of them than bytes", "fA", {0x05, 0x55, 0x55, 0x54, N4(3), N4(8)}, 12, false, CKR_OK},
    {"rooms that are cut", "fA", {N4(2), N4(3), N4(8)}, 12, false, CKR_OK},
    {"a nested template",
     "fA",
     {N4(1), 0x40, 0, 2, 0x11, N4(24), N4(1)},
     16,
     true,
     CKR_ATTRIBUTE_TYPE_INVALID},
    {"a label", "aA", {N4(1), N4(3), 1, N4(2), N4(2), 'a', 'b'}, 19, true, CKR_OK},
    {"a class", "aA", {N4(1), N4(0), 1, N4(8), N8(3)}, 21, true, CKR_OK},
    {"a class of a 32-bit client", "aA", {N4(1), N4(0), 1, N4(4), N8(3)}, 21, true, CKR_OK},
    {"a class that is cut", "aA", {N4(1), N4(0), 1, N4(8), N8(3)}, 20, false, CKR_OK},
    {"a byte", "aA", {N4(1), N4(1), 1, N4(1), 1}, 14, true, CKR_OK},
    {"an attribute without value", "aA", {N4(1), N4(3), 0}, 9, true, CKR_ATTRIBUTE_VALUE_INVALID},
    {"a template to search for",
     "aA",
     {N4(1), 0x40, 0, 2, 0x11, 1, N4(24), N4(1)},
     17,
     true,
     CKR_ATTRIBUTE_TYPE_INVALID},
    {"mechanisms to search for",
     "aA",
     {N4(1), 0x40, 0, 6, 0x00, 1, N4(8), N4(1), N8(1)},
     25,
     true,
     CKR_OK},
    {"2^32 mechanisms",
     "aA",
     {N4(1), 0x40, 0, 6, 0x00, 1, N4(8), NULL_ARRAY, N8(1)},
     25,
     false,
     CKR_OK},
    {"no mechanism", "uMu", {N8(1), 0, 0, 0, 1, 2, 3}, 14, false, CKR_OK},
    {"a mechanism", "uMu", {N8(1), 0, 0, 0x10, 0x41, N8(2)}, 20, true, CKR_OK},
    {"a mechanism of others",
     "uMu",
     {N8(1), 0, 0, 0x10, 0x82, 1, 1, N8(2)},
     22,
     true,
     CKR_MECHANISM_INVALID},
    {"what no call has", "uP", {N8(1)}, 8, false, CKR_OK},
};

static void test_arguments(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(arguments_cases); i++) {
        struct message_arguments arguments;
        memset(&arguments, 0xa5, sizeof(arguments));
        struct reader reader =
            reader_of((struct bytes){arguments_cases[i].bytes, arguments_cases[i].size});
        bool is_read = message_read_arguments(&reader, arguments_cases[i].signature, &arguments);
        if (is_read != arguments_cases[i].is_read ||
            (is_read && arguments.rv != arguments_cases[i].rv)) {
            fail_msg("%s: read %d, rv 0x%lx", arguments_cases[i].name, is_read, arguments.rv);
        }
    }
}

static void read_one(struct buffer *buffer, const char *signature,
                     struct message_arguments *arguments)
{
    struct reader reader = reader_of(buffer_bytes(buffer));
    memset(arguments, 0xa5, sizeof(*arguments));
    assert_true(message_read_arguments(&reader, signature, arguments));
}

static void test_attribute_values(void **state)
{
    (void)state;
    _cleanup_(buffer_clear) struct buffer buffer = {0};
    buffer_append_u32(&buffer, 4);
    buffer_append_u32(&buffer, CKA_CLASS);
    buffer_append_u8(&buffer, 1);
    buffer_append_u32(&buffer, 4);
    buffer_append_u64(&buffer, CKO_PRIVATE_KEY);
    buffer_append_u32(&buffer, CKA_LABEL);
    buffer_append_u8(&buffer, 1);
    buffer_append_u32(&buffer, 3);
    buffer_append_u32(&buffer, 3);
    buffer_append_text(&buffer, "api");
    buffer_append_u32(&buffer, CKA_SIGN);
    buffer_append_u8(&buffer, 1);
    buffer_append_u32(&buffer, 1);
    buffer_append_u8(&buffer, CK_TRUE);
    buffer_append_u32(&buffer, CKA_ID);
    buffer_append_u8(&buffer, 1);
    buffer_append_u32(&buffer, 0);
    buffer_append_u32(&buffer, 0xffffffff);
    struct message_arguments arguments;
    read_one(&buffer, "aA", &arguments);
    const CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    assert_int_equal(arguments.attribute_count, 4);
    assert_int_equal(arguments.attributes[0].ulValueLen, sizeof(class));
    assert_memory_equal(arguments.attributes[0].pValue, &class, sizeof(class));
    assert_int_equal(arguments.attributes[1].ulValueLen, 3);
    assert_memory_equal(arguments.attributes[1].pValue, "api", 3);
    assert_int_equal(arguments.attributes[2].ulValueLen, 1);
    assert_int_equal(*(const uint8_t *)arguments.attributes[2].pValue, CK_TRUE);
    assert_int_equal(arguments.attributes[3].ulValueLen, 0);
}

static void test_too_many_attributes(void **state)
{
    (void)state;
    for (uint32_t count = MESSAGE_ATTRIBUTES_MAX; count <= MESSAGE_ATTRIBUTES_MAX + 1; count++) {
        _cleanup_(buffer_clear) struct buffer buffer = {0};
        buffer_append_u32(&buffer, count);
        for (uint32_t i = 0; i < count; i++) {
            buffer_append_u32(&buffer, CKA_LABEL);
            buffer_append_u32(&buffer, 0x7ffffff0);
        }
        struct message_arguments arguments;
        read_one(&buffer, "fA", &arguments);
        assert_int_equal(arguments.rv, count > MESSAGE_ATTRIBUTES_MAX ? CKR_ARGUMENTS_BAD : CKR_OK);
    }
}

/* From 0.25 a client says by 2^32 - 1 that it has a buffer, but of no bytes. */
static void test_rooms(void **state)
{
    (void)state;
    static const struct {
        const char *signature;
        uint32_t said, room;
        bool has_buffer;
    } rooms[] = {
        {"fy", 0, 0, false},
        {"fy", 72, 72, true},
        {"fy", 0xffffffff, 0, true},
        {"fy", 0x80000000, 0x80000000, true},
        {"fu", 0, 0, false},
        {"fu", 3, 3, true},
        {"fu", 0xffffffff, 0xffffffff, true},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rooms); i++) {
        _cleanup_(buffer_clear) struct buffer buffer = {0};
        buffer_append_u32(&buffer, rooms[i].said);
        struct message_arguments arguments;
        read_one(&buffer, rooms[i].signature, &arguments);
        assert_int_equal(arguments.room, rooms[i].room);
        assert_int_equal(arguments.has_buffer, rooms[i].has_buffer);
    }
}

/* What C_GetAttributeValue is answered, attribute by attribute. */
static const struct {
    const char *name;
    CK_ATTRIBUTE_TYPE type;
    CK_ULONG room; /* 0: only the size is asked for */
    CK_ULONG size; /* of the value; CK_UNAVAILABLE_INFORMATION: there is none */
    CK_RV rv, wanted_rv;
    uint8_t wanted[32];
    size_t wanted_size;
} replies[] = {
    {"a label", CKA_LABEL, 8, 3, CKR_OK, CKR_OK, {N4(3), 1, N4(3), N4(3), 'a', 'p', 'i'}, 16},
    {"its size", CKA_LABEL, 0, 3, CKR_OK, CKR_OK, {N4(3), 1, N4(3), NULL_ARRAY}, 13},
    {"too little room", CKA_LABEL, 2, 3, CKR_OK, CKR_BUFFER_TOO_SMALL, {N4(3), 0}, 5},
    {"room of 2 GiB",
     CKA_LABEL,
     0x7ffffff0,
     3,
     CKR_OK,
     CKR_OK,
     {N4(3), 1, N4(3), N4(3), 'a', 'p', 'i'},
     16},
    {"a value that nobody has",
     CKA_LABEL,
     8,
     CK_UNAVAILABLE_INFORMATION,
     CKR_ATTRIBUTE_TYPE_INVALID,
     CKR_ATTRIBUTE_TYPE_INVALID,
     {N4(3), 0},
     5},
    {"a secret",
     CKA_VALUE,
     8,
     CK_UNAVAILABLE_INFORMATION,
     CKR_ATTRIBUTE_SENSITIVE,
     CKR_ATTRIBUTE_SENSITIVE,
     {N4(0x11), 0},
     5},
    {"a class", CKA_CLASS, 8, 8, CKR_OK, CKR_OK, {N4(0), 1, N4(8), N8(3)}, 17},
    {"the size of a class", CKA_CLASS, 0, 8, CKR_OK, CKR_OK, {N4(0), 1, N4(8), N8(0)}, 17},
    {"a byte", CKA_SIGN, 1, 1, CKR_OK, CKR_OK, {0, 0, 1, 8, 1, N4(1), 3}, 10},
    {"mechanisms, which none has",
     CKA_ALLOWED_MECHANISMS,
     8,
     8,
     CKR_OK,
     CKR_OK,
     {0x40, 0, 6, 0, 0},
     5},
};

static void test_attribute_replies(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(replies); i++) {
        _cleanup_(buffer_clear) struct buffer buffer = {0};
        CK_ULONG number = CKO_PRIVATE_KEY;
        CK_ATTRIBUTE asked = {replies[i].type, replies[i].room ? &asked : NULL, replies[i].room};
        void *value = replies[i].type == CKA_LABEL ? (void *)"api" : &number;
        CK_ATTRIBUTE values = {replies[i].type, value, replies[i].size};
        struct message_reply reply = message_begin_reply(&buffer, 1, 24, "aAu");
        size_t start = buffer.size;
        assert_int_equal(message_write_attributes(&reply, &asked, &values, 1, replies[i].rv),
                         CKR_OK);
        struct reader reader = reader_of((struct bytes){buffer.data + start, buffer.size - start});
        assert_int_equal(reader_u32(&reader), 1);
        struct bytes got = reader_bytes(&reader, replies[i].wanted_size);
        struct bytes wanted = {replies[i].wanted, replies[i].wanted_size};
        if (!bytes_is_equal(got, wanted) || reader_u64(&reader) != replies[i].wanted_rv ||
            !reader_is_done(&reader)) {
            fail_msg("%s", replies[i].name);
        }
    }
}

static void test_replies_are_bounded(void **state)
{
    (void)state;
    static uint8_t large[MESSAGE_BODY_MAX];
    for (size_t size = MESSAGE_BODY_MAX - 200; size <= MESSAGE_BODY_MAX; size++) {
        _cleanup_(buffer_clear) struct buffer buffer = {0};
        CK_ATTRIBUTE asked = {CKA_VALUE, &asked, sizeof(large)};
        CK_ATTRIBUTE value = {CKA_VALUE, large, size};
        struct message_reply reply = message_begin_reply(&buffer, 1, 24, "aAu");
        CK_RV rv = message_write_attributes(&reply, &asked, &value, 1, CKR_OK);
        assert_true(buffer.size <= MESSAGE_FRAME_MAX);
        assert_true(rv == CKR_OK || rv == CKR_DEVICE_MEMORY);
    }
}

static void test_error_replaces_reply(void **state)
{
    (void)state;
    _cleanup_(buffer_clear) struct buffer buffer = {0};
    buffer_append_text(&buffer, "before");
    struct message_reply reply = message_begin_reply(&buffer, 9, 10, "u");
    message_write_number(&reply, 1);
    message_reply_error(&reply, 9, CKR_SESSION_COUNT);
    struct rpc_reply read;
    assert_true(rpc_read_reply((struct bytes){buffer.data + 6, buffer.size - 6}, &read));
    assert_int_equal(read.code, 9);
    assert_int_equal(read.id, RPC_ERROR);
    assert_int_equal(read.rv, CKR_SESSION_COUNT);
    assert_int_equal(read.size + 6, buffer.size);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frames),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_attribute_values),
        cmocka_unit_test(test_too_many_attributes),
        cmocka_unit_test(test_rooms),
        cmocka_unit_test(test_attribute_replies),
        cmocka_unit_test(test_replies_are_bounded),
        cmocka_unit_test(test_error_replaces_reply),
    };
    return cmocka_run_group_tests_name("message", tests, NULL, NULL);
}
