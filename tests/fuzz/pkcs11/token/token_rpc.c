/* What a client sends over a connection of the token's socket: the version and then frames, acted
 * on as the server does. Eight bytes, "OBJECT" and a number of two bytes, stand for the handle of
 * one of the token's objects, as handles differ from run to run. */
#include "tests/fuzz/fuzz.h"

#include <openssl/x509.h>
#include <poll.h>
#include <string.h>

#include "lib/base/memory.h"
#include "pkcs11/memory/memory.h"
#include "pkcs11/token/dispatch_long.h"

enum { OBJECTS_MAX = 16, CALLS_MAX = 64, HANDLE_BYTES = 8, YEAR_S = 365 * 24 * 3600 };

static const char marker[] = "OBJECT";

/* Made once, for all inputs. */
struct token {
    struct keystore *keystore;
    struct mailbox *mailbox;
    struct token_view *view;
    CK_OBJECT_HANDLE objects[OBJECTS_MAX];
    size_t object_count;
    size_t under_way;
    struct token_guard guard;
    unsigned admits; /* of one input */
};

struct run {
    struct token *token;
    struct dispatch dispatch;
    struct dispatch_counters counters;
    struct buffer output;
    bool is_waiting;
};

static void must(bool is_true)
{
    if (!is_true) {
        abort();
    }
}

/* A certificate with the key, signed by another. */
static void certify(struct key *key, struct buffer *ret_der)
{
    EVP_PKEY *ca = EVP_EC_gen("P-256");
    const uint8_t *at = key_public_der(key).data;
    EVP_PKEY *public = d2i_PUBKEY(NULL, &at, (long)key_public_der(key).size);
    X509 *certificate = X509_new();
    uint8_t *der = NULL;
    must(ca && public && ASN1_INTEGER_set(X509_get_serialNumber(certificate), 7) == 1 &&
         X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                                    (const uint8_t *)"fuzz", -1, -1, 0) == 1 &&
         X509_gmtime_adj(X509_getm_notBefore(certificate), 0) &&
         X509_gmtime_adj(X509_getm_notAfter(certificate), YEAR_S) &&
         X509_set_pubkey(certificate, public) == 1 && X509_sign(certificate, ca, EVP_sha256()) > 0);
    int size = i2d_X509(certificate, &der);
    must(size > 0);
    buffer_append(ret_der, der, (size_t)size);
    OPENSSL_free(der);
    X509_free(certificate);
    EVP_PKEY_free(public);
    EVP_PKEY_free(ca);
}

static struct token_generation *make_generation(struct token *token, enum key_type type)
{
    struct key *key = NULL;
    struct token_generation *generation = NULL;
    _cleanup_(buffer_clear) struct buffer der = {0};
    must(keystore_key_generate(token->keystore, type, NULL, KEYSTORE_PRIORITY_ISSUE, &key, NULL) ==
         0);
    certify(key, &der);
    const struct token_generation_config config = {.label = key_type_name(type),
                                                   .key = key,
                                                   .chain = buffer_bytes(&der),
                                                   .expires_at_s = INT64_MAX};
    must(token_generation_new(&config, &generation, NULL) == 0);
    key_unref(key);
    return generation;
}

/* Every answer that a guard can give, in turn: yes, no, yes a little later, no a little later. */
static CK_RV admit(struct token_guard *guard, uint64_t tag, struct token_question *question,
                   bool *ret_is_late)
{
    struct token *token = container_of(guard, struct token, guard);
    (void)tag;
    unsigned turn = token->admits++;
    CK_RV rv = turn & 1 ? CKR_KEY_FUNCTION_NOT_PERMITTED : CKR_OK;
    *ret_is_late = turn & 2;
    if (*ret_is_late) {
        token_question_answer(question, rv);
    }
    return rv;
}

static void used(struct token_guard *guard, uint64_t tag, CK_RV rv)
{
    (void)guard;
    (void)tag;
    (void)rv;
}

static void never_freed(struct token_guard *guard)
{
    (void)guard;
    abort();
}

static const struct token_guard_operations operations = {
    .admit = admit, .used = used, .free = never_freed};

static struct token_caller *new_caller(struct token *token)
{
    const struct token_caller_config config = {
        .mailbox = token->mailbox, .flow = 1, .under_way = &token->under_way};
    struct token_caller *caller = token_caller_new(&config);
    token_caller_set_view(caller, token->view, &token->guard);
    return caller;
}

static void list_objects(struct token *token)
{
    CK_SESSION_HANDLE session;
    struct token_caller *caller = new_caller(token);
    must(token_open_session(caller, TOKEN_SLOT_ID, CKF_SERIAL_SESSION, &session) == CKR_OK);
    must(token_find_init(caller, session, NULL, 0) == CKR_OK);
    must(token_find(caller, session, token->objects, OBJECTS_MAX, &token->object_count) == CKR_OK);
    token_caller_free(caller);
}

static struct token the_one;

/* With its thread, and what OpenSSL keeps for that. */
static void free_token(void)
{
    token_view_unref(the_one.view);
    keystore_free(the_one.keystore);
    mailbox_free(the_one.mailbox);
}

