#include "client/helper_config.h"

#include <signal.h>
#include <string.h>

#include "client/helper_syntax.h"
#include "client/helper_value.h"
#include "lib/base/memory.h"

enum { FILE_LIMIT_BYTES = 256 << 10, OUTPUTS_MAX = 64, RELOAD_TIMEOUT_MS = 30000 };
enum { IN_ROOT = 1, IN_IDENTITY = 2, IN_JWT = 4, IN_BLOCKS = IN_IDENTITY | IN_JWT };
/* Nobody but the owner writes; a secret is nobody's but the owner's and the group's. */
enum { MODE_MAX = 0664, KEY_MODE_MAX = 0640, MODE = 0644, KEY_MODE = 0600 };

#define ROOT(field) offsetof(struct helper_config, field)
#define BLOCK(field) offsetof(struct helper_output, field)

static const struct helper_key keys[] = {
    {"run_dir", helper_read_path, ROOT(run_dir), IN_ROOT, false, 0},
    {"log_level", helper_read_log_level, ROOT(log_level), IN_ROOT, false, 0},
    {"spiffe_id", helper_read_spiffe_id, BLOCK(spiffe_id), IN_BLOCKS, false, 0},
    {"hint", helper_read_text, BLOCK(hint), IN_BLOCKS, false, 0},
    {"directory", helper_read_directory, BLOCK(directory), IN_BLOCKS, false, 0},
    {"certificate", helper_read_file_name, BLOCK(files[HELPER_CERTIFICATE]), IN_IDENTITY, false, 0},
    {"bundle", helper_read_file_name, BLOCK(files[HELPER_BUNDLE]), IN_IDENTITY, false, 0},
    {"key_uri", helper_read_file_name, BLOCK(files[HELPER_KEY_URI]), IN_IDENTITY, false, 0},
    {"key_uri_pem", helper_read_file_name, BLOCK(files[HELPER_KEY_URI_PEM]), IN_IDENTITY, false, 0},
    {"key", helper_read_file_name, BLOCK(files[HELPER_KEY]), IN_IDENTITY, false, 0},
    {"intermediates_in_bundle", helper_read_boolean, BLOCK(has_intermediates_in_bundle),
     IN_IDENTITY, false, 0},
    {"federated_bundles", helper_read_boolean, BLOCK(has_federated_bundles), IN_IDENTITY, false, 0},
    {"omit_expired", helper_read_boolean, BLOCK(may_omit_expired), IN_IDENTITY, false, 0},
    {"audience", helper_read_item, BLOCK(audience), IN_JWT, true, 0},
    {"token", helper_read_file_name, BLOCK(files[HELPER_TOKEN]), IN_JWT, false, 0},
    {"jwt_bundle", helper_read_file_name, BLOCK(files[HELPER_JWT_BUNDLE]), IN_JWT, false, 0},
    {"owner", helper_read_owner, BLOCK(owner), IN_BLOCKS, false, 0},
    {"group", helper_read_group, BLOCK(group), IN_BLOCKS, false, 0},
    {"mode", helper_read_mode, BLOCK(mode), IN_BLOCKS, false, MODE_MAX},
    {"key_mode", helper_read_mode, BLOCK(key_mode), IN_BLOCKS, false, KEY_MODE_MAX},
    {"reload_signal", helper_read_signal, BLOCK(reload_signal), IN_BLOCKS, false, 0},
    {"pid_file", helper_read_path, BLOCK(pid_file), IN_BLOCKS, false, 0},
    {"reload_command", helper_read_command, BLOCK(reload_command), IN_BLOCKS, true, 0},
    {"reload_timeout", helper_read_duration, BLOCK(reload_timeout_ms), IN_BLOCKS, false, 0},
    {"remove_withdrawn", helper_read_boolean, BLOCK(may_remove_withdrawn), IN_BLOCKS, false, 0},
};

static const struct {
    const char *name;
    unsigned bit;
} blocks[] = {{"identity", IN_IDENTITY}, {"jwt", IN_JWT}};

struct helper_config_options {
    struct helper_config config;
    struct helper_output output[ARRAY_SIZE(blocks)];
    uint64_t seen[ARRAY_SIZE(blocks) + 1]; /* a bit for each key; the last is of the root */
};

/* A file that is being read. */
struct parse {
    struct helper_config *config;
    struct helper_output output; /* of the block that is open */
    unsigned block;              /* its bit; IN_ROOT outside */
    uint64_t root_seen, block_seen;
};

bool helper_file_is_secret(enum helper_file file)
{
    return file == HELPER_KEY || file == HELPER_TOKEN;
}

static void output_clear(struct helper_output *output)
{
    for (size_t i = 0; i < HELPER_FILES; i++) {
        free(output->files[i]);
    }
    free(output->name);
    free(output->spiffe_id);
    free(output->hint);
    free(output->directory);
    free(output->pid_file);
    text_list_clear(&output->audience);
    text_list_clear(&output->reload_command);
    *output = (struct helper_output){0};
}

