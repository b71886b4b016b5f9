/* Calls that are larger than a frame that is kept whole. */
#include "tests/unit/cmocka_all.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

#include "pkcs11/token/message.h"
#include "tests/unit/pkcs11/token/peers.h"

enum { LONG_BYTES = 1000 * 1000, ROOM_BYTES = 512 };

struct fixed {
    struct place place;
    struct peer peer;
    struct buffer data;      /* to be signed */
    struct buffer signature; /* of all of it, by parts that are short */
};

static int set_up_long(void **state)
{
    struct fixed *fixed = NEW(struct fixed);
    set_up(&fixed->place);
    connect_peer(&fixed->place, &fixed->peer);
    open_session(&fixed->peer);
    for (int i = 0; i < LONG_BYTES; i++) {
        buffer_append_u8(&fixed->data, (uint8_t)(i * 7 + i / 251));
    }
    *state = fixed;
    return 0;
}

static int tear_down_long(void **state)
{
    struct fixed *fixed = *state;
    disconnect_peer(&fixed->peer);
    tear_down(&fixed->place);
    buffer_clear(&fixed->data);
    buffer_clear(&fixed->signature);
    free(fixed);
    return 0;
}

static struct bytes signature_of(struct peer *peer)
{
    assert_int_equal(reader_u8(&peer->reply.values), 1);
    return reader_bytes(&peer->reply.values, reader_u32(&peer->reply.values));
}

static CK_RV update(struct peer *peer, struct bytes part)
{
    return call(peer, RPC_SIGN_UPDATE, "uay", "ua", peer->session, part.size, part.data);
}

static CK_RV final(struct peer *peer)
{
    return call(peer, RPC_SIGN_FINAL, "ufy", "uf", peer->session, ROOM_BYTES);
}

static CK_RV sign_all(struct peer *peer, struct bytes data, uint32_t room)
{
    return call(peer, RPC_SIGN, "uayfy", "uaf", peer->session, data.size, data.data, room);
}

/* RSA's PKCS #1 v1.5 gives the same signature for the same data. */
static void sign_by_parts(struct fixed *fixed)
{
    const size_t most = 50000;
    struct reader rest = reader_of(buffer_bytes(&fixed->data));
    assert_int_equal(sign_init(&fixed->place, &fixed->peer, true), CKR_OK);
    while (!reader_is_done(&rest)) {
        struct bytes part = reader_bytes(&rest, MIN(rest.rest.size, most));
        assert_int_equal(update(&fixed->peer, part), CKR_OK);
    }
    assert_int_equal(final(&fixed->peer), CKR_OK);
    struct bytes signature = signature_of(&fixed->peer);
    buffer_reset(&fixed->signature);
    buffer_append(&fixed->signature, signature.data, signature.size);
}

static void assert_signature(struct fixed *fixed)
{
    struct bytes signature = signature_of(&fixed->peer);
    assert_true(bytes_is_equal(signature, buffer_bytes(&fixed->signature)));
}

static void test_long_data_is_signed(void **state)
{
    struct fixed *fixed = *state;
    struct peer *peer = &fixed->peer;
    struct bytes data = buffer_bytes(&fixed->data);
    sign_by_parts(fixed);
    assert_int_equal(sign_init(&fixed->place, peer, true), CKR_OK);
    assert_int_equal(sign_all(peer, data, ROOM_BYTES), CKR_OK);
    assert_signature(fixed);
    /* In two parts, a long and a short one. */
    assert_int_equal(sign_init(&fixed->place, peer, true), CKR_OK);
    assert_int_equal(update(peer, (struct bytes){data.data, data.size - 3}), CKR_OK);
    assert_int_equal(update(peer, (struct bytes){data.data + data.size - 3, 3}), CKR_OK);
    assert_int_equal(final(peer), CKR_OK);
    assert_signature(fixed);
    /* Around the size from which on calls are long: their arguments are some 30 bytes. */
    for (size_t size = MESSAGE_BODY_MAX - 40; size < MESSAGE_BODY_MAX + 10; size++) {
        fixed->data.size = size;
        data.size = size;
        sign_by_parts(fixed);
        assert_int_equal(sign_init(&fixed->place, peer, true), CKR_OK);
        assert_int_equal(sign_all(peer, data, ROOM_BYTES), CKR_OK);
        assert_signature(fixed);
    }
}

