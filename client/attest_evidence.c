/* signet attest evidence, signet svid evidence */
#include <stdio.h>
#include <string.h>

#include "attest/evidence.h"
#include "client/nonce.h"
#include "client/output.h"
#include "client/sockets.h"
#include "client/subcommands.h"
#include "include/signet/evidence.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "proto/admin.pb-c.h"
#include "proto/hardware.pb-c.h"

enum { FILE_MODE = 0644, HOLD_TIMEOUT_MS = 10000 };

/* To the file, or to standard output as it is. */
static int deliver(const struct arguments *arguments, struct bytes evidence, struct error *err)
{
    if (!arguments->out) {
        (void)fwrite(evidence.data, 1, evidence.size, stdout);
        return 0;
    }
    TRY(file_write_atomic(arguments->out, evidence, FILE_MODE, err));
    if (arguments->output == OUTPUT_JSON) {
        output_json(json_pack("{s:o, s:I}", "file", output_json_text(arguments->out), "bytes",
                              (json_int_t)evidence.size),
                    false);
    } else {
        (void)printf("written to %s\n", arguments->out);
    }
    return 0;
}

/* Ends in NUL. Its contents are the agent's to judge, but a file that is none is said here. */
static int read_challenge(const char *path, struct buffer *ret_text, struct error *err)
{
    struct challenge challenge = {0};
    if (!path) {
        return 0;
    }
    TRY(buffer_read_file(path, CHALLENGE_MAX_BYTES, ret_text, err));
    int result = challenge_parse(buffer_bytes(ret_text), &challenge, err);
    challenge_clear(&challenge);
    if (result < 0) {
        return error_prepend(err, "reading the challenge %s", path);
    }
    buffer_append_u8(ret_text, 0);
    return 0;
}

/* attest evidence */

static void fill(const struct arguments *arguments, const struct buffer *challenge,
                 Admin__MakeEvidenceRequest *request)
{
    request->nonce.data = arguments->nonce.data;
    request->nonce.len = arguments->nonce.size;
    if (challenge->size > 0) {
        request->challenge.data = challenge->data;
        request->challenge.len = challenge->size - 1;
    }
    if (arguments->spiffe_id) {
        request->spiffe_id = arguments->spiffe_id;
    }
    if (arguments->key_id) {
        request->key_id = arguments->key_id;
    }
}

static int ask(struct rpc_client *client, const Admin__MakeEvidenceRequest *request,
               ProtobufCMessage **ret_response, struct error *err)
{
    return rpc_client_call(client, "/signet.admin.v1.Admin/MakeEvidence", &request->base,
                           &admin__make_evidence_response__descriptor, ret_response, err);
}

/* A key is made when somebody asks for the identity. Where that may be this process, it does so and
 * is a holder for as long as the stream is open. */
static int hold_identities(const struct arguments *arguments, struct rpc_client **ret_stream,
                           struct error *err)
{
    Hardware__X509IdentitiesRequest request = HARDWARE__X509_IDENTITIES_REQUEST__INIT;
    ProtobufCMessage *message = NULL;
    TRY(sockets_connect_workload(arguments, HOLD_TIMEOUT_MS, ret_stream, err));
    TRY(rpc_client_stream(*ret_stream, "/signet.workload.v1.HardwareIdentity/FetchX509Identities",
                          &request.base, err));
    int got = rpc_client_next(*ret_stream, &hardware__x509_identities_response__descriptor,
                              &message, err);
    if (got > 0) {
        protobuf_c_message_free_unpacked(message, NULL);
    }
    return got > 0 ? 0 : -1;
}

static int make_evidence(const struct arguments *arguments, struct error *err)
{
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client = NULL;
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *stream = NULL;
    _cleanup_(buffer_clear) struct buffer challenge = {0};
    Admin__MakeEvidenceRequest request = ADMIN__MAKE_EVIDENCE_REQUEST__INIT;
    ProtobufCMessage *message = NULL;
    struct error ignored;
    if (arguments->spiffe_id && arguments->key_id) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "--key and --spiffe-id: only one of both names the key");
    }
    TRY(read_challenge(arguments->challenge, &challenge, err));
    fill(arguments, &challenge, &request);
    TRY(sockets_connect_admin_patiently(arguments, &client, err));
    if (ask(client, &request, &message, err) < 0) {
        bool is_unheld = arguments->spiffe_id && err->code == ERROR_NOT_FOUND;
        if (!is_unheld || hold_identities(arguments, &stream, &ignored) < 0) {
            return -1;
        }
        TRY(ask(client, &request, &message, err));
    }
    const Admin__MakeEvidenceResponse *response = (const Admin__MakeEvidenceResponse *)message;
    int result =
        deliver(arguments, (struct bytes){response->evidence.data, response->evidence.len}, err);
    protobuf_c_message_free_unpacked(message, NULL);
    return result;
}

