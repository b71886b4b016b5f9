#include "agent/policy/outside_exchange.h"

#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/memory.h"

static const char unix_scheme[] = "unix://";

/* Less than size is how libcurl is told to give up. */
static size_t count_received(struct outside_exchange *exchange, size_t size)
{
    if (size > OUTSIDE_ANSWER_MAX_BYTES - exchange->received) {
        return 0;
    }
    exchange->received += size;
    return size;
}

static size_t on_header(char *data, size_t unit, size_t count, void *user)
{
    (void)data;
    return count_received(user, unit * count);
}

static size_t on_body(char *data, size_t unit, size_t count, void *user)
{
    struct outside_exchange *exchange = user;
    size_t size = count_received(exchange, unit * count);
    buffer_append(&exchange->answer, data, size);
    return size;
}

static int add_header(struct outside_exchange *exchange, const char *header, struct error *err)
{
    struct curl_slist *headers = exchange->curl->slist_append(exchange->headers, header);
    if (!headers) {
        return error_set(err, ERROR_INTERNAL, "preparing libcurl for the outside policy failed");
    }
    exchange->headers = headers;
    return 0;
}

/* Where, and nothing but there: environment, proxies, redirects and other protocols do not count.
 */
static CURLcode set_target(CURL *easy, const struct outside_curl *curl,
                           const struct outside_config *config)
{
    bool is_unix = strncmp(config->url, unix_scheme, sizeof(unix_scheme) - 1) == 0;
    _cleanup_(free_cleanup) char *url =
        text_format("%s/v1/data/%s", is_unix ? "http://localhost" : config->url, config->path);
    CURLcode result = curl->easy_setopt(easy, CURLOPT_URL, url);
    if (result == CURLE_OK && is_unix) {
        result = curl->easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH,
                                   config->url + sizeof(unix_scheme) - 1);
    }
    if (result == CURLE_OK) {
        result = curl->easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http");
    }
    if (result == CURLE_OK) {
        result = curl->easy_setopt(easy, CURLOPT_NOPROXY, "*");
    }
    return result == CURLE_OK ? curl->easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L) : result;
}

static CURLcode set_exchange(struct outside_exchange *exchange)
{
    const struct outside_curl *curl = exchange->curl;
    CURL *easy = exchange->easy;
    const struct {
        CURLoption option;
        void *value;
    } pointers[] = {
        {CURLOPT_HTTPHEADER, exchange->headers},
        {CURLOPT_HEADERDATA, exchange},
        {CURLOPT_WRITEDATA, exchange},
        {CURLOPT_USERAGENT, (char *)"signetd/" SIGNET_VERSION},
    };
    const struct {
        CURLoption option;
        curl_write_callback value;
    } callbacks[] = {{CURLOPT_HEADERFUNCTION, on_header}, {CURLOPT_WRITEFUNCTION, on_body}};
    const struct {
        CURLoption option;
        long value;
    } numbers[] = {
        {CURLOPT_POST, 1},
        {CURLOPT_NOSIGNAL, 1},
        {CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1},
    };
    CURLcode result = CURLE_OK;
    for (size_t i = 0; i < ARRAY_SIZE(pointers) && result == CURLE_OK; i++) {
        result = curl->easy_setopt(easy, pointers[i].option, pointers[i].value);
    }
    for (size_t i = 0; i < ARRAY_SIZE(callbacks) && result == CURLE_OK; i++) {
        result = curl->easy_setopt(easy, callbacks[i].option, callbacks[i].value);
    }
    for (size_t i = 0; i < ARRAY_SIZE(numbers) && result == CURLE_OK; i++) {
        result = curl->easy_setopt(easy, numbers[i].option, numbers[i].value);
    }
    return result;
}

