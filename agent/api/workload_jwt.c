/* The JWT-SVID profile's unary calls (SPIFFE Workload API 6.2). */
#include <string.h>

#include "agent/access/access.h"
#include "agent/api/claims.h"
#include "agent/api/workload.h"
#include "agent/spiffe_id.h"
#include "agent/svid/jwt_validate.h"
#include "lib/base/clock.h"
#include "lib/base/memory.h"
#include "proto/workload.pb-c.h"

/* A token with more than that in its audience would be too long for HTTP headers anyway. */
enum { AUDIENCES_MAX = 64, AUDIENCE_TOTAL_MAX_BYTES = 8192 };

struct jwt_fetch {
    struct api *api;
    struct rpc_call *call; /* NULL once it has ended */
    struct peer *peer;
    struct text_list audience;
    char *spiffe_id; /* NULL: all */
};

static void fetch_free(struct jwt_fetch *fetch)
{
    peer_unref(fetch->peer);
    text_list_clear(&fetch->audience);
    free(fetch->spiffe_id);
    free(fetch);
}

static void fetch_closed(struct rpc_call *call, void *state)
{
    struct jwt_fetch *fetch = state;
    (void)call;
    fetch->call = NULL;
}

static void fetch_fail(struct jwt_fetch *fetch, const struct error *status)
{
    if (fetch->call) {
        decision_denied(&fetch->api->decisions, fetch->peer, "FetchJWTSVID", status);
        rpc_call_finish(take_ptr(fetch->call), status);
    }
}

static void fetch_reply(struct jwt_fetch *fetch, const struct jwt_svid *svids, size_t count)
{
    _cleanup_(free_cleanup) Workload__JWTSVID *messages =
        memory_new_array(count, sizeof(*messages));
    _cleanup_(free_cleanup) Workload__JWTSVID **pointers =
        memory_new_array(count, sizeof(Workload__JWTSVID *));
    _cleanup_(buffer_clear) struct buffer what = {0};
    Workload__JWTSVIDResponse response = WORKLOAD__JWTSVIDRESPONSE__INIT;
    response.svids = pointers;
    response.n_svids = count;
    for (size_t i = 0; i < count; i++) {
        pointers[i] = &messages[i];
        workload__jwtsvid__init(pointers[i]);
        pointers[i]->spiffe_id = (char *)svids[i].spiffe_id;
        pointers[i]->svid = (char *)svids[i].token;
        pointers[i]->hint = (char *)svids[i].hint;
        buffer_append_text(&what, i ? " id=" : "id=");
        buffer_append_text(&what, svids[i].spiffe_id);
    }
    buffer_append_text(&what, " audience=");
    buffer_append_text(&what, fetch->audience.items[0]);
    buffer_append_u8(&what, 0);
    decision_granted(&fetch->api->decisions, fetch->peer, "FetchJWTSVID", (const char *)what.data);
    rpc_call_reply(take_ptr(fetch->call), &response.base);
}

static const char no_identity[] = "no identity issued";

static void fetch_done(void *user, const struct jwt_svid *svids, size_t count,
                       const struct error *failure)
{
    struct jwt_fetch *fetch = user;
    struct error status;
    if (failure && failure->code == ERROR_PERMISSION_DENIED) {
        status = *failure;
        if (strcmp(status.text, no_identity) != 0) {
            (void)error_prepend(&status, "%s", no_identity);
        }
        fetch_fail(fetch, &status);
    } else if (failure) {
        status = *failure;
        status.code = ERROR_UNAVAILABLE;
        (void)error_prepend(&status, "could not fetch JWT-SVID");
        fetch_fail(fetch, &status);
    } else if (fetch->call) {
        fetch_reply(fetch, svids, count);
    }
    fetch_free(fetch);
}