/* Asking for the size does not end the operation, and what was asked with does not count. */
static void test_size_comes_first(void **state)
{
    struct fixed *fixed = *state;
    struct peer *peer = &fixed->peer;
    struct bytes data = buffer_bytes(&fixed->data);
    static const uint32_t rooms[] = {0, 0xffffffff, 255};
    sign_by_parts(fixed);
    assert_int_equal(sign_init(&fixed->place, peer, true), CKR_OK);
    for (size_t i = 0; i < ARRAY_SIZE(rooms); i++) {
        assert_int_equal(sign_all(peer, data, rooms[i]), CKR_OK);
        assert_int_equal(reader_u8(&peer->reply.values), 0);
        assert_int_equal(reader_u32(&peer->reply.values), 256);
    }
    assert_int_equal(sign_all(peer, data, ROOM_BYTES), CKR_OK);
    assert_signature(fixed);
    assert_int_equal(sign_all(peer, data, ROOM_BYTES), CKR_OPERATION_NOT_INITIALIZED);
}

/* Each is answered, and the connection goes on. */
static void test_long_calls_are_refused(void **state)
{
    struct fixed *fixed = *state;
    struct peer *peer = &fixed->peer;
    struct bytes data = buffer_bytes(&fixed->data);
    CK_ULONG wrong = peer->session + 1;
    /* ECDSA signs a digest. */
    assert_int_equal(sign_init(&fixed->place, peer, false), CKR_OK);
    assert_int_equal(sign_all(peer, data, ROOM_BYTES), CKR_DATA_LEN_RANGE);
    assert_int_equal(update(peer, data), CKR_OPERATION_NOT_INITIALIZED);
    assert_int_equal(sign_all(peer, data, 0), CKR_OPERATION_NOT_INITIALIZED);
    /* C_Sign cannot end what C_SignUpdate began. */
    assert_int_equal(sign_init(&fixed->place, peer, true), CKR_OK);
    assert_int_equal(update(peer, data), CKR_OK);
    assert_int_equal(sign_all(peer, data, ROOM_BYTES), CKR_OPERATION_NOT_INITIALIZED);
    assert_int_equal(final(peer), CKR_OPERATION_NOT_INITIALIZED);
    assert_int_equal(call(peer, RPC_SIGN_UPDATE, "uay", "ua", wrong, data.size, data.data),
                     CKR_SESSION_HANDLE_INVALID);
    assert_int_equal(
        call(peer, RPC_FIND_OBJECTS_INIT, "uaA", "ur", peer->session, data.size, data.data),
        CKR_ARGUMENTS_BAD);
    assert_int_equal(call(peer, RPC_SET_ATTRIBUTE_VALUE, "uuaA", "r", data.size, data.data),
                     CKR_ATTRIBUTE_READ_ONLY);
    assert_int_equal(call(peer, RPC_SEED_RANDOM, "uay", "ua", peer->session, data.size, data.data),
                     CKR_RANDOM_SEED_NOT_SUPPORTED);
    assert_int_equal(sign_init(&fixed->place, peer, false), CKR_OK);
    assert_int_equal(sign(peer), CKR_OK);
    assert_int_equal(call(peer, RPC_FINALIZE, "", ""), CKR_OK);
    assert_int_equal(update(peer, data), CKR_CRYPTOKI_NOT_INITIALIZED);
    assert_int_equal(peer->closed, 0);
}

/* What its header, or its arguments, say of the size is not so, or there is no such call. */
static void test_malformed_long_calls(void **state)
{
    struct fixed *fixed = *state;
    static const struct {
        uint32_t id, data_size;
        const char *signature;
        uint8_t is_there;
    } bad[] = {
        {RPC_SIGN, LONG_BYTES, "uayfy", 0},        {RPC_SIGN, LONG_BYTES - 4, "uayfy", 1},
        {RPC_SIGN, 0xffffffff, "uayfy", 1},        {RPC_SIGN, 0, "uayfy", 1},
        {RPC_SIGN_UPDATE, LONG_BYTES, "uay", 0},   {RPC_SIGN_UPDATE, LONG_BYTES + 1, "uay", 1},
        {RPC_SIGN_UPDATE, LONG_BYTES, "uayfy", 1}, {RPC_IDS, LONG_BYTES, "uay", 1},
        {RPC_ERROR, LONG_BYTES, "u", 1},
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct peer peer;
        _cleanup_(buffer_clear) struct buffer request = {0};
        connect_peer(&fixed->place, &peer);
        open_session(&peer);
        assert_int_equal(sign_init(&fixed->place, &peer, true), CKR_OK);
        size_t start = rpc_begin(&request, RPC_CODE, bad[i].id, bad[i].signature);
        buffer_append_u64(&request, peer.session);
        buffer_append_u8(&request, bad[i].is_there);
        buffer_append_u32(&request, bad[i].data_size);
        size_t there = request.size;
        memset(buffer_extend(&request, LONG_BYTES), 0, LONG_BYTES);
        rpc_end(&request, start);
        send_bytes(&peer, (struct bytes){request.data, there + 64});
        buffer_reset(&peer.received);
        assert_true(is_ended(&fixed->place, &peer, FIXTURE_WAIT_MS));
        assert_int_equal(peer.received.size, 0);
        disconnect_peer(&peer);
    }
}

