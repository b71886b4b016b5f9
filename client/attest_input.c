#include "client/attest_input.h"

#include <sodium.h>
#include <string.h>
#include <unistd.h>

#include "attest/credential.h"
#include "lib/base/file.h"

enum { SECRET_HEX = 2 * CREDENTIAL_SECRET_BYTES, SECRET_MODE = 0600 };

int attest_input_evidence(const char *path, struct evidence *ret_evidence, struct error *err)
{
    _cleanup_(buffer_clear) struct buffer text = {0};
    if (!path) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "the file with the evidence is needed, or - for standard input");
    }
    bool is_input = strcmp(path, "-") == 0;
    TRY(is_input
            ? buffer_read_descriptor(STDIN_FILENO, "standard input", EVIDENCE_MAX_BYTES, &text, err)
            : buffer_read_file(path, EVIDENCE_MAX_BYTES, &text, err));
    if (evidence_parse(buffer_bytes(&text), ret_evidence, err) < 0) {
        /* What somebody else wrote is no wrong usage of this command. */
        if (err) {
            err->code = ERROR_DATA_LOSS;
        }
        return error_prepend(err, "%s is not evidence: malformed",
                             is_input ? "standard input" : path);
    }
    return 0;
}

int attest_input_ek_trust(const struct arguments *arguments, struct ek_trust **trust,
                          struct error *err)
{
    if (!*trust) {
        *trust = ek_trust_new();
    }
    if (arguments->ek_cas && ek_trust_add_folder(*trust, arguments->ek_cas, err) < 0) {
        return error_prepend(err, "--ek-cas");
    }
    for (size_t i = 0; i < arguments->ek_hashes.count; i++) {
        if (ek_trust_add_hash(*trust, arguments->ek_hashes.items[i], err) < 0) {
            return error_prepend(err, "--ek-hash");
        }
    }
    if (ek_trust_count(*trust) == 0) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "--ek-cas DIR or --ek-hash HASH is needed: without them any program that "
                         "behaves like a TPM would be believed");
    }
    return 0;
}

int attest_input_write_secret(const char *path, const struct secret *secret, struct error *err)
{
    _cleanup_(secret_clear) struct secret hex = {0};
    if (secret->size != CREDENTIAL_SECRET_BYTES) {
        return error_set(err, ERROR_INTERNAL, "the secret of the challenge has %zu bytes",
                         secret->size);
    }
    TRY(secret_new(SECRET_HEX + 1, &hex, err));
    (void)sodium_bin2hex((char *)hex.data, hex.size, secret->data, secret->size);
    hex.data[SECRET_HEX] = '\n';
    return file_write_atomic(path, secret_bytes(&hex), SECRET_MODE, err);
}

int attest_input_read_secret(const char *path, struct secret *ret_secret, struct error *err)
{
    _cleanup_(secret_clear) struct secret hex = {0};
    _cleanup_(secret_clear) struct secret secret = {0};
    const char *end = NULL;
    size_t size = 0;
    TRY(secret_read_file(path, SECRET_HEX + 1, &hex, err));
    TRY(secret_new(CREDENTIAL_SECRET_BYTES, &secret, err));
    const char *text = (const char *)hex.data;
    if (hex.size != SECRET_HEX ||
        sodium_hex2bin(secret.data, secret.size, text, hex.size, NULL, &size, &end) != 0 ||
        size != CREDENTIAL_SECRET_BYTES || end != text + hex.size) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "%s is not the secret of a challenge: %d hexadecimal digits, as signet "
                         "attest challenge --secret writes it",
                         path, SECRET_HEX);
    }
    *ret_secret = secret;
    secret = (struct secret){0};
    return 0;
}
