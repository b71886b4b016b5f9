#include "client/attest_report.h"

#include <stdio.h>

#include "client/output.h"
#include "lib/base/memory.h"

static char *printable(const char *text)
{
    char *copy = memory_copy_text(text);
    text_make_printable(copy);
    return copy;
}

void attest_report_of_agent(const Admin__GetAttestationResponse *response,
                            struct attest_report *ret_report)
{
    struct attest_report report = {
        .claims = memory_new_array(response->n_findings, sizeof(*report.claims)),
        .claim_count = response->n_findings,
        .facts = memory_new_array(response->n_facts, sizeof(*report.facts)),
        .fact_count = response->n_facts,
        .pcrs = memory_new_array(response->n_pcrs, sizeof(*report.pcrs)),
        .pcr_count = response->n_pcrs,
    };
    for (size_t i = 0; i < report.claim_count; i++) {
        const Admin__Finding *finding = response->findings[i];
        report.claims[i] = (struct report_claim){
            .claim = printable(finding->claim),
            .result = printable(finding->result),
            .reason = printable(finding->reason),
            .text = printable(finding->text),
            .is_required = finding->required,
        };
    }
    for (size_t i = 0; i < report.fact_count; i++) {
        const Admin__Fact *fact = response->facts[i];
        report.facts[i] =
            (struct report_fact){printable(fact->name), printable(fact->value), fact->pcr};
    }
    for (size_t i = 0; i < report.pcr_count; i++) {
        const Admin__Pcr *pcr = response->pcrs[i];
        report.pcrs[i] = (struct report_pcr){
            .bank = printable(pcr->bank),
            .value = text_hex((struct bytes){pcr->value.data, pcr->value.len}),
            .index = pcr->index,
        };
    }
    *ret_report = report;
}

static void add_pcrs(const struct pcr_bank *bank, struct attest_report *report)
{
    const struct hash_algorithm *hash = hash_by_id(bank->bank);
    for (unsigned i = 0; hash && i < PCR_COUNT; i++) {
        if (!(bank->mask & (UINT32_C(1) << i))) {
            continue;
        }
        report->pcrs =
            memory_resize_array(report->pcrs, report->pcr_count + 1, sizeof(*report->pcrs));
        report->pcrs[report->pcr_count++] = (struct report_pcr){
            .bank = memory_copy_text(hash->name),
            .value = text_hex((struct bytes){bank->values[i], hash->size}),
            .index = i,
        };
    }
}

void attest_report_of_verdict(const struct verdict *verdict, struct attest_report *ret_report)
{
    struct attest_report report = {
        .claims = memory_new_array(CLAIM_COUNT, sizeof(*report.claims)),
        .facts = memory_new_array(verdict->facts.count, sizeof(*report.facts)),
        .fact_count = verdict->facts.count,
    };
    for (size_t i = 0; i < CLAIM_COUNT; i++) {
        const struct finding *finding = &verdict->claims[i];
        if (finding->result == CLAIM_NOT_JUDGED && !finding->text[0]) {
            continue; /* not a verifier's to judge */
        }
        report.claims[report.claim_count++] = (struct report_claim){
            .claim = printable(claim_name((enum claim)i)),
            .result = printable(claim_result_name(finding->result)),
            .reason = printable(verdict_reason_name(finding->reason)),
            .text = printable(finding->text),
            .is_required = (verdict->required & (UINT32_C(1) << i)) != 0,
        };
    }
    for (size_t i = 0; i < report.fact_count; i++) {
        const struct fact *fact = &verdict->facts.items[i];
        report.facts[i] =
            (struct report_fact){printable(fact->name), printable(fact->value), fact->pcr};
    }
    for (size_t i = 0; i < verdict->pcrs.count; i++) {
        add_pcrs(&verdict->pcrs.banks[i], &report);
    }
    *ret_report = report;
}

