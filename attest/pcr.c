#include "attest/pcr.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/memory.h"

/* Bytes of a TPM's bit map of PCR_COUNT registers. */
enum { SELECT_BYTES = PCR_COUNT / 8 };

#define FORM "expected is a form such as sha256:0,2,7+sha1:4"

const struct pcr_bank *pcr_set_bank(const struct pcr_set *set, TPM2_ALG_ID bank)
{
    for (size_t i = 0; i < set->count; i++) {
        if (set->banks[i].bank == bank) {
            return &set->banks[i];
        }
    }
    return NULL;
}

const uint8_t *pcr_set_value(const struct pcr_set *set, TPM2_ALG_ID bank, unsigned index)
{
    const struct pcr_bank *found = pcr_set_bank(set, bank);
    const bool is_known = found && index < PCR_COUNT && (found->mask >> index & 1);
    return is_known ? found->values[index] : NULL;
}

static struct pcr_bank *make_bank(struct pcr_set *set, TPM2_ALG_ID bank)
{
    for (size_t i = 0; i < set->count; i++) {
        if (set->banks[i].bank == bank) {
            return &set->banks[i];
        }
    }
    if (set->count == PCR_BANKS_MAX) {
        return NULL;
    }
    struct pcr_bank *added = &set->banks[set->count++];
    *added = (struct pcr_bank){.bank = bank};
    return added;
}

int pcr_set_put(struct pcr_set *set, TPM2_ALG_ID bank, unsigned index, struct bytes value,
                struct error *err)
{
    const struct hash_algorithm *hash = hash_by_id(bank);
    if (!hash) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "PCR bank 0x%04x is none of sha1, sha256, sha384 and sha512", bank);
    }
    if (index >= PCR_COUNT) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "PCR %u does not exist: there are 0 to %d",
                         index, PCR_COUNT - 1);
    }
    if (value.size != hash->size) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "PCR %u of bank %s has a value of %zu bytes; %zu are expected", index,
                         hash->name, value.size, hash->size);
    }
    struct pcr_bank *into = make_bank(set, bank);
    if (!into) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "more than %d PCR banks", PCR_BANKS_MAX);
    }
    memcpy(into->values[index], value.data, value.size);
    into->mask |= UINT32_C(1) << index;
    return 0;
}

/* One bank's part of a text, cut out of it: "sha256:…". */
static const struct hash_algorithm *cut_bank(char **rest)
{
    const char *name = strsep(rest, ":");
    return *rest ? hash_by_name(name) : NULL;
}

static bool parse_index(const char *text, unsigned *ret_index)
{
    uint64_t value;
    if (text_parse_u64(text, 0, PCR_COUNT - 1, &value, NULL) < 0) {
        return false;
    }
    *ret_index = (unsigned)value;
    return true;
}

int pcr_set_put_text(struct pcr_set *set, const char *text, struct error *err)
{
    _cleanup_(free_cleanup) char *copy = memory_copy_text(text);
    char *rest = copy;
    unsigned index = 0;
    uint8_t value[HASH_MAX_BYTES];
    size_t size = 0;
    const struct hash_algorithm *hash = cut_bank(&rest);
    const char *number = strsep(&rest, "=");
    if (!hash || !rest || !parse_index(number, &index) ||
        OPENSSL_hexstr2buf_ex(value, sizeof(value), &size, rest, '\0') != 1) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "\"%.80s\" is not the value of a PCR; expected is BANK:NUMBER=HEX, such "
                         "as sha256:7=65ca…",
                         text);
    }
    return pcr_set_put(set, hash->id, index, (struct bytes){value, size}, err);
}

/* "0,2,7" */
static int parse_registers(char *list, uint32_t *ret_mask, struct error *err)
{
    uint32_t mask = 0;
    for (const char *number = strsep(&list, ","); number; number = strsep(&list, ",")) {
        unsigned index = 0;
        if (!parse_index(number, &index)) {
            return error_set(err, ERROR_INVALID_ARGUMENT,
                             "\"%.20s\" is not the number of a PCR (0 to %d)", number,
                             PCR_COUNT - 1);
        }
        if (mask >> index) {
            return error_set(err, ERROR_INVALID_ARGUMENT,
                             "PCR %u comes twice or behind a higher one", index);
        }
        mask |= UINT32_C(1) << index;
    }
    *ret_mask = mask;
    return 0;
}

