#include "client/attest_pcrs.h"

#include <string.h>

#include "attest/event_log.h"
#include "lib/base/memory.h"

void attest_pcrs_clear(struct attest_pcrs *pcrs)
{
    for (size_t i = 0; i < pcrs->count; i++) {
        admin__pcr__free_unpacked(pcrs->items[i], NULL);
    }
    free((void *)pcrs->items);
    *pcrs = (struct attest_pcrs){0};
}

int attest_pcrs_set_open(void *field, const char *text, struct error *err)
{
    _cleanup_(text_list_clear) struct text_list items = {0};
    uint32_t mask = *(uint32_t *)field;
    TRY(option_set_comma_list(&items, text, err));
    for (size_t i = 0; i < items.count; i++) {
        uint64_t index = 0;
        TRY(text_parse_u64(items.items[i], 0, PCR_COUNT - 1, &index, err));
        mask |= UINT32_C(1) << index;
    }
    *(uint32_t *)field = mask;
    return 0;
}

/* The values of --pcr, on top of what is in the set. */
static int put_values(const struct text_list *values, uint32_t open_mask, struct pcr_set *set,
                      struct error *err)
{
    for (size_t i = 0; i < values->count; i++) {
        struct pcr_set one = {0};
        if (pcr_set_put_text(set, values->items[i], err) < 0 ||
            pcr_set_put_text(&one, values->items[i], err) < 0) {
            return error_prepend(err, "--pcr");
        }
        if (one.banks[0].mask & open_mask) {
            return error_set(err, ERROR_INVALID_ARGUMENT,
                             "--pcr %s: --open says that it may have any value", values->items[i]);
        }
    }
    return 0;
}

int attest_pcrs_check(const struct text_list *values, const char *selection, uint32_t open_mask,
                      struct error *err)
{
    struct pcr_set set = {0};
    struct pcr_selection ignored;
    if (selection && pcr_selection_parse(selection, &ignored, err) < 0) {
        return error_prepend(err, "--pcrs");
    }
    return put_values(values, open_mask, &set, err);
}

/* The registers that the agent has quoted. */
static int ask_selection(struct rpc_client *client, struct pcr_selection *ret_selection,
                         struct error *err)
{
    Admin__GetAttestationRequest request = ADMIN__GET_ATTESTATION_REQUEST__INIT;
    ProtobufCMessage *message = NULL;
    TRY(rpc_client_call(client, "/signet.admin.v1.Admin/GetAttestation", &request.base,
                        &admin__get_attestation_response__descriptor, &message, err));
    const Admin__GetAttestationResponse *state = (const Admin__GetAttestationResponse *)message;
    _cleanup_(free_cleanup) char *names = attest_pcrs_names(state->pcrs, state->n_pcrs);
    protobuf_c_message_free_unpacked(message, NULL);
    if (!names[0]) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "the agent has quoted no registers; say with --pcrs which values to take "
                         "from the log");
    }
    return pcr_selection_parse(names, ret_selection, err);
}

static int put_bank(const struct event_log *log, TPM2_ALG_ID bank, uint32_t mask,
                    struct pcr_set *set, struct error *err)
{
    struct pcr_bank replayed = {0};
    TRY(event_log_replay(log, bank, &replayed, err));
    for (unsigned i = 0; i < PCR_COUNT; i++) {
        struct bytes value = {replayed.values[i], hash_by_id(bank)->size};
        if (mask & (UINT32_C(1) << i)) {
            TRY(pcr_set_put(set, bank, i, value, err));
        }
    }
    return 0;
}

static int put_log(const char *path, const struct pcr_selection *selection, uint32_t open_mask,
                   struct pcr_set *set, struct error *err)
{
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    _cleanup_(event_log_clear) struct event_log log = {0};
    TRY(buffer_read_file(path, EVENT_LOG_MAX_BYTES, &bytes, err));
    if (event_log_parse(buffer_bytes(&bytes), &log, err) < 0) {
        return error_prepend(err, "reading the boot event log %s", path);
    }
    for (size_t i = 0; i < selection->count; i++) {
        if (put_bank(&log, selection->banks[i].bank, selection->banks[i].mask & ~open_mask, set,
                     err) < 0) {
            return error_prepend(err, "following the boot event log %s", path);
        }
    }
    return 0;
}

static void take_value(const struct pcr_bank *bank, unsigned index, struct attest_pcrs *pcrs)
{
    const struct hash_algorithm *hash = hash_by_id(bank->bank);
    Admin__Pcr *pcr = NEW(Admin__Pcr);
    admin__pcr__init(pcr);
    pcr->bank = memory_copy_text(hash->name);
    pcr->index = index;
    pcr->value.data = memory_new(hash->size);
    pcr->value.len = hash->size;
    memcpy(pcr->value.data, bank->values[index], hash->size);
    pcrs->items = memory_resize_array((void *)pcrs->items, pcrs->count + 1, sizeof(Admin__Pcr *));
    pcrs->items[pcrs->count++] = pcr;
}

int attest_pcrs_collect(const struct arguments *arguments, struct rpc_client *client,
                        struct attest_pcrs *ret_pcrs, struct error *err)
{
    struct pcr_set set = {0};
    struct pcr_selection selection = {0};
    if (arguments->event_log) {
        TRY(arguments->pcrs ? pcr_selection_parse(arguments->pcrs, &selection, err)
                            : ask_selection(client, &selection, err));
        TRY(put_log(arguments->event_log, &selection, arguments->open_mask, &set, err));
    }
    TRY(put_values(&arguments->pcr_values, arguments->open_mask, &set, err));
    for (size_t i = 0; i < set.count; i++) {
        for (unsigned j = 0; j < PCR_COUNT; j++) {
            if (set.banks[i].mask & (UINT32_C(1) << j)) {
                take_value(&set.banks[i], j, ret_pcrs);
            }
        }
    }
    return 0;
}

char *attest_pcrs_names(Admin__Pcr *const *items, size_t count)
{
    char *text = memory_copy_text("");
    for (size_t i = 0; i < count; i++) {
        _cleanup_(free_cleanup) char *before = text;
        bool is_same_bank = i > 0 && strcmp(items[i]->bank, items[i - 1]->bank) == 0;
        text = is_same_bank ? text_format("%s,%u", before, items[i]->index)
                            : text_format("%s%s%s:%u", before, i > 0 ? "+" : "", items[i]->bank,
                                          items[i]->index);
    }
    return text;
}