#define NONCE_OPTION                                                                               \
    {                                                                                              \
        "nonce", "N", "what the verifier chose: hexadecimal, or base64:TEXT; 8 to 32 bytes",       \
            nonce_set, offsetof(struct arguments, nonce), true                                     \
    }
#define CHALLENGE_OPTION                                                                           \
    {                                                                                              \
        "challenge", "FILE", "of signet attest challenge, for the TPM to answer", option_set_text, \
            offsetof(struct arguments, challenge), false                                           \
    }
#define OUT_OPTION                                                                                 \
    {                                                                                              \
        "out", "FILE", "write it there and not to standard output", option_set_text,               \
            offsetof(struct arguments, out), false                                                 \
    }

static const struct command_option evidence_options[] = {
    NONCE_OPTION,
    {"spiffe-id", "ID", "about the key of this identity", option_set_text,
     offsetof(struct arguments, spiffe_id), false},
    {"key", "KEYID", "about this key, as key list shows it", option_set_text,
     offsetof(struct arguments, key_id), false},
    CHALLENGE_OPTION,
    OUT_OPTION,
};

const struct command command_attest_evidence = {
    .name = "attest evidence",
    .summary = "evidence of this node, and of a key in its TPM, for somebody else",
    .about =
        "One JSON document, which proves to whoever chose the nonce that the key lives in this\n"
        "host's TPM, was made there and cannot leave it, and in what state the host is. Without\n"
        "--spiffe-id and --key it is about the node alone. To be judged by signet attest verify.",
    .example = "signet attest evidence --nonce 0011223344556677 "
               "--spiffe-id spiffe://example.org/web --out evidence.json",
    .options = evidence_options,
    .option_count = ARRAY_SIZE(evidence_options),
    .run = make_evidence,
};

/* svid evidence */

static int fetch_evidence(const struct arguments *arguments, struct error *err)
{
    _cleanup_(buffer_clear) struct buffer challenge = {0};
    _cleanup_(free_cleanup) char *socket = NULL;
    struct signet_evidence_request request = {
        .struct_size = sizeof(request),
        .nonce = arguments->nonce.data,
        .nonce_size = arguments->nonce.size,
        .spiffe_id = arguments->spiffe_id,
        .timeout_ms = (uint32_t)MIN(arguments->timeout_ms, (uint64_t)UINT32_MAX),
    };
    struct signet_error failure;
    char *evidence = NULL;
    TRY(read_challenge(arguments->challenge, &challenge, err));
    TRY(endpoint_find(arguments->run_dir, &socket, err));
    request.challenge = (const char *)challenge.data;
    request.socket_path = socket;
    if (signet_evidence_fetch(&request, &evidence, &failure) < 0) {
        return error_set(err, (enum error_code)failure.code, "%s", failure.text);
    }
    int result = deliver(arguments, bytes_of_text(evidence), err);
    signet_evidence_free(evidence);
    return result;
}

static const struct command_option svid_options[] = {
    NONCE_OPTION,
    {"spiffe-id", "ID", "of these of this process's identities; needed where it has several",
     option_set_text, offsetof(struct arguments, spiffe_id), false},
    CHALLENGE_OPTION,
    OUT_OPTION,
    {"timeout", "TIME", "how long to wait for the agent (60s)", option_set_duration,
     offsetof(struct arguments, timeout_ms), false},
};

const struct command command_svid_evidence = {
    .name = "svid evidence",
    .summary = "evidence that the key of this process's identity is in the TPM",
    .about =
        "As signet attest evidence, for a process about itself, where the identity's rule has\n"
        "evidence = true. Programs ask by signet_evidence_fetch of libsignet.",
    .example = "signet svid evidence --nonce 0011223344556677",
    .options = svid_options,
    .option_count = ARRAY_SIZE(svid_options),
    .run = fetch_evidence,
};
