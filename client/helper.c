/* signet helper */
#include <stdio.h>
#include <string.h>

#include "client/helper_loop.h"
#include "client/sockets.h"
#include "client/subcommands.h"
#include "lib/base/memory.h"

enum { ONCE_TIMEOUT_MS = 30000 };

static int set_words(void *field, const char *text, struct error *err)
{
    _cleanup_(free_cleanup) char *copy = memory_copy_text(text);
    for (char *rest = NULL, *word = strtok_r(copy, " ", &rest); word;
         word = strtok_r(NULL, " ", &rest)) {
        TRY(option_set_list(field, word, err));
    }
    return 0;
}

#define BLOCK(index) offsetof(struct arguments, block[index])

/* Those from "spiffe-id" on are keys of the configuration, spelled with dashes. */
static const struct command_option helper_options[] = {
    {"config", "FILE", "what to keep up to date (-c FILE)", option_set_text,
     offsetof(struct arguments, config), false},
    {"once", NULL, "write the files, then exit", option_set_flag,
     offsetof(struct arguments, is_once), false},
    {"check", NULL, "only say whether the configuration is right", option_set_flag,
     offsetof(struct arguments, is_check), false},
    {"timeout", "TIME", "with --once: how long to wait for the identity (30s)", option_set_duration,
     offsetof(struct arguments, timeout_ms), false},
    {"spiffe-id", "ID", "the identity, where the process has several", option_set_list, BLOCK(0),
     false},
    {"hint", "TEXT", "the same by the entry's hint", option_set_list, BLOCK(1), false},
    {"directory", "DIR", "where the files go", option_set_list, BLOCK(2), false},
    {"certificate", "NAME", "certificate chain, PEM", option_set_list, BLOCK(3), false},
    {"bundle", "NAME", "trusted authorities, PEM", option_set_list, BLOCK(4), false},
    {"key-uri", "NAME", "PKCS#11 URI of the key", option_set_list, BLOCK(5), false},
    {"key-uri-pem", "NAME", "the same as PEM, for pkcs11-provider", option_set_list, BLOCK(6),
     false},
    {"key", "NAME", "a delivered key, PEM; on tmpfs only", option_set_list, BLOCK(7), false},
    {"intermediates-in-bundle", "BOOL", "not in the certificate's file (false)", option_set_list,
     BLOCK(8), false},
    {"federated-bundles", "BOOL", "in the bundle too (false)", option_set_list, BLOCK(9), false},
    {"omit-expired", "BOOL", "authorities that have expired (false)", option_set_list, BLOCK(10),
     false},
    {"audience", "A[,B]", "of the JWT-SVID in --token", option_set_comma_list, BLOCK(11), false},
    {"token", "NAME", "a JWT-SVID", option_set_list, BLOCK(12), false},
    {"jwt-bundle", "NAME", "JWK sets by trust domain, JSON", option_set_list, BLOCK(13), false},
    {"owner", "USER", "of the files", option_set_list, BLOCK(14), false},
    {"group", "GROUP", "of the files", option_set_list, BLOCK(15), false},
    {"mode", "MODE", "of the public files (0644)", option_set_list, BLOCK(16), false},
    {"key-mode", "MODE", "of keys and tokens (0600)", option_set_list, BLOCK(17), false},
    {"reload-signal", "NAME", "sent to --pid-file or COMMAND after a change", option_set_list,
     BLOCK(18), false},
    {"pid-file", "FILE", "whose process gets it", option_set_list, BLOCK(19), false},
    {"reload-command", "WORDS", "run after a change; split at blanks, no shell", set_words,
     BLOCK(20), false},
    {"reload-timeout", "TIME", "how long that may take (30s)", option_set_list, BLOCK(21), false},
    {"remove-withdrawn", "BOOL", "also public files of an identity that is taken away (false)",
     option_set_list, BLOCK(22), false},
    {"log-level", "LEVEL", "debug, info, warning or error (info)", option_set_list, BLOCK(23),
     false},
};

/* The list that a key's option was read into; NULL: it is no key. */
static const struct text_list *values_of(const struct arguments *arguments,
                                         const struct command_option *option)
{
    return option->offset >= BLOCK(0) && option->offset < BLOCK(HELPER_BLOCK_OPTIONS_MAX)
               ? (const struct text_list *)(const void *)((const char *)arguments + option->offset)
               : NULL;
}