void helper_config_clear(struct helper_config *config)
{
    for (size_t i = 0; i < config->output_count; i++) {
        output_clear(&config->outputs[i]);
    }
    free(config->outputs);
    free(config->run_dir);
    *config = (struct helper_config){0};
}

static struct helper_output output_default(bool is_jwt, const char *name)
{
    return (struct helper_output){
        .is_jwt = is_jwt,
        .name = memory_copy_text(name),
        .owner = (uid_t)-1,
        .group = (gid_t)-1,
        .mode = MODE,
        .key_mode = KEY_MODE,
        .reload_timeout_ms = RELOAD_TIMEOUT_MS,
    };
}

static bool has_file(const struct helper_output *output)
{
    for (size_t i = 0; i < HELPER_FILES; i++) {
        if (output->files[i]) {
            return true;
        }
    }
    return false;
}

static int check_output(struct helper_output *output, struct error *err)
{
    if (!output->directory) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "the key directory is missing: the folder of the files");
    }
    if (!has_file(output)) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "no file is named; expected one of %s",
                         output->is_jwt ? "token, jwt_bundle"
                                        : "certificate, bundle, key_uri, key_uri_pem, key");
    }
    if (output->spiffe_id && output->hint) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "spiffe_id and hint both choose the identity; leave one out");
    }
    if (!output->files[HELPER_TOKEN] != (output->audience.count == 0)) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "token and audience belong together; one is missing");
    }
    if (output->pid_file && !output->reload_signal) {
        output->reload_signal = SIGHUP;
    }
    return 0;
}

static bool is_same_file(const struct helper_output *a, size_t a_file,
                         const struct helper_output *b, size_t b_file)
{
    return a->files[a_file] && b->files[b_file] && strcmp(a->directory, b->directory) == 0 &&
           strcmp(a->files[a_file], b->files[b_file]) == 0;
}

/* Two blocks, or two keys of a block, that would overwrite each other's file. */
static int check_overlap(const struct helper_output *a, const struct helper_output *b,
                         struct error *err)
{
    for (size_t i = 0; i < HELPER_FILES; i++) {
        for (size_t j = 0; j < HELPER_FILES; j++) {
            if ((a != b || i < j) && is_same_file(a, i, b, j)) {
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "the file %.200s/%.200s is named twice; each needs its own",
                                 a->directory, a->files[i]);
            }
        }
    }
    return 0;
}

/* Takes output when it is right. */
static int add_output(struct helper_config *config, struct helper_output *output, struct error *err)
{
    TRY(check_output(output, err));
    TRY(check_overlap(output, output, err));
    for (size_t i = 0; i < config->output_count; i++) {
        TRY(check_overlap(&config->outputs[i], output, err));
    }
    if (config->output_count == OUTPUTS_MAX) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "more than %d blocks", OUTPUTS_MAX);
    }
    config->outputs =
        memory_resize_array(config->outputs, config->output_count + 1, sizeof(*config->outputs));
    config->outputs[config->output_count++] = *output;
    *output = (struct helper_output){0};
    return 0;
}

static int refuse_key(unsigned block, const char *name, struct error *err)
{
    _cleanup_(buffer_clear) struct buffer known = {0};
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        if (keys[i].blocks & block) {
            buffer_append_text(&known, known.size ? ", " : "");
            buffer_append_text(&known, keys[i].name);
        }
    }
    buffer_append_text(&known, block == IN_ROOT ? " or a block identity, jwt" : "");
    buffer_append_u8(&known, 0);
    return error_set(err, ERROR_INVALID_ARGUMENT, "unknown key \"%.64s\"; expected %s", name,
                     (const char *)known.data);
}

static int apply(const struct helper_key *key, size_t index, const char *value, void *target,
                 uint64_t *seen, struct error *err)
{
    uint64_t bit = UINT64_C(1) << (key - keys);
    if (index > 0 && !key->is_list) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "%s: expected one value, not a list",
                         key->name);
    }
    if (index == 0 && (*seen & bit)) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "%s: it is there twice; leave one out",
                         key->name);
    }
    *seen |= bit;
    if (key->read(key, value, (char *)target + key->offset, err) < 0) {
        return error_prepend(err, "%s", key->name);
    }
    return 0;
}

static int read_value(void *state, const char *name, size_t index, const char *value,
                      struct error *err)
{
    struct parse *parse = state;
    bool is_root = parse->block == IN_ROOT;
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        if (strcmp(keys[i].name, name) == 0 && (keys[i].blocks & parse->block)) {
            return apply(&keys[i], index, value,
                         is_root ? (void *)parse->config : (void *)&parse->output,
                         is_root ? &parse->root_seen : &parse->block_seen, err);
        }
    }
    return refuse_key(parse->block, name, err);
}

