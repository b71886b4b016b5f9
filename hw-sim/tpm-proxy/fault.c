#include "hw-sim/tpm-proxy/fault.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hw-sim/tpm-proxy/pace.h"

static const struct {
    const char *name;
    enum fault_kind kind;
    bool has_value;
} kinds[] = {
    {"delay", FAULT_DELAY, true}, {"drop", FAULT_DROP, false},    {"lose", FAULT_LOSE, false},
    {"hang", FAULT_HANG, false},  {"answer", FAULT_ANSWER, true},
};

struct words {
    char *const *words;
    size_t count;
};

static const char *next_word(struct words *words)
{
    if (words->count == 0) {
        return "";
    }
    words->count--;
    return *words->words++;
}

static int parse_number(const char *text, uint32_t minimum, uint32_t *ret, struct error *err)
{
    char *end = NULL;
    errno = 0;
    unsigned long number = strtoul(text, &end, 0);
    if (*text < '0' || *text > '9' || errno != 0 || *end != '\0' || number > UINT32_MAX ||
        number < minimum) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "'%s' is not a number of at least %u", text,
                         minimum);
    }
    *ret = (uint32_t)number;
    return 0;
}

static int parse_kind(struct words *words, struct fault *fault, struct error *err)
{
    const char *word = next_word(words);
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (strcmp(kinds[i].name, word) == 0) {
            fault->kind = kinds[i].kind;
            return kinds[i].has_value ? parse_number(next_word(words), 0, &fault->value, err) : 0;
        }
    }
    return error_set(err, ERROR_INVALID_ARGUMENT, "'%s' is no command; see tpm-proxy --help", word);
}

static int parse_when(struct words *words, struct fault *fault, struct error *err)
{
    const char *word = next_word(words);
    if (strcmp(word, "on") == 0) {
        const char *command = next_word(words);
        fault->command = pace_command_code(command);
        return fault->command ? 0
                              : error_set(err, ERROR_INVALID_ARGUMENT,
                                          "'%s' is not the name or code of a TPM command", command);
    }
    if (strcmp(word, "next") == 0) {
        fault->is_limited = true;
        return parse_number(next_word(words), 1, &fault->left, err);
    }
    if (strcmp(word, "each") == 0) {
        return parse_number(next_word(words), 1, &fault->each, err);
    }
    return error_set(err, ERROR_INVALID_ARGUMENT, "'%s' is none of: on, next, each", word);
}

int fault_add(struct fault_list *list, char *const words[], size_t count, struct error *err)
{
    struct words rest = {words, count};
    struct fault fault = {.number = list->last_number + 1};
    TRY(parse_kind(&rest, &fault, err));
    while (rest.count > 0) {
        TRY(parse_when(&rest, &fault, err));
    }
    if (list->count == FAULTS_MAX) {
        return error_set(err, ERROR_RESOURCE_EXHAUSTED, "there are %d faults already; clear them",
                         FAULTS_MAX);
    }
    list->faults[list->count++] = fault;
    list->last_number = fault.number;
    return 0;
}

static bool applies(struct fault *fault, uint32_t command)
{
    if ((fault->command && fault->command != command) || (fault->is_limited && fault->left == 0)) {
        return false;
    }
    fault->seen++;
    if (fault->each > 0 && fault->seen % fault->each != 0) {
        return false;
    }
    fault->left -= fault->is_limited ? 1 : 0;
    return true;
}

struct fault fault_take(struct fault_list *list, uint32_t command)
{
    for (size_t i = 0; i < list->count; i++) {
        if (applies(&list->faults[i], command)) {
            return list->faults[i];
        }
    }
    return (struct fault){.kind = FAULT_NONE};
}

bool fault_is_there(const struct fault_list *list, uint64_t number)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->faults[i].number == number) {
            return true;
        }
    }
    return false;
}

void fault_clear(struct fault_list *list)
{
    list->count = 0;
}