static int configure_by_options(const struct arguments *arguments, struct helper_config *ret_config,
                                struct error *err)
{
    _cleanup_(helper_config_options_free_cleanup) struct helper_config_options *options =
        helper_config_options_new();
    for (size_t i = 0; i < ARRAY_SIZE(helper_options); i++) {
        const struct text_list *values = values_of(arguments, &helper_options[i]);
        for (size_t j = 0; values && j < values->count; j++) {
            TRY(helper_config_options_add(options, helper_options[i].name, j, values->items[j],
                                          err));
        }
    }
    return helper_config_options_finish(options, ret_config, err);
}

static int check_alone(const struct arguments *arguments, struct error *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(helper_options); i++) {
        const struct text_list *values = values_of(arguments, &helper_options[i]);
        if (values && values->count > 0) {
            return error_set(err, ERROR_INVALID_ARGUMENT,
                             "--%s belongs into the file of --config; use the file or options, not "
                             "both",
                             helper_options[i].name);
        }
    }
    return 0;
}

static int check_outputs(const struct arguments *arguments, const struct helper_config *config,
                         struct error *err)
{
    for (size_t i = 0; i < config->output_count; i++) {
        const struct helper_output *output = &config->outputs[i];
        if (output->reload_signal && !output->pid_file && !arguments->words) {
            return error_set(err, ERROR_INVALID_ARGUMENT,
                             "\"%.100s\": reload_signal goes to nobody; name a pid_file, or run "
                             "COMMAND after --",
                             output->name);
        }
        if (!arguments->is_check) {
            TRY(helper_task_check(output, err));
        }
    }
    return 0;
}

int helper_configure(const struct arguments *arguments, struct helper_config *ret_config,
                     struct error *err)
{
    _cleanup_(helper_config_clear) struct helper_config config = {0};
    if (arguments->config) {
        TRY(check_alone(arguments, err));
        TRY(helper_config_read(arguments->config, &config, err));
    } else {
        TRY(configure_by_options(arguments, &config, err));
    }
    TRY(check_outputs(arguments, &config, err));
    *ret_config = config;
    config = (struct helper_config){0};
    return 0;
}

static int check_usage(const struct arguments *arguments, struct error *err)
{
    if (arguments->is_once && arguments->words) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "--once ends when the files are there, and COMMAND needs them renewed; "
                         "leave one out");
    }
    if (arguments->timeout_ms && !arguments->is_once) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "--timeout goes with --once");
    }
    return 0;
}

/* What threads use lives as long as the process, which ends without waiting for them. */
static int help(const struct arguments *arguments, struct error *err)
{
    static struct arguments connection;
    static struct helper_loop loop = {.signals = -1};
    static struct helper_feed_handler handler = {&loop.helper, helper_told};
    struct helper *helper = &loop.helper;
    TRY(check_usage(arguments, err));
    TRY(helper_configure(arguments, &helper->config, err));
    if (arguments->is_check) {
        helper_config_clear(&helper->config);
        return 0;
    }
    loop.arguments = arguments;
    loop.command = arguments->words;
    loop.is_once = arguments->is_once;
    loop.timeout_ms = arguments->timeout_ms ? arguments->timeout_ms : ONCE_TIMEOUT_MS;
    connection.run_dir =
        memory_copy_text(arguments->run_dir ? arguments->run_dir : helper->config.run_dir);
    log_set_level(helper->config.log_level);
    TRY(helper_loop_prepare(&loop, err));
    TRY(helper_feed_new(&connection, &handler, &helper->feed, err));
    helper_tasks_make(helper);
    TRY(helper_tasks_watch(helper, err));
    TRY(helper_loop_run(&loop, err));
    (void)fflush(NULL);
    exit(loop.status);
}

const struct command command_helper = {
    .name = "helper",
    .summary = "keep files that other software reads up to date, and have it reload",
    .about =
        "Writes certificate, bundle and the PKCS#11 URI of the key of this process's identities\n"
        "into files, again at each renewal, and signals or runs a command when they changed.\n"
        "COMMAND is started when the first files are there; the helper ends as it does.\n"
        "See signet-helper(1).",
    .example = "signet helper --directory /run/web --certificate svid.pem --bundle bundle.pem "
               "--key-uri key.uri --pid-file /run/nginx.pid",
    .options = helper_options,
    .option_count = ARRAY_SIZE(helper_options),
    .first_letter = 'c',
    .takes_words = true,
    .run = help,
};
