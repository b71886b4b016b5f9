/* One HTTP request and its response, with limits on both; used again and again. For the client's
 * thread. */
#pragma once

#include "agent/policy/outside_client.h"
#include "agent/policy/outside_curl.h"

struct outside_exchange {
    const struct outside_curl *curl;
    CURL *easy;
    struct curl_slist *headers;
    struct outside_transfer *transfer; /* NULL: idle */
    uint32_t timeout_ms;
    struct buffer answer;
    size_t received; /* bytes of the response, headers too */
};

/* With an error too outside_exchange_clear is to be called. */
int outside_exchange_init(struct outside_exchange *exchange, const struct outside_curl *curl,
                          const struct outside_config *config, struct error *err);
/* On failure the transfer's failure is set. */
int outside_exchange_begin(struct outside_exchange *exchange, CURLM *multi,
                           struct outside_transfer *transfer);
/* Draws the conclusions, and returns the transfer. */
struct outside_transfer *outside_exchange_end(struct outside_exchange *exchange, CURLM *multi,
                                              CURLcode result);
/* Gives up what is under way. Of all zero: nothing. */
void outside_exchange_clear(struct outside_exchange *exchange, CURLM *multi);