static int check_audience(const Workload__JWTSVIDRequest *request, struct error *err)
{
    size_t total = 0;
    for (size_t i = 0; i < request->n_audience; i++) {
        struct bytes audience = bytes_of_text(request->audience[i]);
        if (audience.size == 0) {
            return error_set(err, ERROR_INVALID_ARGUMENT,
                             "audience must be specified: value %zu is empty", i + 1);
        }
        if (!text_is_utf8(audience)) {
            return error_set(err, ERROR_INVALID_ARGUMENT,
                             "invalid audience: value %zu is not UTF-8", i + 1);
        }
        total += audience.size;
    }
    if (request->n_audience == 0) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "audience must be specified");
    }
    if (request->n_audience > AUDIENCES_MAX || total > AUDIENCE_TOTAL_MAX_BYTES) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "invalid audience: %zu values of %zu bytes in all; %d values of %d bytes "
                         "in all are allowed",
                         request->n_audience, total, AUDIENCES_MAX, AUDIENCE_TOTAL_MAX_BYTES);
    }
    return 0;
}

static int check_request(const Workload__JWTSVIDRequest *request, struct error *err)
{
    TRY(check_audience(request, err));
    if (request->spiffe_id[0] && spiffe_id_check(request->spiffe_id, err) < 0) {
        return error_prepend(err, "invalid requested SPIFFE ID");
    }
    return 0;
}

void workload_fetch_jwt_svid(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
    struct api *api = user;
    const Workload__JWTSVIDRequest *wanted = (const Workload__JWTSVIDRequest *)request;
    const struct caller *caller = rpc_call_peer(call);
    struct error status;
    if (check_request(wanted, &status) < 0) {
        decision_denied(&api->decisions, caller->peer, "FetchJWTSVID", &status);
        rpc_call_finish(call, &status);
        return;
    }
    struct jwt_fetch *fetch = NEW(struct jwt_fetch);
    *fetch = (struct jwt_fetch){
        .api = api,
        .call = call,
        .peer = peer_ref(caller->peer),
        .spiffe_id = wanted->spiffe_id[0] ? memory_copy_text(wanted->spiffe_id) : NULL,
    };
    for (size_t i = 0; i < wanted->n_audience; i++) {
        text_list_add(&fetch->audience, wanted->audience[i]);
    }
    rpc_call_on_closed(call, fetch_closed, fetch);
    access_jwt_fetch(api->config.access, caller, &fetch->audience, fetch->spiffe_id, fetch_done,
                     fetch);
}

static int validate(struct api *api, const Workload__ValidateJWTSVIDRequest *request,
                    char **ret_spiffe_id, Google__Protobuf__Struct **ret_claims, struct error *err)
{
    if (!request->audience[0]) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "audience must be specified");
    }
    if (!request->svid[0]) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "svid must be specified");
    }
    struct bundle *bundle = manager_bundle(api->config.manager);
    if (!bundle) {
        return error_set(err, ERROR_UNAVAILABLE,
                         "validating the JWT-SVID: the trust bundle is not there yet");
    }
    _cleanup_(free_cleanup) char *spiffe_id = NULL;
    json_t *claims = NULL;
    TRY(jwt_svid_validate(bundle, request->svid, request->audience, clock_now_s(), &spiffe_id,
                          &claims, err));
    int result = claims_to_struct(claims, ret_claims, err);
    json_decref(claims);
    TRY(result);
    *ret_spiffe_id = take_ptr(spiffe_id);
    return 0;
}

/* Judging a token needs no identity, so the caller is not attested. */
void workload_validate_jwt_svid(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
    struct api *api = user;
    const struct caller *caller = rpc_call_peer(call);
    struct error status;
    _cleanup_(free_cleanup) char *spiffe_id = NULL;
    Google__Protobuf__Struct *claims = NULL;
    if (validate(api, (const Workload__ValidateJWTSVIDRequest *)request, &spiffe_id, &claims,
                 &status) < 0) {
        decision_denied(&api->decisions, caller->peer, "ValidateJWTSVID", &status);
        rpc_call_finish(call, &status);
        return;
    }
    Workload__ValidateJWTSVIDResponse response = WORKLOAD__VALIDATE_JWTSVIDRESPONSE__INIT;
    response.spiffe_id = spiffe_id;
    response.claims = claims;
    rpc_call_reply(call, &response.base);
    google__protobuf__struct__free_unpacked(claims, NULL);
}
