#include "client/command.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "client/sockets.h"
#include "lib/base/memory.h"

enum { OPTIONS_MAX = 40, LETTERS_MAX = 6, HELP_COLUMN = 28 };

int option_set_text(void *field, const char *text, struct error *err)
{
    char **place = field;
    if (!text[0]) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "a value is needed");
    }
    free(*place);
    *place = memory_copy_text(text);
    return 0;
}

int option_set_list(void *field, const char *text, struct error *err)
{
    if (!text[0]) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "a value is needed");
    }
    text_list_add(field, text);
    return 0;
}

int option_set_comma_list(void *field, const char *text, struct error *err)
{
    struct reader reader = reader_of(bytes_of_text(text));
    if (text[0] && text[strlen(text) - 1] == ',') {
        return error_set(err, ERROR_INVALID_ARGUMENT, "a value is needed after the last comma");
    }
    do {
        struct bytes item = reader_until(&reader, ',');
        _cleanup_(free_cleanup) char *copy = text_format("%.*s", (int)item.size, item.data);
        TRY(option_set_list(field, copy, err));
    } while (!reader_is_done(&reader));
    return 0;
}

int option_set_duration(void *field, const char *text, struct error *err)
{
    return text_parse_duration_ms(text, field, err);
}

int option_set_seconds(void *field, const char *text, struct error *err)
{
    TRY(option_set_duration(field, text, err));
    uint64_t ms = *(uint64_t *)field;
    if (ms == 0 || ms % 1000 != 0 || ms / 1000 > UINT32_MAX) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "\"%s\" is not a time of one or more whole seconds", text);
    }
    return 0;
}

int option_set_pid(void *field, const char *text, struct error *err)
{
    enum { PID_MAX = 1 << 22 }; /* the kernel's bound */
    return text_parse_u64(text, 1, PID_MAX, field, err);
}

int option_set_flag(void *field, const char *text, struct error *err)
{
    (void)text;
    (void)err;
    *(bool *)field = true;
    return 0;
}

static int set_output(void *field, const char *text, struct error *err)
{
    static const char *const names[] = {[OUTPUT_TEXT] = "text", [OUTPUT_JSON] = "json"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            *(enum output_format *)field = (enum output_format)i;
            return 0;
        }
    }
    return error_set(err, ERROR_INVALID_ARGUMENT, "\"%s\" is not text or json", text);
}

static const struct command_option common_options[] = {
    {"run-dir", "DIR", "the agent's run_dir (SIGNET_RUN_DIR, " SOCKETS_DEFAULT_RUN_DIR ")",
     option_set_text, offsetof(struct arguments, run_dir), false},
    {"output", "FORMAT", "text or json", set_output, offsetof(struct arguments, output), false},
};

/* The options of a command one after the other: its own, then those of all. */
static const struct command_option *option_at(const struct command *command, size_t index)
{
    size_t own = command ? command->option_count : 0;
    if (index < own) {
        return &command->options[index];
    }
    index -= own;
    return index < ARRAY_SIZE(common_options) ? &common_options[index] : NULL;
}

static void print_option(const char *name, const char *argument, const char *about)
{
    int width = printf("  --%s%s%s", name, argument ? " " : "", argument ? argument : "");
    (void)printf("%*s%s\n", MAX(HELP_COLUMN - width, 2), "", about);
}

static void print_help(const struct command *command)
{
    (void)printf("signet %s - %s\n\nusage: signet %s", command->name, command->summary,
                 command->name);
    for (size_t i = 0; i < command->option_count; i++) {
        const struct command_option *option = &command->options[i];
        bool has_argument = option->argument != NULL;
        (void)printf(option->is_required ? " --%s%s%s" : " [--%s%s%s]", option->name,
                     has_argument ? " " : "", has_argument ? option->argument : "");
    }
    if (command->operand) {
        (void)printf(" [%s]", command->operand);
    }
    if (command->second_operand) {
        (void)printf(" [%s]", command->second_operand);
    }
    (void)puts(command->takes_words ? " [-- COMMAND ARGS...]" : " [--output text|json]");
    if (command->about) {
        (void)printf("\n%s\n", command->about);
    }
    (void)puts("");
    for (size_t i = 0; option_at(command, i); i++) {
        const struct command_option *option = option_at(command, i);
        print_option(option->name, option->argument, option->help);
    }
    print_option("help", NULL, "print this");
    (void)printf("\nexample: %s\n", command->example);
}

void command_print_overview(void)
{
    (void)puts("signet - SPIFFE identities whose keys stay in hardware\n"
               "\n"
               "usage: signet [--run-dir DIR] [--output text|json] COMMAND [OPTIONS]\n");
    for (size_t i = 0; commands[i]; i++) {
        (void)printf("  %-24s %s\n", commands[i]->name, commands[i]->summary);
    }
    (void)puts(
        "\n"
        "signet COMMAND --help tells more of a command. Sockets are looked for in --run-dir,\n"
        "else SIGNET_RUN_DIR, else " SOCKETS_DEFAULT_RUN_DIR "; that of the Workload API also by\n"
        "SPIFFE_ENDPOINT_SOCKET. Exit status: 0 done, 1 failed, 2 wrong usage, 3 denied.");
}

static void list_known(const struct command *command, struct buffer *ret_text)
{
    for (size_t i = 0; option_at(command, i); i++) {
        buffer_append_text(ret_text, "--");
        buffer_append_text(ret_text, option_at(command, i)->name);
        buffer_append_text(ret_text, ", ");
    }
    buffer_append_text(ret_text, "--help");
    buffer_append_u8(ret_text, 0);
}

