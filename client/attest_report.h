/* What an attestation has shown, as the agent or the judge here tells it: for people and as JSON.
 */
#pragma once

#include <jansson.h>

#include "attest/verdict.h"
#include "proto/admin.pb-c.h"

/* All text is made printable and owned. */
struct report_claim {
    char *claim, *result, *reason, *text;
    bool is_required;
};
struct report_fact {
    char *name, *value;
    unsigned pcr;
};
struct report_pcr {
    char *bank, *value; /* hexadecimal */
    unsigned index;
};
struct attest_report {
    struct report_claim *claims;
    size_t claim_count;
    struct report_fact *facts;
    size_t fact_count;
    struct report_pcr *pcrs;
    size_t pcr_count;
};

void attest_report_of_agent(const Admin__GetAttestationResponse *response,
                            struct attest_report *ret_report);
void attest_report_of_verdict(const struct verdict *verdict, struct attest_report *ret_report);
/* Also for _cleanup_. */
void attest_report_clear(struct attest_report *report);

/* Tables; nothing for what is empty. */
void attest_report_print(const struct attest_report *report, bool has_pcrs);
/* Adds "claims", "facts" and "pcrs" to the object. */
void attest_report_json(const struct attest_report *report, json_t *object);
