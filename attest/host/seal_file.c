#include "attest/host/seal_file.h"

#include <openssl/x509.h>
#include <string.h>

#include "lib/base/memory.h"

static struct seal_state *new_state(struct seal_file *file)
{
    file->states = memory_resize_array(file->states, file->state_count + 1, sizeof(*file->states));
    struct seal_state *state = &file->states[file->state_count++];
    memset(state, 0, sizeof(*state));
    return state;
}

/* The registers of the selection, each from pcrs. */
static int copy_selected(const struct pcr_selection *selection, const struct pcr_set *pcrs,
                         struct pcr_set *ret_pcrs, struct error *err)
{
    for (size_t i = 0; i < selection->count; i++) {
        TPM2_ALG_ID bank = selection->banks[i].bank;
        const struct hash_algorithm *hash = hash_by_id(bank);
        for (unsigned index = 0; index < PCR_COUNT; index++) {
            if (!(selection->banks[i].mask >> index & 1)) {
                continue;
            }
            const uint8_t *value = pcr_set_value(pcrs, bank, index);
            if (!value) {
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "the value of %s:%u is needed and was not given", hash->name,
                                 index);
            }
            TRY(pcr_set_put(ret_pcrs, bank, index, (struct bytes){value, hash->size}, err));
        }
    }
    return 0;
}

int seal_file_add(struct seal_file *file, const struct pcr_set *pcrs, struct seal_state **ret_state,
                  struct error *err)
{
    if (file->state_count == SEAL_STATES_MAX) {
        return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                         "a sealed file has room for %d sets of register values and has as many; "
                         "seal the secret anew",
                         SEAL_STATES_MAX);
    }
    struct seal_state *state = new_state(file);
    if (copy_selected(&file->selection, pcrs, &state->pcrs, err) < 0) {
        file->state_count--;
        return -1;
    }
    *ret_state = state;
    return 0;
}

/* In how many registers the state differs from pcrs; their names are appended where wanted. */
static size_t compare(const struct pcr_selection *selection, const struct seal_state *state,
                      const struct pcr_set *pcrs, struct buffer *names)
{
    size_t count = 0;
    for (size_t i = 0; i < selection->count; i++) {
        const struct hash_algorithm *hash = hash_by_id(selection->banks[i].bank);
        for (unsigned index = 0; index < PCR_COUNT; index++) {
            if (!(selection->banks[i].mask >> index & 1)) {
                continue;
            }
            const uint8_t *wanted = pcr_set_value(&state->pcrs, hash->id, index);
            const uint8_t *found = pcr_set_value(pcrs, hash->id, index);
            if (wanted && found && memcmp(wanted, found, hash->size) == 0) {
                continue;
            }
            if (names) {
                _cleanup_(free_cleanup) char *name =
                    text_format("%s%s:%u", count ? ", " : "", hash->name, index);
                buffer_append_text(names, name);
            }
            count++;
        }
    }
    return count;
}

const struct seal_state *seal_file_find(const struct seal_file *file, const struct pcr_set *pcrs)
{
    for (size_t i = 0; i < file->state_count; i++) {
        if (compare(&file->selection, &file->states[i], pcrs, NULL) == 0) {
            return &file->states[i];
        }
    }
    return NULL;
}

char *seal_file_difference(const struct seal_file *file, const struct pcr_set *pcrs)
{
    _cleanup_(buffer_clear) struct buffer names = {0};
    const struct seal_state *nearest = NULL;
    size_t least = SIZE_MAX;
    for (size_t i = 0; i < file->state_count; i++) {
        size_t count = compare(&file->selection, &file->states[i], pcrs, NULL);
        if (count < least) {
            least = count;
            nearest = &file->states[i];
        }
    }
    if (nearest) {
        (void)compare(&file->selection, nearest, pcrs, &names);
    }
    return text_format("%.*s", (int)names.size, names.size ? (const char *)names.data : "");
}

void seal_file_free(struct seal_file *file)
{
    EVP_PKEY_free(file->authority);
    free(file->states);
    free(file);
}