void attest_report_clear(struct attest_report *report)
{
    for (size_t i = 0; i < report->claim_count; i++) {
        free(report->claims[i].claim);
        free(report->claims[i].result);
        free(report->claims[i].reason);
        free(report->claims[i].text);
    }
    for (size_t i = 0; i < report->fact_count; i++) {
        free(report->facts[i].name);
        free(report->facts[i].value);
    }
    for (size_t i = 0; i < report->pcr_count; i++) {
        free(report->pcrs[i].bank);
        free(report->pcrs[i].value);
    }
    free(report->claims);
    free(report->facts);
    free(report->pcrs);
    *report = (struct attest_report){0};
}

static void print_claims(const struct attest_report *report)
{
    static const char *const headings[] = {"CLAIM", "RESULT", "NEEDED", "REASON", "WHAT WAS FOUND"};
    struct output_table table = {.headings = headings, .columns = ARRAY_SIZE(headings)};
    for (size_t i = 0; i < report->claim_count; i++) {
        const struct report_claim *claim = &report->claims[i];
        output_table_add(&table, claim->claim);
        output_table_add(&table, claim->result);
        output_table_add(&table, claim->is_required ? "yes" : "no");
        output_table_add(&table, claim->reason[0] ? claim->reason : "-");
        output_table_add(&table, claim->text);
    }
    (void)putchar('\n');
    output_table_print(&table);
}

static void print_facts(const struct attest_report *report)
{
    static const char *const headings[] = {"FACT", "PCR", "VALUE"};
    struct output_table table = {.headings = headings, .columns = ARRAY_SIZE(headings)};
    for (size_t i = 0; i < report->fact_count; i++) {
        _cleanup_(free_cleanup) char *pcr = text_format("%u", report->facts[i].pcr);
        output_table_add(&table, report->facts[i].name);
        output_table_add(&table, pcr);
        output_table_add(&table, report->facts[i].value);
    }
    (void)putchar('\n');
    output_table_print(&table);
}

static void print_pcrs(const struct attest_report *report)
{
    static const char *const headings[] = {"PCR", "VALUE"};
    struct output_table table = {.headings = headings, .columns = ARRAY_SIZE(headings)};
    for (size_t i = 0; i < report->pcr_count; i++) {
        _cleanup_(free_cleanup) char *name =
            text_format("%s:%u", report->pcrs[i].bank, report->pcrs[i].index);
        output_table_add(&table, name);
        output_table_add(&table, report->pcrs[i].value);
    }
    (void)putchar('\n');
    output_table_print(&table);
}

void attest_report_print(const struct attest_report *report, bool has_pcrs)
{
    if (report->claim_count > 0) {
        print_claims(report);
    }
    if (report->fact_count > 0) {
        print_facts(report);
    }
    if (has_pcrs && report->pcr_count > 0) {
        print_pcrs(report);
    }
}

void attest_report_json(const struct attest_report *report, json_t *object)
{
    json_t *claims = json_array();
    json_t *facts = json_array();
    json_t *pcrs = json_array();
    for (size_t i = 0; i < report->claim_count; i++) {
        const struct report_claim *claim = &report->claims[i];
        json_array_append_new(claims, json_pack("{s:s, s:s, s:b, s:s, s:s}", "claim", claim->claim,
                                                "result", claim->result, "required",
                                                (int)claim->is_required, "reason", claim->reason,
                                                "text", claim->text));
    }
    for (size_t i = 0; i < report->fact_count; i++) {
        const struct report_fact *fact = &report->facts[i];
        json_array_append_new(facts, json_pack("{s:s, s:s, s:i}", "name", fact->name, "value",
                                               fact->value, "pcr", (int)fact->pcr));
    }
    for (size_t i = 0; i < report->pcr_count; i++) {
        const struct report_pcr *pcr = &report->pcrs[i];
        json_array_append_new(pcrs, json_pack("{s:s, s:i, s:s}", "bank", pcr->bank, "index",
                                              (int)pcr->index, "value", pcr->value));
    }
    (void)json_object_set_new(object, "claims", claims);
    (void)json_object_set_new(object, "facts", facts);
    (void)json_object_set_new(object, "pcrs", pcrs);
}