static int open_block(void *state, const char *block, const char *title, struct error *err)
{
    struct parse *parse = state;
    for (size_t i = 0; i < ARRAY_SIZE(blocks); i++) {
        if (strcmp(blocks[i].name, block) == 0) {
            if (!title || !title[0]) {
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "the block %s needs a title of its own between quotes before "
                                 "its '{'",
                                 block);
            }
            parse->output = output_default(blocks[i].bit == IN_JWT, title);
            parse->block = blocks[i].bit;
            parse->block_seen = 0;
            return 0;
        }
    }
    return error_set(err, ERROR_INVALID_ARGUMENT, "unknown block \"%.64s\"; expected identity, jwt",
                     block);
}

static int close_block(void *state, struct error *err)
{
    struct parse *parse = state;
    const char *block = parse->output.is_jwt ? "jwt" : "identity";
    for (size_t i = 0; i < parse->config->output_count; i++) {
        const struct helper_output *other = &parse->config->outputs[i];
        if (other->is_jwt == parse->output.is_jwt && strcmp(other->name, parse->output.name) == 0) {
            return error_set(err, ERROR_INVALID_ARGUMENT,
                             "%s \"%.100s\" is there twice; titles tell blocks apart", block,
                             other->name);
        }
    }
    if (add_output(parse->config, &parse->output, err) < 0) {
        return error_prepend(err, "%s \"%.100s\"", block, parse->output.name);
    }
    parse->block = IN_ROOT;
    return 0;
}

static void parse_clear(struct parse *parse)
{
    output_clear(&parse->output);
}

int helper_config_parse(struct bytes text, const char *name, struct helper_config *ret_config,
                        struct error *err)
{
    _cleanup_(helper_config_clear) struct helper_config config = {.log_level = LOG_LEVEL_INFO};
    _cleanup_(parse_clear) struct parse parse = {.config = &config, .block = IN_ROOT};
    const struct helper_syntax handler = {&parse, open_block, read_value, close_block};
    TRY(helper_syntax_read(text, name, &handler, err));
    if (config.output_count == 0) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "%s: there is nothing to do in it; expected a block identity or jwt",
                         name);
    }
    *ret_config = config;
    config = (struct helper_config){0};
    return 0;
}

int helper_config_read(const char *path, struct helper_config *ret_config, struct error *err)
{
    _cleanup_(buffer_clear) struct buffer text = {0};
    if (buffer_read_file(path, FILE_LIMIT_BYTES, &text, err) < 0) {
        /* What cannot be read is wrong usage, as it is for signetd. */
        err->code = ERROR_INVALID_ARGUMENT;
        return -1;
    }
    return helper_config_parse(buffer_bytes(&text), path, ret_config, err);
}

struct helper_config_options *helper_config_options_new(void)
{
    struct helper_config_options *options = NEW(struct helper_config_options);
    options->config.log_level = LOG_LEVEL_INFO;
    for (size_t i = 0; i < ARRAY_SIZE(blocks); i++) {
        options->output[i] = output_default(blocks[i].bit == IN_JWT, "options");
    }
    return options;
}

void helper_config_options_free(struct helper_config_options *options)
{
    for (size_t i = 0; i < ARRAY_SIZE(blocks); i++) {
        output_clear(&options->output[i]);
    }
    helper_config_clear(&options->config);
    free(options);
}

int helper_config_options_add(struct helper_config_options *options, const char *name, size_t index,
                              const char *value, struct error *err)
{
    _cleanup_(free_cleanup) char *spelled = memory_copy_text(name);
    for (char *dash = strchr(spelled, '-'); dash; dash = strchr(dash, '-')) {
        *dash = '_';
    }
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        if (strcmp(keys[i].name, spelled) != 0) {
            continue;
        }
        for (size_t j = 0; j < ARRAY_SIZE(blocks); j++) {
            if (keys[i].blocks & blocks[j].bit) {
                TRY(apply(&keys[i], index, value, &options->output[j], &options->seen[j], err));
            }
        }
        return keys[i].blocks & IN_ROOT ? apply(&keys[i], index, value, &options->config,
                                                &options->seen[ARRAY_SIZE(blocks)], err)
                                        : 0;
    }
    return refuse_key(IN_BLOCKS, spelled, err);
}

int helper_config_options_finish(struct helper_config_options *options,
                                 struct helper_config *ret_config, struct error *err)
{
    struct helper_output *identity = &options->output[0], *jwt = &options->output[1];
    bool has_jwt = has_file(jwt) || jwt->audience.count > 0;
    if (has_file(identity) || !has_jwt) {
        TRY(add_output(&options->config, identity, err));
    }
    if (has_jwt) {
        TRY(add_output(&options->config, jwt, err));
    }
    *ret_config = options->config;
    options->config = (struct helper_config){0};
    return 0;
}
