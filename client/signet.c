/* signet: asks and tells the agent. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "client/subcommands.h"
#include "lib/base/memory.h"

/* The commands that begin like the words that were given, or all. */
static void list_candidates(const char *first_word, struct buffer *ret_text)
{
    size_t size = first_word ? strlen(first_word) : 0;
    bool has_any = false;
    for (int pass = 0; pass < 2 && !has_any; pass++) {
        for (size_t i = 0; commands[i]; i++) {
            bool is_near = first_word && strncmp(commands[i]->name, first_word, size) == 0 &&
                           strchr(" ", commands[i]->name[size]);
            if (is_near || pass == 1) {
                buffer_append_text(ret_text, has_any ? ", " : "");
                buffer_append_text(ret_text, commands[i]->name);
                has_any = true;
            }
        }
    }
    buffer_append_u8(ret_text, 0);
}

static int refuse_command(int argc, char **argv, struct error *err)
{
    _cleanup_(buffer_clear) struct buffer known = {0};
    _cleanup_(buffer_clear) struct buffer given = {0};
    for (int i = 0; i < argc && i < 3 && argv[i][0] != '-'; i++) {
        buffer_append_text(&given, i ? " " : "");
        buffer_append_text(&given, argv[i]);
    }
    buffer_append_u8(&given, 0);
    list_candidates(argc > 0 ? argv[0] : NULL, &known);
    return error_set(err, ERROR_INVALID_ARGUMENT, "\"%s\" is not a command; known are: %s",
                     (const char *)given.data, (const char *)known.data);
}

static bool is_help_wanted(int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0 ||
            strcmp(argv[i], "help") == 0) {
            return true;
        }
    }
    return false;
}

/* Returns 0 done, -1 with an error; ret_command is set as soon as it is known. */
static int run(int argc, char **argv, struct arguments *arguments,
               const struct command **ret_command, struct error *err)
{
    int words = 0;
    int parsed = command_parse(NULL, argc, argv, arguments, err);
    if (parsed != 0) {
        return parsed < 0 ? -1 : 0;
    }
    argc -= optind;
    argv += optind;
    if (argc == 0) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "a command is needed; see signet --help");
    }
    const struct command *command = command_find(argc, argv, &words);
    if (!command && is_help_wanted(argc, argv)) {
        command_print_overview();
        return 0;
    }
    if (!command) {
        return refuse_command(argc, argv, err);
    }
    *ret_command = command;
    /* The last word takes the place of the program's name. */
    parsed = command_parse(command, argc - words + 1, argv + words - 1, arguments, err);
    if (parsed != 0) {
        return parsed < 0 ? -1 : 0;
    }
    return command->run(arguments, err);
}

int main(int argc, char **argv)
{
    /* A delivered key passes through; nothing of it is to stay in a core file. */
    const struct rlimit no_core = {0, 0};
    (void)setrlimit(RLIMIT_CORE, &no_core);
    _cleanup_(arguments_clear) struct arguments arguments = {0};
    const struct command *command = NULL;
    struct error error;
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        (void)puts("signet " SIGNET_VERSION);
        return 0;
    }
    if (run(argc, argv, &arguments, &command, &error) < 0) {
        (void)fflush(stdout);
        (void)fprintf(stderr, "signet%s%s: %s\n", command ? " " : "", command ? command->name : "",
                      error.text);
        return error_exit_code(error.code);
    }
    /* A full disk behind stdout is a failure too. */
    if (fflush(stdout) != 0 || ferror(stdout)) {
        (void)fputs("signet: writing the output failed\n", stderr);
        return 1;
    }
    return 0;
}