static struct token *the_token(void)
{
    if (the_one.view) {
        return &the_one;
    }
    const struct keystore_config config = {.name = "memory", .driver = &keystore_driver_memory};
    the_one.guard.operations = &operations;
    atomic_init(&the_one.guard.references, 1);
    must(secret_init(NULL) == 0);
    must(keystore_new(&config, &the_one.keystore, NULL) == 0);
    must(mailbox_new(&the_one.mailbox, NULL) == 0);
    struct token_generation *generations[] = {make_generation(&the_one, KEY_TYPE_EC_P256),
                                              make_generation(&the_one, KEY_TYPE_RSA_2048)};
    the_one.view = token_view_new(generations, 2, NULL, 0, NULL);
    token_generation_unref(generations[0]);
    token_generation_unref(generations[1]);
    list_objects(&the_one);
    must(atexit(free_token) == 0);
    return &the_one;
}

static void put_handles(const struct token *token, uint8_t *bytes, size_t size)
{
    size_t text_size = strlen(marker);
    for (size_t i = 0; i + HANDLE_BYTES <= size; i++) {
        if (memcmp(bytes + i, marker, text_size) == 0) {
            size_t number = bytes[i + text_size + 1];
            CK_OBJECT_HANDLE handle = token->objects[number % token->object_count];
            for (size_t j = 0; j < HANDLE_BYTES; j++) {
                bytes[i + j] = (uint8_t)(handle >> (8 * (HANDLE_BYTES - 1 - j)));
            }
        }
    }
}

static void on_signed(void *user, CK_RV rv, struct bytes signature)
{
    struct run *run = user;
    run->is_waiting = false;
    dispatch_finish(&run->dispatch, rv, signature, &run->output);
}

static void deliver(struct token *token)
{
    struct pollfd readable = {.fd = mailbox_descriptor(token->mailbox), .events = POLLIN};
    must(poll(&readable, 1, -1) == 1);
    mailbox_deliver(token->mailbox);
}

/* One whole frame has come back, within the limits. */
static void check_reply(const struct buffer *output)
{
    struct message_frame frame;
    must(message_read_frame(buffer_bytes(output), &frame) == MESSAGE_FRAME_COMPLETE);
    must(frame.size == output->size);
}

static void serve(struct run *run, struct reader *input)
{
    for (int calls = 0; calls < CALLS_MAX; calls++) {
        buffer_reset(&run->output);
        enum dispatch_result result = dispatch_next(&run->dispatch, input, &run->output);
        run->is_waiting = result == DISPATCH_WAITS;
        while (run->is_waiting) {
            deliver(run->token);
        }
        if (result == DISPATCH_MALFORMED || result == DISPATCH_NEEDS_BYTES) {
            return;
        }
        check_reply(&run->output);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct run run = {.token = the_token()};
    _cleanup_(free_cleanup) uint8_t *bytes = memory_new(size);
    if (size > 0) {
        memcpy(bytes, data, size);
    }
    put_handles(run.token, bytes, size);
    run.token->admits = 0;
    struct reader input = reader_of((struct bytes){bytes, size});
    run.dispatch = (struct dispatch){
        .caller = new_caller(run.token),
        .counters = &run.counters,
        .is_modern = reader_u8(&input) > 0,
        .is_signed = on_signed,
        .user = &run,
    };
    serve(&run, &input);
    dispatch_long_end(&run.dispatch);
    token_caller_free(run.dispatch.caller);
    while (run.token->under_way > 0) {
        deliver(run.token);
    }
    buffer_clear(&run.output);
    return 0;
}

/* One of the whole frames after the version; false: there is none. */
static bool choose_frame(struct bytes input, size_t choice, size_t *ret_start,
                         struct message_frame *ret_frame)
{
    size_t starts[CALLS_MAX];
    size_t count = 0;
    struct reader reader = reader_of(input);
    (void)reader_u8(&reader);
    while (count < CALLS_MAX &&
           message_read_frame(reader.rest, ret_frame) == MESSAGE_FRAME_COMPLETE) {
        starts[count++] = input.size - reader.rest.size;
        (void)reader_bytes(&reader, ret_frame->size);
    }
    if (count == 0) {
        return false;
    }
    *ret_start = starts[choice % count];
    struct bytes chosen = {input.data + *ret_start, input.size - *ret_start};
    return message_read_frame(chosen, ret_frame) == MESSAGE_FRAME_COMPLETE;
}

/* Changes what is in a frame, which stays whole. */
static size_t change_payload(uint8_t *data, size_t size, size_t max_size, size_t start,
                             const struct message_frame *frame)
{
    size_t old_size = frame->payload.size;
    uint8_t *payload = data + start + frame->size - old_size;
    _cleanup_(buffer_clear) struct buffer tail = {0};
    buffer_append(&tail, payload + old_size, size - start - frame->size);
    size_t new_size = LLVMFuzzerMutate(payload, old_size, max_size - (size - old_size));
    for (size_t i = 0; i < sizeof(uint32_t); i++) {
        data[start + MESSAGE_HEADER_BYTES - 1 - i] = (uint8_t)(new_size >> (8 * i));
    }
    if (tail.size > 0) {
        memcpy(payload + new_size, tail.data, tail.size);
    }
    return size - old_size + new_size;
}

/* Most changes of bytes make the stream end at a broken frame: here are those behind which it goes
 * on. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    struct message_frame frame;
    size_t start;
    if (seed % 4 == 0 || !choose_frame((struct bytes){data, size}, seed / 4, &start, &frame)) {
        return LLVMFuzzerMutate(data, size, max_size);
    }
    size_t end = start + frame.size;
    if (seed % 4 == 1 && size + frame.size <= max_size) { /* twice */
        memmove(data + end, data + start, size - start);
        return size + frame.size;
    }
    if (seed % 4 == 2) { /* not at all */
        memmove(data + start, data + end, size - end);
        return size - frame.size;
    }
    return change_payload(data, size, max_size, start, &frame);
}