static int add_bank(struct pcr_selection *selection, char *part, struct error *err)
{
    char *registers = part;
    uint32_t mask = 0;
    const struct hash_algorithm *hash = cut_bank(&registers);
    if (!hash) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "\"%.20s\" is not a PCR bank (sha1, sha256, sha384, sha512)", part);
    }
    for (size_t i = 0; i < selection->count; i++) {
        if (selection->banks[i].bank == hash->id) {
            return error_set(err, ERROR_INVALID_ARGUMENT, "bank %s comes twice", hash->name);
        }
    }
    /* As many banks as there are algorithms fit, and none is in it twice. */
    TRY(parse_registers(registers, &mask, err));
    selection->banks[selection->count].bank = hash->id;
    selection->banks[selection->count++].mask = mask;
    return 0;
}

int pcr_selection_parse(const char *text, struct pcr_selection *ret_selection, struct error *err)
{
    _cleanup_(free_cleanup) char *copy = memory_copy_text(text);
    struct pcr_selection selection = {0};
    char *rest = copy;
    for (char *part = strsep(&rest, "+"); part; part = strsep(&rest, "+")) {
        if (add_bank(&selection, part, err) < 0) {
            if (err) {
                struct error why = *err;
                (void)error_set(err, why.code, "PCRs \"%.80s\": %s; " FORM, text, why.text);
            }
            return -1;
        }
    }
    *ret_selection = selection;
    return 0;
}

char *pcr_selection_text(const struct pcr_selection *selection)
{
    char *text = memory_copy_text("");
    for (size_t i = 0; i < selection->count; i++) {
        const struct hash_algorithm *hash = hash_by_id(selection->banks[i].bank);
        const char *separator = ":";
        char *longer = text_format("%s%s%s", text, i ? "+" : "", hash ? hash->name : "unknown");
        free(text);
        text = longer;
        for (unsigned index = 0; index < PCR_COUNT; index++) {
            if (selection->banks[i].mask >> index & 1) {
                longer = text_format("%s%s%u", text, separator, index);
                free(text);
                text = longer;
                separator = ",";
            }
        }
    }
    return text;
}

void pcr_selection_tpm(const struct pcr_selection *selection, TPML_PCR_SELECTION *ret_list)
{
    *ret_list = (TPML_PCR_SELECTION){.count = (uint32_t)selection->count};
    for (size_t i = 0; i < selection->count; i++) {
        TPMS_PCR_SELECTION *item = &ret_list->pcrSelections[i];
        item->hash = selection->banks[i].bank;
        item->sizeofSelect = SELECT_BYTES;
        for (size_t byte = 0; byte < SELECT_BYTES; byte++) {
            item->pcrSelect[byte] = (uint8_t)(selection->banks[i].mask >> (8 * byte));
        }
    }
}

bool pcr_selection_is_quoted(const struct pcr_selection *selection,
                             const TPML_PCR_SELECTION *quoted)
{
    TPML_PCR_SELECTION wanted;
    pcr_selection_tpm(selection, &wanted);
    bool is_same = wanted.count == quoted->count;
    for (size_t i = 0; is_same && i < wanted.count; i++) {
        const TPMS_PCR_SELECTION *want = &wanted.pcrSelections[i];
        const TPMS_PCR_SELECTION *have = &quoted->pcrSelections[i];
        is_same = want->hash == have->hash && want->sizeofSelect == have->sizeofSelect &&
                  memcmp(want->pcrSelect, have->pcrSelect, SELECT_BYTES) == 0;
    }
    return is_same;
}

int pcr_set_digest(const struct pcr_set *set, const struct pcr_selection *selection,
                   const struct hash_algorithm *hash, uint8_t ret_digest[HASH_MAX_BYTES],
                   struct error *err)
{
    struct bytes parts[PCR_BANKS_MAX * PCR_COUNT];
    size_t count = 0;
    for (size_t i = 0; i < selection->count; i++) {
        const struct hash_algorithm *bank = hash_by_id(selection->banks[i].bank);
        for (unsigned index = 0; index < PCR_COUNT; index++) {
            if (!(selection->banks[i].mask >> index & 1)) {
                continue;
            }
            const uint8_t *value = pcr_set_value(set, selection->banks[i].bank, index);
            if (!bank || !value) {
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "the value of PCR %u of bank %s is not there", index,
                                 bank ? bank->name : "unknown");
            }
            parts[count++] = (struct bytes){value, bank->size};
        }
    }
    return hash_compute(hash, parts, count, ret_digest, err);
}
