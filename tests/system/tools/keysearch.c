/* Searches files (a core, a log, a database) for the private key of an EC P-256 public key, without
 * knowing it: each run of 32 bytes that looks random is taken as the private scalar, big endian as
 * in DER and in 8-byte limbs little endian as OpenSSL keeps numbers, and multiplied with the
 * generator.
 *
 *     keysearch PUBLIC.pem FILE...     prints "found FILE OFFSET FORM"; exit 0 found, 1 not found,
 * 2 trouble */
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/obj_mac.h>
#include <openssl/pem.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/bytes.h"

enum {
    SCALAR_BYTES = 32,
    DISTINCT_MINIMUM = 22,
    FILE_LIMIT_BYTES = 1 << 30,
    COORDINATE_BYTES = 32
};

struct search {
    EC_GROUP *group;
    EC_POINT *point;
    BN_CTX *context;
    BIGNUM *scalar, *x;
    uint8_t wanted_x[COORDINATE_BYTES];
    unsigned long tried;
};

/* 32 random bytes hold fewer than 22 different values once in millions; code and pointers nearly
 * always do. */
static bool looks_random(const uint8_t *window)
{
    bool is_seen[256] = {false};
    unsigned distinct = 0;
    for (size_t i = 0; i < SCALAR_BYTES; i++) {
        distinct += !is_seen[window[i]];
        is_seen[window[i]] = true;
    }
    return distinct >= DISTINCT_MINIMUM;
}

static bool is_private_key(struct search *search)
{
    uint8_t x[COORDINATE_BYTES];
    search->tried++;
    return EC_POINT_mul(search->group, search->point, search->scalar, NULL, NULL,
                        search->context) == 1 &&
           EC_POINT_get_affine_coordinates(search->group, search->point, search->x, NULL,
                                           search->context) == 1 &&
           BN_bn2binpad(search->x, x, sizeof(x)) == sizeof(x) &&
           memcmp(x, search->wanted_x, sizeof(x)) == 0;
}

static bool search_file(struct search *search, const char *path, struct bytes contents)
{
    bool is_found = false;
    for (size_t at = 0; at + SCALAR_BYTES <= contents.size; at++) {
        const uint8_t *window = contents.data + at;
        if (!looks_random(window)) {
            continue;
        }
        if (BN_bin2bn(window, SCALAR_BYTES, search->scalar) && is_private_key(search)) {
            (void)printf("found %s %zu big-endian\n", path, at);
            is_found = true;
        }
        /* Limbs are aligned in memory, and so in a core, whose segments start at pages. */
        if (at % 8 == 0 && BN_lebin2bn(window, SCALAR_BYTES, search->scalar) &&
            is_private_key(search)) {
            (void)printf("found %s %zu little-endian\n", path, at);
            is_found = true;
        }
    }
    return is_found;
}

static bool read_public_key(struct search *search, const char *path)
{
    FILE *file = fopen(path, "re");
    EVP_PKEY *key = file ? PEM_read_PUBKEY(file, NULL, NULL, NULL) : NULL;
    BIGNUM *x = NULL;
    bool is_read = key && EVP_PKEY_get_bn_param(key, "qx", &x) == 1 &&
                   EVP_PKEY_get_bits(key) == 256 &&
                   BN_bn2binpad(x, search->wanted_x, COORDINATE_BYTES) == COORDINATE_BYTES;
    BN_free(x);
    EVP_PKEY_free(key);
    if (file) {
        (void)fclose(file);
    }
    return is_read;
}

int main(int argc, char **argv)
{
    struct search search = {.group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1),
                            .context = BN_CTX_new(),
                            .scalar = BN_new(),
                            .x = BN_new()};
    search.point = EC_POINT_new(search.group);
    if (argc < 3 || !read_public_key(&search, argv[1])) {
        (void)fprintf(stderr,
                      "usage: keysearch PUBLIC.pem FILE...  (PUBLIC.pem: of an EC P-256 key)\n");
        return 2;
    }
    bool is_found = false;
    for (int i = 2; i < argc; i++) {
        _cleanup_(buffer_clear) struct buffer contents = {0};
        struct error err;
        if (buffer_read_file(argv[i], FILE_LIMIT_BYTES, &contents, &err) < 0) {
            (void)fprintf(stderr, "keysearch: %s\n", err.text);
            return 2;
        }
        is_found |= search_file(&search, argv[i], buffer_bytes(&contents));
    }
    (void)printf("%lu candidates tried\n", search.tried);
    EC_POINT_free(search.point);
    EC_GROUP_free(search.group);
    BN_CTX_free(search.context);
    BN_free(search.scalar);
    BN_free(search.x);
    return is_found ? 0 : 1;
}