int outside_exchange_init(struct outside_exchange *exchange, const struct outside_curl *curl,
                          const struct outside_config *config, struct error *err)
{
    *exchange = (struct outside_exchange){
        .curl = curl, .easy = curl->easy_init(), .timeout_ms = config->timeout_ms};
    TRY(add_header(exchange, "Content-Type: application/json", err));
    /* Or libcurl asks whether a large question may come, and waits. */
    TRY(add_header(exchange, "Expect:", err));
    CURLcode result = exchange->easy ? set_target(exchange->easy, curl, config) : CURLE_FAILED_INIT;
    if (result == CURLE_OK) {
        result = set_exchange(exchange);
    }
    return result == CURLE_OK ? 0
                              : error_set(err, ERROR_FAILED_PRECONDITION,
                                          "preparing libcurl for the outside policy: %s",
                                          curl->easy_strerror(result));
}

int outside_exchange_begin(struct outside_exchange *exchange, CURLM *multi,
                           struct outside_transfer *transfer)
{
    const struct outside_curl *curl = exchange->curl;
    uint64_t now_ms = clock_monotonic_ms();
    long left_ms = transfer->deadline_ms > now_ms ? (long)(transfer->deadline_ms - now_ms) : 1;
    buffer_reset(&exchange->answer);
    exchange->received = 0;
    if (curl->easy_setopt(exchange->easy, CURLOPT_TIMEOUT_MS, left_ms) != CURLE_OK ||
        curl->easy_setopt(exchange->easy, CURLOPT_POSTFIELDS, transfer->input) != CURLE_OK ||
        curl->easy_setopt(exchange->easy, CURLOPT_POSTFIELDSIZE_LARGE,
                          (curl_off_t)strlen(transfer->input)) != CURLE_OK ||
        curl->multi_add_handle(multi, exchange->easy) != CURLM_OK) {
        return error_set(&transfer->failure, ERROR_INTERNAL, "libcurl takes no question");
    }
    exchange->transfer = transfer;
    return 0;
}

static int explain(const struct outside_exchange *exchange, CURLcode result, struct error *err)
{
    long errno_value = 0;
    if (result == CURLE_OPERATION_TIMEDOUT) {
        return error_set(err, ERROR_UNAVAILABLE, "no answer within %u ms", exchange->timeout_ms);
    }
    if (result == CURLE_WRITE_ERROR) {
        return error_set(err, ERROR_UNAVAILABLE, "its answer has more than %d bytes",
                         OUTSIDE_ANSWER_MAX_BYTES);
    }
    if (result == CURLE_COULDNT_CONNECT &&
        exchange->curl->easy_getinfo(exchange->easy, CURLINFO_OS_ERRNO, &errno_value) == CURLE_OK &&
        errno_value != 0) {
        (void)error_set_errno(err, (int)errno_value, "connecting");
        err->code = ERROR_UNAVAILABLE;
        return -1;
    }
    return error_set(err, ERROR_UNAVAILABLE, "%s", exchange->curl->easy_strerror(result));
}

static int judge(const struct outside_exchange *exchange, CURLcode result,
                 struct outside_transfer *transfer)
{
    struct error *err = &transfer->failure;
    long status = 0;
    if (result != CURLE_OK) {
        return explain(exchange, result, err);
    }
    (void)exchange->curl->easy_getinfo(exchange->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200) {
        return error_set(err, ERROR_UNAVAILABLE, "it answered with HTTP status %ld, not 200",
                         status);
    }
    return outside_parse(buffer_bytes(&exchange->answer), &transfer->is_allowed, &transfer->reason,
                         err);
}

struct outside_transfer *outside_exchange_end(struct outside_exchange *exchange, CURLM *multi,
                                              CURLcode result)
{
    struct outside_transfer *transfer = take_ptr(exchange->transfer);
    transfer->has_answer = judge(exchange, result, transfer) == 0;
    (void)exchange->curl->multi_remove_handle(multi, exchange->easy);
    return transfer;
}

void outside_exchange_clear(struct outside_exchange *exchange, CURLM *multi)
{
    if (exchange->transfer) {
        (void)exchange->curl->multi_remove_handle(multi, exchange->easy);
    }
    if (exchange->easy) {
        exchange->curl->easy_cleanup(exchange->easy);
    }
    if (exchange->headers) {
        exchange->curl->slist_free_all(exchange->headers);
    }
    buffer_clear(&exchange->answer);
    *exchange = (struct outside_exchange){0};
}