/* Others are served meanwhile; the rest may come in any pieces. */
static void test_long_call_in_pieces(void **state)
{
    struct fixed *fixed = *state;
    struct peer *peer = &fixed->peer;
    struct peer other;
    connect_peer(&fixed->place, &other);
    open_session(&other);
    sign_by_parts(fixed);
    _cleanup_(buffer_clear) struct buffer request = {0};
    rpc_request(&request, RPC_SIGN, "uayfy", "uaf", peer->session, fixed->data.size,
                fixed->data.data, ROOM_BYTES);
    assert_int_equal(sign_init(&fixed->place, peer, true), CKR_OK);
    struct reader rest = reader_of(buffer_bytes(&request));
    for (size_t size = 1; !reader_is_done(&rest); size = size * 2 + 1) {
        /* At the end one by one: the room behind the data too. */
        size_t most = rest.rest.size > 16 ? rest.rest.size - 16 : 1;
        send_bytes(peer, reader_bytes(&rest, MIN(size, most)));
        assert_int_equal(call(&other, RPC_GET_INFO, "", ""), CKR_OK);
    }
    receive_reply(peer);
    assert_int_equal(peer->reply.rv, CKR_OK);
    assert_signature(fixed);
    disconnect_peer(&other);
}

/* Until the server has received what was sent. */
static void wait_until_received(const struct peer *peer)
{
    uint64_t end_ms = clock_monotonic_ms() + FIXTURE_WAIT_MS;
    int unread = 1;
    while (unread > 0) {
        assert_true(clock_monotonic_ms() < end_ms);
        assert_int_equal(ioctl(peer->descriptor, SIOCOUTQ, &unread), 0);
        (void)usleep(1000);
    }
}

/* The call fails, since what was hashed stays behind; the connection does not. */
static void test_hand_over_of_a_long_call(void **state)
{
    struct fixed *fixed = *state;
    struct peer *peer = &fixed->peer;
    sign_by_parts(fixed);
    _cleanup_(buffer_clear) struct buffer request = {0};
    rpc_request(&request, RPC_SIGN, "uayfy", "uaf", peer->session, fixed->data.size,
                fixed->data.data, ROOM_BYTES);
    static const size_t cuts[] = {40, 100, LONG_BYTES / 2};
    for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
        assert_int_equal(sign_init(&fixed->place, peer, true), CKR_OK);
        send_bytes(peer, (struct bytes){request.data, cuts[i]});
        wait_until_received(peer);
        hand_over(&fixed->place, peer);
        send_bytes(peer, (struct bytes){request.data + cuts[i], request.size - cuts[i]});
        receive_reply(peer);
        /* With 40 bytes it was not begun. */
        if (peer->reply.rv == CKR_OK) {
            assert_signature(fixed);
        } else {
            assert_int_equal(peer->reply.rv, CKR_DEVICE_ERROR);
        }
        assert_int_equal(peer->reply.rv == CKR_OK, cuts[i] < 18 + MESSAGE_LONG_START_BYTES);
    }
    assert_int_equal(final(peer), CKR_OPERATION_NOT_INITIALIZED);
    assert_int_equal(sign_init(&fixed->place, peer, true), CKR_OK);
    assert_int_equal(sign_all(peer, buffer_bytes(&fixed->data), ROOM_BYTES), CKR_OK);
    assert_signature(fixed);
}

/* Half of one, and then nothing. */
static void test_long_call_that_stops(void **state)
{
    struct fixed *fixed = *state;
    struct peer *peer = &fixed->peer;
    _cleanup_(buffer_clear) struct buffer request = {0};
    rpc_request(&request, RPC_SIGN_UPDATE, "uay", "ua", peer->session, fixed->data.size,
                fixed->data.data);
    assert_int_equal(sign_init(&fixed->place, peer, true), CKR_OK);
    send_bytes(peer, (struct bytes){request.data, LONG_BYTES / 2});
    assert_true(is_ended(&fixed->place, peer, FIXTURE_WAIT_MS));
}

#define LONG_TEST(test) cmocka_unit_test_setup_teardown(test, set_up_long, tear_down_long)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LONG_TEST(test_long_data_is_signed),    LONG_TEST(test_size_comes_first),
        LONG_TEST(test_long_calls_are_refused), LONG_TEST(test_malformed_long_calls),
        LONG_TEST(test_long_call_in_pieces),    LONG_TEST(test_hand_over_of_a_long_call),
        LONG_TEST(test_long_call_that_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
