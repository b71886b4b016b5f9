#include <openssl/hmac.h>

#include "attest/evidence.h"
#include "attest/evidence_scan.h"
#include "attest/public.h"

enum {
    CHALLENGE_VERSION = 1,
    ID_OBJECT_MAX_BYTES = 256,
    ENCRYPTED_SECRET_MAX_BYTES = 1024,
};

void challenge_clear(struct challenge *challenge)
{
    buffer_clear(&challenge->ak_name);
    buffer_clear(&challenge->id_object);
    buffer_clear(&challenge->encrypted_secret);
    *challenge = (struct challenge){0};
}

#define FIELD(field) offsetof(struct challenge, field)
static const struct scan_member members[] = {
    {"version", scan_version, 0, true, 0, CHALLENGE_VERSION, NULL},
    {"ak_name", scan_base64, FIELD(ak_name), true, 1, NAME_MAX_BYTES, NULL},
    {"id_object", scan_base64, FIELD(id_object), true, 1, ID_OBJECT_MAX_BYTES, NULL},
    {"encrypted_secret", scan_base64, FIELD(encrypted_secret), true, 1, ENCRYPTED_SECRET_MAX_BYTES,
     NULL},
    {0},
};
#undef FIELD

int challenge_parse(struct bytes json, struct challenge *ret_challenge, struct error *err)
{
    if (json.size > CHALLENGE_MAX_BYTES) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "reading a challenge: it has %zu bytes, more than the %d that are allowed",
                         json.size, CHALLENGE_MAX_BYTES);
    }
    _cleanup_(challenge_clear) struct challenge challenge = {0};
    if (scan_document(json, members, &challenge, err) < 0) {
        return error_prepend(err, "reading a challenge");
    }
    *ret_challenge = challenge;
    challenge = (struct challenge){0};
    return 0;
}

int challenge_answer(struct bytes hidden, struct bytes nonce, struct buffer *ret_activated,
                     struct error *err)
{
    static const char label[] = "signet answer 1";
    _cleanup_(buffer_clear) struct buffer input = {0};
    uint8_t answer[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    buffer_append(&input, label, sizeof(label));
    buffer_append(&input, nonce.data, nonce.size);
    if (!HMAC(EVP_sha256(), hidden.data, (int)hidden.size, input.data, input.size, answer, &size)) {
        return error_set_openssl(err, ERROR_INTERNAL, "answering a challenge");
    }
    buffer_append(ret_activated, answer, size);
    return 0;
}
