#include "include/signet/evidence.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "client/libsignet/endpoint.h"
#include "lib/base/bytes.h"
#include "lib/base/memory.h"
#include "lib/base/text.h"
#include "lib/rpc/client.h"
#include "proto/hardware.pb-c.h"

enum { DEFAULT_TIMEOUT_MS = 60000 };

static_assert(SIGNET_PERMISSION_DENIED == (int)ERROR_PERMISSION_DENIED &&
                  SIGNET_FAILED_PRECONDITION == (int)ERROR_FAILED_PRECONDITION &&
                  SIGNET_UNAVAILABLE == (int)ERROR_UNAVAILABLE,
              "the public codes are those within");

static int check(const struct signet_evidence_request *request, struct error *err)
{
    if (request->struct_size != sizeof(*request)) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "asking for evidence: struct_size is %zu and not %zu: set it to sizeof of "
                         "the request; it is larger where libsignet is older than the program",
                         request->struct_size, sizeof(*request));
    }
    if (!request->nonce || request->nonce_size < SIGNET_NONCE_MIN_BYTES ||
        request->nonce_size > SIGNET_NONCE_MAX_BYTES) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "asking for evidence: the nonce has %zu bytes; the verifier chooses %d to "
                         "%d random ones",
                         request->nonce ? request->nonce_size : 0, SIGNET_NONCE_MIN_BYTES,
                         SIGNET_NONCE_MAX_BYTES);
    }
    return 0;
}

static void fill(const struct signet_evidence_request *request, Hardware__EvidenceRequest *message)
{
    const char *challenge = request->challenge ? request->challenge : "";
    message->nonce.data = (uint8_t *)request->nonce;
    message->nonce.len = request->nonce_size;
    if (request->spiffe_id) {
        message->spiffe_id = (char *)request->spiffe_id;
    }
    message->challenge.data = (uint8_t *)challenge;
    message->challenge.len = strlen(challenge);
}

static int take(const Hardware__EvidenceResponse *response, char **ret_evidence, struct error *err)
{
    struct bytes evidence = {response->evidence.data, response->evidence.len};
    if (evidence.size == 0 || !text_is_utf8(evidence)) {
        return error_set(err, ERROR_DATA_LOSS,
                         "asking for evidence: the agent's answer is no text");
    }
    *ret_evidence = text_format("%.*s", (int)evidence.size, evidence.data);
    return 0;
}

static int fetch(const struct signet_evidence_request *request, char **ret_evidence,
                 struct error *err)
{
    uint64_t timeout_ms = request->timeout_ms ? request->timeout_ms : DEFAULT_TIMEOUT_MS;
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client = NULL;
    _cleanup_(free_cleanup) char *path = NULL;
    Hardware__EvidenceRequest message = HARDWARE__EVIDENCE_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    if (request->socket_path) {
        path = memory_copy_text(request->socket_path);
    } else {
        TRY(endpoint_find(NULL, &path, err));
    }
    fill(request, &message);
    TRY(rpc_client_connect(path, timeout_ms, &client, err));
    rpc_client_set_metadata(client, "workload.spiffe.io", "true");
    TRY(rpc_client_call(client, "/signet.workload.v1.HardwareIdentity/FetchEvidence", &message.base,
                        &hardware__evidence_response__descriptor, &response, err));
    int result = take((const Hardware__EvidenceResponse *)response, ret_evidence, err);
    protobuf_c_message_free_unpacked(response, NULL);
    return result;
}

int signet_evidence_fetch(const struct signet_evidence_request *request, char **ret_evidence,
                          struct signet_error *ret_error)
{
    struct error failure;
    if (check(request, &failure) == 0 && fetch(request, ret_evidence, &failure) == 0) {
        return 0;
    }
    if (ret_error) {
        ret_error->code = (int)failure.code;
        (void)snprintf(ret_error->text, sizeof(ret_error->text), "%s", failure.text);
    }
    return -1;
}

void signet_evidence_free(char *evidence)
{
    free(evidence);
}
