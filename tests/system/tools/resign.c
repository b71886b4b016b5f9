/* What a program can do with a connection to the PKCS#11 socket that it inherited: asks for the end
 * of a signature that its session began (C_Sign of p11-kit's RPC), and says what came of it:
 * "signed", "CKR 0x..", or "closed".
 *
 *   resign DESCRIPTOR SESSION
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "pkcs11/token/message.h"

enum { CALL_SIGN = 43, CODE = 0x7fff, SIGNATURE_ROOM = 256 };

static size_t read_all(int descriptor, uint8_t *to, size_t size)
{
    size_t done = 0;
    for (ssize_t got = 1; done < size && got > 0; done += got > 0 ? (size_t)got : 0) {
        got = read(descriptor, to + done, size - done);
    }
    return done;
}

static bool ask(int descriptor, CK_SESSION_HANDLE session)
{
    const uint8_t digest[32] = {2};
    _cleanup_(buffer_clear) struct buffer request = {0};
    struct message_reply frame = message_begin_reply(&request, CODE, CALL_SIGN, "uayfy");
    buffer_append_u64(&request, session);
    buffer_append_u8(&request, 1);
    buffer_append_u32(&request, sizeof(digest));
    buffer_append(&request, digest, sizeof(digest));
    buffer_append_u32(&request, SIGNATURE_ROOM);
    message_end_reply(&frame);
    return write(descriptor, request.data, request.size) == (ssize_t)request.size;
}

static void say_answer(int descriptor)
{
    static uint8_t reply[MESSAGE_FRAME_MAX];
    struct message_frame frame;
    uint32_t id = 0;
    struct bytes signature;
    size_t size = read_all(descriptor, reply, MESSAGE_HEADER_BYTES);
    struct reader header = reader_of((struct bytes){reply, size});
    (void)reader_u32(&header);
    size_t more = (size_t)reader_u32(&header) + reader_u32(&header);
    if (header.is_bad || more > MESSAGE_BODY_MAX ||
        read_all(descriptor, reply + MESSAGE_HEADER_BYTES, more) < more ||
        message_read_frame((struct bytes){reply, MESSAGE_HEADER_BYTES + more}, &frame) !=
            MESSAGE_FRAME_COMPLETE) {
        printf("closed\n");
        return;
    }
    struct reader payload = reader_of(frame.payload);
    if (!message_read_call(&payload, &id, &signature)) {
        printf("not understood\n");
    } else if (id == MESSAGE_CALL_ERROR) {
        printf("CKR 0x%llx\n", (unsigned long long)reader_u64(&payload));
    } else {
        printf("signed\n");
    }
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        (void)fprintf(stderr, "usage: resign DESCRIPTOR SESSION\n");
        return 2;
    }
    int descriptor = (int)strtol(argv[1], NULL, 10);
    if (ask(descriptor, strtoul(argv[2], NULL, 10))) {
        say_answer(descriptor);
    } else {
        printf("closed\n");
    }
    return 0;
}