static int refuse_option(const struct command *command, int kind, const char *word,
                         struct error *err)
{
    _cleanup_(buffer_clear) struct buffer known = {0};
    if (kind == ':') {
        return error_set(err, ERROR_INVALID_ARGUMENT, "%s needs a value", word);
    }
    list_known(command, &known);
    return error_set(err, ERROR_INVALID_ARGUMENT, "%s is not known here; known are %s", word,
                     (const char *)known.data);
}

static int check_rest(const struct command *command, const uint64_t given, int argc, char **argv,
                      struct arguments *arguments, struct error *err)
{
    if (!command) {
        return 0;
    }
    if (command->operand && optind < argc) {
        free(arguments->operand);
        arguments->operand = memory_copy_text(argv[optind++]);
    }
    if (command->second_operand && optind < argc) {
        free(arguments->second_operand);
        arguments->second_operand = memory_copy_text(argv[optind++]);
    }
    if (command->takes_words && optind < argc && strcmp(argv[optind - 1], "--") == 0) {
        arguments->words = &argv[optind];
    } else if (optind < argc) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "\"%s\" is not expected", argv[optind]);
    }
    for (size_t i = 0; i < command->option_count; i++) {
        if (command->options[i].is_required && !(given & (UINT64_C(1) << i))) {
            return error_set(err, ERROR_INVALID_ARGUMENT, "--%s %s is needed",
                             command->options[i].name, command->options[i].argument);
        }
    }
    return 0;
}

/* Options in the form that getopt_long wants; val is the index and 256. */
static void make_long_options(const struct command *command,
                              struct option ret_options[OPTIONS_MAX + 1])
{
    size_t count = 0;
    for (; option_at(command, count) && count < OPTIONS_MAX - 1; count++) {
        ret_options[count] = (struct option){
            .name = option_at(command, count)->name,
            .has_arg = option_at(command, count)->argument ? required_argument : no_argument,
            .val = 256 + (int)count};
    }
    ret_options[count] = (struct option){.name = "help", .val = 'h'};
    ret_options[count + 1] = (struct option){0};
}

/* How getopt_long reads: "+" stops at the first word, ":" tells a missing value apart. */
static void make_letters(const struct command *command, char ret_letters[LETTERS_MAX])
{
    size_t used = 0;
    if (!command || command->takes_words) {
        ret_letters[used++] = '+';
    }
    ret_letters[used++] = ':';
    ret_letters[used++] = 'h';
    if (command && command->first_letter) {
        ret_letters[used++] = command->first_letter;
        ret_letters[used++] = ':';
    }
    ret_letters[used] = 0;
}

int command_parse(const struct command *command, int argc, char **argv, struct arguments *arguments,
                  struct error *err)
{
    struct option known[OPTIONS_MAX + 1];
    char letters[LETTERS_MAX];
    uint64_t given = 0;
    make_long_options(command, known);
    make_letters(command, letters);
    optind = 0;
    opterr = 0;
    for (int found = 0; (found = getopt_long(argc, argv, letters, known, NULL)) != -1;) {
        if (found == 'h') {
            command ? print_help(command) : command_print_overview();
            return 1;
        }
        if (found == '?' || found == ':') {
            return refuse_option(command, found, argv[optind - 1], err);
        }
        size_t index = found >= 256 ? (size_t)found - 256 : 0;
        const struct command_option *option = option_at(command, index);
        if (option->set((char *)arguments + option->offset, optarg ? optarg : "true", err) < 0) {
            return error_prepend(err, "--%s", option->name);
        }
        given |= UINT64_C(1) << index;
    }
    return check_rest(command, given, argc, argv, arguments, err);
}

/* How many words of argv the name is made of; 0: argv says something else. */
static int matching_words(const char *name, int argc, char **argv)
{
    int words = 0;
    struct reader reader = reader_of(bytes_of_text(name));
    do {
        struct bytes word = reader_until(&reader, ' ');
        if (words == argc || !bytes_is_equal(word, bytes_of_text(argv[words]))) {
            return 0;
        }
        words++;
    } while (!reader_is_done(&reader));
    return words;
}

const struct command *command_find(int argc, char **argv, int *ret_words)
{
    for (size_t i = 0; commands[i]; i++) {
        *ret_words = matching_words(commands[i]->name, argc, argv);
        if (*ret_words > 0) {
            return commands[i];
        }
    }
    return NULL;
}

void arguments_clear(struct arguments *arguments)
{
    free(arguments->run_dir);
    free(arguments->folder);
    free(arguments->spiffe_id);
    free(arguments->token);
    free(arguments->id);
    free(arguments->hint);
    free(arguments->config);
    free(arguments->operand);
    free(arguments->keys);
    free(arguments->head);
    free(arguments->serial);
    free(arguments->since);
    free(arguments->until);
    free(arguments->executable);
    free(arguments->reason);
    free(arguments->tcti);
    free(arguments->authority);
    free(arguments->to_sign);
    free(arguments->signature);
    free(arguments->subject);
    free(arguments->second_operand);
    free(arguments->key_id);
    free(arguments->challenge);
    free(arguments->out);
    free(arguments->secret);
    free(arguments->ek_cas);
    free(arguments->bundle);
    free(arguments->policy);
    free(arguments->at);
    free(arguments->name);
    free(arguments->pcrs);
    free(arguments->event_log);
    buffer_clear(&arguments->nonce);
    text_list_clear(&arguments->ek_hashes);
    text_list_clear(&arguments->pcr_values);
    for (size_t i = 0; i < HELPER_BLOCK_OPTIONS_MAX; i++) {
        text_list_clear(&arguments->block[i]);
    }
    text_list_clear(&arguments->audience);
    text_list_clear(&arguments->selectors);
    text_list_clear(&arguments->dns_names);
    *arguments = (struct arguments){0};
}
