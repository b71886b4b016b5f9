/* signetd: the agent's program. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "agent/agent.h"
#include "lib/base/memory.h"
#include "lib/base/secret.h"
#include "pkcs11/module/module.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

static const char default_path[] = "/etc/signet/signetd.conf";

static const char help[] =
    "signetd - gives local processes SPIFFE identities whose keys stay in hardware\n"
    "\n"
    "usage: signetd [-c FILE] [--check]\n"
    "\n"
    "  -c, --config FILE   the configuration; /etc/signet/signetd.conf unless given\n"
    "      --check         only check the configuration: prints FILE: OK, or what is wrong and "
    "where\n"
    "      --version       print the version\n"
    "      --help          print this\n"
    "\n"
    "SIGHUP reads entries, rules and log level again; SIGTERM stops in order.\n"
    "Exit status: 0 done, 1 failed, 2 wrong usage or configuration.\n"
    "\n"
    "example: signetd -c /etc/signet/signetd.conf --check\n";

struct options {
    const char *path;
    const char *module; /* --module-host: the agent starts itself so, for isolated modules */
    bool is_check;
};

/* Returns -1 to go on, else the exit code. */
static int parse(int argc, char **argv, struct options *ret_options)
{
    static const struct option known[] = {
        {"config", required_argument, NULL, 'c'},      {"check", no_argument, NULL, 'k'},
        {"version", no_argument, NULL, 'v'},           {"help", no_argument, NULL, 'h'},
        {"module-host", required_argument, NULL, 'm'}, {0},
    };
    *ret_options = (struct options){.path = default_path};
    opterr = 0;
    for (int option = 0; (option = getopt_long(argc, argv, "c:h", known, NULL)) != -1;) {
        switch (option) {
        case 'c':
            ret_options->path = optarg;
            break;
        case 'k':
            ret_options->is_check = true;
            break;
        case 'm':
            ret_options->module = optarg;
            break;
        case 'v':
            (void)puts("signetd " SIGNET_VERSION);
            return EXIT_DONE;
        case 'h':
            (void)fputs(help, stdout);
            return EXIT_DONE;
        default:
            (void)fprintf(stderr,
                          "signetd: \"%s\" is not known or lacks a value; known are -c FILE, "
                          "--check, --version and --help\n",
                          argv[optind - 1]);
            return EXIT_USAGE;
        }
    }
    if (optind < argc) {
        (void)fprintf(stderr, "signetd: \"%s\" is not expected; see signetd --help\n",
                      argv[optind]);
        return EXIT_USAGE;
    }
    return -1;
}

static void print_ok(const struct config *config)
{
    for (size_t i = 0; i < config->warnings.count; i++) {
        (void)fprintf(stderr, "signetd: warning: %s\n", config->warnings.items[i]);
    }
    (void)printf("%s: OK (trust domain %s; %zu keystores, %zu entries, %zu rules)\n", config->path,
                 config->trust_domain, config->keystore_count, config->entry_count,
                 config->rules.count);
}

int main(int argc, char **argv)
{
    struct options options;
    struct error error;
    int code = parse(argc, argv, &options);
    if (code >= 0) {
        return code;
    }
    if (options.module) {
        return module_host_main(options.module);
    }
    _cleanup_(config_free_cleanup) struct config *config = NULL;
    if (secret_init(&error) < 0) {
        log_error("%s", error.text);
        return EXIT_FAILED;
    }
    if (config_read(options.path, &config, &error) < 0) {
        (void)fprintf(stderr, "signetd: %s\n", error.text);
        return EXIT_USAGE;
    }
    if (options.is_check) {
        print_ok(config);
        return EXIT_DONE;
    }
    config_log_warnings(config);
    if (agent_run(config, &error) < 0) {
        log_error("%s", error.text);
        return EXIT_FAILED;
    }
    return EXIT_DONE;
}
