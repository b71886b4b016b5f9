/* PKCS#8 (RFC 5958) of a new key, written straight into guarded memory. */
#include <openssl/x509.h>
#include <string.h>

#include "pkcs11/key_type.h"
#include "pkcs11/memory/memory.h"
#include "pkcs11/memory/private_numbers.h"

/* More than the DER of any type of key. */
enum { DER_MAX_BYTES = 2048 };

enum {
    TAG_INTEGER = 0x02,
    TAG_BIT_STRING = 0x03,
    TAG_OCTET_STRING = 0x04,
    TAG_SEQUENCE = 0x30,
    TAG_PUBLIC_KEY = 0xa1, /* [1] of ECPrivateKey, RFC 5915 3 */
};

/* DER is written from its end to its start, since a length stands before what it counts. */
struct der {
    uint8_t *start;
    uint8_t *at;
};

static void put_byte(struct der *der, uint8_t value)
{
    if (der->at == der->start) {
        abort();
    }
    *--der->at = value;
}

static void put_bytes(struct der *der, const uint8_t *data, size_t size)
{
    while (size > 0) {
        put_byte(der, data[--size]);
    }
}

/* Tag and length of what lies between at and end. */
static void put_header(struct der *der, uint8_t tag, const uint8_t *end)
{
    size_t size = (size_t)(end - der->at);
    if (size < 0x80) {
        put_byte(der, (uint8_t)size);
    } else {
        uint8_t count = 0;
        for (; size > 0; size >>= 8) {
            put_byte(der, (uint8_t)size);
            count++;
        }
        put_byte(der, 0x80 | count);
    }
    put_byte(der, tag);
}

/* Byte i of a number of the host's byte order, counted from the least. */
static uint8_t byte_of(const uint8_t *number, size_t size, size_t i)
{
    return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? number[i] : number[size - 1 - i];
}

static void put_number(struct der *der, const uint8_t *number, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        put_byte(der, byte_of(number, size, i));
    }
}

static void put_integer(struct der *der, const uint8_t *number, size_t size)
{
    const uint8_t *end = der->at;
    size_t used = size;
    while (used > 1 && byte_of(number, size, used - 1) == 0) {
        used--;
    }
    for (size_t i = 0; i < used; i++) {
        put_byte(der, byte_of(number, size, i));
    }
    if (*der->at & 0x80) {
        put_byte(der, 0);
    }
    put_header(der, TAG_INTEGER, end);
}

static void put_version(struct der *der, uint8_t version)
{
    const uint8_t *end = der->at;
    put_byte(der, version);
    put_header(der, TAG_INTEGER, end);
}

/* ECPrivateKey, RFC 5915 3; the curve is named by the algorithm identifier. */
static void put_ec_key(struct der *der, const struct private_numbers *numbers, struct bytes point)
{
    const uint8_t *end = der->at;
    put_bytes(der, point.data, point.size);
    put_byte(der, 0); /* of a BIT STRING: no unused bits */
    put_header(der, TAG_BIT_STRING, end);
    put_header(der, TAG_PUBLIC_KEY, end);
    const uint8_t *private_end = der->at;
    put_number(der, numbers->values.data, numbers->values.size);
    put_header(der, TAG_OCTET_STRING, private_end);
    put_version(der, 1);
    put_header(der, TAG_SEQUENCE, end);
}

/* RSAPrivateKey, RFC 8017 A.1.2. */
static void put_rsa_key(struct der *der, const struct private_numbers *numbers)
{
    const uint8_t *end = der->at;
    const struct private_number *layout = private_number_layout(numbers->type);
    size_t offset = numbers->values.size;
    for (size_t i = PRIVATE_NUMBERS_MAX; i-- > 0;) {
        offset -= layout[i].size_bytes;
        put_integer(der, numbers->values.data + offset, layout[i].size_bytes);
    }
    put_version(der, 0);
    put_header(der, TAG_SEQUENCE, end);
}

/* What the SubjectPublicKeyInfo says that the private key says too. Nothing of it is secret. */
struct public_parts {
    X509_PUBKEY *parsed;
    unsigned char *algorithm;
    int algorithm_size;
    struct bytes point;
};

static void public_parts_clear(struct public_parts *parts)
{
    X509_PUBKEY_free(parts->parsed);
    OPENSSL_free(parts->algorithm);
}

static int parse_public(const struct buffer *spki, struct public_parts *ret_parts,
                        struct error *err)
{
    const unsigned char *at = spki->data;
    const unsigned char *point = NULL;
    X509_ALGOR *algorithm = NULL;
    int point_size = 0;
    ret_parts->parsed = d2i_X509_PUBKEY(NULL, &at, (long)spki->size);
    if (!ret_parts->parsed ||
        !X509_PUBKEY_get0_param(NULL, &point, &point_size, &algorithm, ret_parts->parsed)) {
        return error_set_openssl(err, ERROR_INTERNAL, "reading a public key just made");
    }
    ret_parts->point = (struct bytes){point, (size_t)point_size};
    ret_parts->algorithm_size = i2d_X509_ALGOR(algorithm, &ret_parts->algorithm);
    if (ret_parts->algorithm_size <= 0) {
        return error_set_openssl(err, ERROR_INTERNAL, "naming the algorithm of a key");
    }
    return 0;
}

static void put_pkcs8(struct der *der, const struct private_numbers *numbers,
                      const struct public_parts *parts)
{
    const uint8_t *end = der->at;
    if (key_type_info(numbers->type)->group) {
        put_ec_key(der, numbers, parts->point);
    } else {
        put_rsa_key(der, numbers);
    }
    put_header(der, TAG_OCTET_STRING, end);
    put_bytes(der, parts->algorithm, (size_t)parts->algorithm_size);
    put_version(der, 0);
    put_header(der, TAG_SEQUENCE, end);
}

int delivered_key_generate(enum key_type type, struct secret *ret_pkcs8, struct buffer *ret_spki,
                           struct error *err)
{
    _cleanup_(private_numbers_clear) struct private_numbers numbers = {0};
    _cleanup_(secret_clear) struct secret room = {0};
    _cleanup_(buffer_clear) struct buffer spki = {0};
    _cleanup_(public_parts_clear) struct public_parts parts = {0};
    TRY(private_numbers_generate(type, &numbers, &spki, err));
    TRY(parse_public(&spki, &parts, err));
    TRY(secret_new(DER_MAX_BYTES, &room, err));
    uint8_t *end = room.data + room.size;
    struct der der = {room.data, end};
    put_pkcs8(&der, &numbers, &parts);
    TRY(secret_copy((struct bytes){der.at, (size_t)(end - der.at)}, ret_pkcs8, err));
    buffer_append(ret_spki, spki.data, spki.size);
    return 0;
}
