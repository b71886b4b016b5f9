#include <confuse.h>
#include <errno.h>
#include <string.h>

#include "agent/config_block.h"
#include "lib/base/memory.h"

/* libconfuse hands no pointer of ours to its callbacks. It travels as the value of an option of
 * this name, which config_scan lets nobody write. */
static const char context_option[] = "-";

static struct config_parse *parse_of(cfg_t *cfg)
{
    return cfg_getptr(cfg, context_option);
}

static const struct config_block *block_named(const char *name)
{
    for (size_t i = 0; i < config_block_count; i++) {
        if (strcmp(config_blocks[i].name, name) == 0) {
            return &config_blocks[i];
        }
    }
    return NULL;
}

static bool is_root(const struct config_block *block)
{
    return block == &config_blocks[0];
}

static uint64_t bit_of_block(const struct config_block *block)
{
    return (uint64_t)1 << (block - config_blocks);
}

/* The first thing wrong counts: libconfuse goes on to complain about what follows from it. */
static int fail(struct config_parse *parse, const struct error *err)
{
    if (!parse->has_failed && parse->err) {
        *parse->err = *err;
    }
    parse->has_failed = true;
    return -1;
}

/* A word beside a PIN is perhaps a part of it. */
static const char *shown_word(const struct config_parse *parse, unsigned line, const char *word)
{
    return line == parse->scan.pin_line ? "..." : word;
}

/* What may stand in the block: "a, b, c". */
static char *expected_in(const struct config_block *block)
{
    _cleanup_(buffer_clear) struct buffer text = {0};
    for (size_t i = 0; i < block->key_count; i++) {
        buffer_append_text(&text, i > 0 ? ", " : "");
        buffer_append_text(&text, block->keys[i].name);
    }
    for (size_t i = 1; is_root(block) && i < config_block_count; i++) {
        buffer_append_text(&text, i > 1 ? ", " : " or a block ");
        buffer_append_text(&text, config_blocks[i].name);
    }
    buffer_append_u8(&text, 0);
    return memory_copy_text((const char *)text.data);
}

static void fail_unknown_key(struct config_parse *parse, const struct config_block *block,
                             unsigned line, const char *key)
{
    struct error err;
    _cleanup_(free_cleanup) char *expected = expected_in(block);
    (void)error_set(&err, ERROR_INVALID_ARGUMENT, "%s:%u: %s%sunknown key \"%.64s\"; expected %s",
                    parse->name, line, is_root(block) ? "" : block->name,
                    is_root(block) ? "" : ": ", shown_word(parse, line, key), expected);
    (void)fail(parse, &err);
}

/* What libconfuse complains about, in words that say what was expected. The text between is the
 * argument of its message. */
static const struct {
    const char *message, *before, *after;
} complaints[] = {
    {"missing equal sign after option '%s'", "after the key ", " comes '=' and its value"},
    {"missing opening brace for section '%s'", "after the name of the block ",
     " (and its title, where it has one) comes '{'"},
    {"missing title for section '%s'", "the block ",
     " needs a title between quotes before its '{'"},
    {"premature end of file",
     "the file ends before this is whole; expected KEY = VALUE or "
     "BLOCK { ... }",
     ""},
    {"unexpected token '%s'", "'", "' cannot stand here; expected KEY = VALUE or BLOCK { ... }"},
};

static void libconfuse_complained(cfg_t *cfg, const char *format, va_list arguments)
{
    struct config_parse *parse = parse_of(cfg);
    unsigned line = (unsigned)cfg->line;
    struct error err;
    if (strcmp(format, "no such option '%s'") == 0) {
        const struct config_block *block = block_named(cfg_name(cfg));
        fail_unknown_key(parse, block, line, va_arg(arguments, const char *));
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(complaints); i++) {
        if (strcmp(format, complaints[i].message) == 0) {
            const char *word = strstr(format, "%s") ? va_arg(arguments, const char *) : "";
            (void)error_set(&err, ERROR_INVALID_ARGUMENT, "%s:%u: %s%.64s%s", parse->name, line,
                            complaints[i].before, shown_word(parse, line, word),
                            complaints[i].after);
            (void)fail(parse, &err);
            return;
        }
    }
    (void)error_set(&err, ERROR_INVALID_ARGUMENT,
                    "%s:%u: not understood; expected KEY = VALUE or BLOCK { ... }", parse->name,
                    line);
    (void)fail(parse, &err);
}

static int fail_key(struct config_parse *parse, cfg_t *cfg, const char *key, struct error *err)
{
    (void)error_prepend(err, "%s:%d: %s", parse->name, cfg->line, key);
    return fail(parse, err);
}

/* libconfuse has read a value of a key. */
static int value_read(cfg_t *cfg, cfg_opt_t *option, const char *value, void *result)
{
    struct config_parse *parse = parse_of(cfg);
    const struct config_block *block = block_named(cfg_name(cfg));
    uint64_t *seen = is_root(block) ? &parse->root_keys_seen : &parse->block_keys_seen;
    struct error err;
    size_t index = 0;
    while (strcmp(block->keys[index].name, option->name) != 0) {
        index++;
    }
    const struct config_key *key = &block->keys[index];
    uint64_t bit = (uint64_t)1 << index;
    bool is_next_item = (key->flags & CONFIG_KEY_LIST) && cfg_opt_size(option) > 1;
    if (((*seen & bit) && !is_next_item) ||
        (!block->is_repeatable && (parse->blocks_seen & bit_of_block(block)))) {
        (void)error_set(&err, ERROR_INVALID_ARGUMENT, "it is there twice; leave one out");
        return fail_key(parse, cfg, key->name, &err);
    }
    *seen |= bit;
    char *target = block->target(parse);
    if (key->read(key, value, target + key->offset, &err) < 0) {
        return fail_key(parse, cfg, key->name, &err);
    }
    *(const char **)result = value;
    return 0;
}

static int close_block(struct config_parse *parse, const struct config_block *block,
                       const char *title, unsigned line, struct error *err)
{
    if (!block->is_repeatable && (parse->blocks_seen & bit_of_block(block))) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "this block is there twice; leave one out");
    }
    parse->blocks_seen |= bit_of_block(block);
    TRY(config_block_check_required(block, parse->block_keys_seen, err));
    parse->block_keys_seen = 0;
    return block->finish(parse, title, line, err);
}

/* libconfuse has come to the end of a block. */
static int block_read(cfg_t *cfg, cfg_opt_t *option)
{
    struct config_parse *parse = parse_of(cfg);
    const struct config_block *block = block_named(option->name);
    unsigned line = parse->scan.block_lines[parse->blocks_closed++];
    const char *title = cfg_title(cfg_opt_getnsec(option, cfg_opt_size(option) - 1));
    struct error err;
    if (close_block(parse, block, title, line, &err) < 0) {
        (void)error_prepend(&err, "%s:%u: %s%s%.200s%s", parse->name, line, block->name,
                            title ? " \"" : "", title ? title : "", title ? "\"" : "");
        return fail(parse, &err);
    }
    /* Left alone, a second block of the same title would replace it, and finding that out makes
     * many blocks slow. */
    return cfg_opt_rmnsec(option, cfg_opt_size(option) - 1);
}

/* The options of the block as libconfuse wants them; the caller frees them. */
static cfg_opt_t *options_of(const struct config_block *block, struct config_parse **context,
                             size_t spare)
{
    cfg_opt_t *options = memory_new_array(block->key_count + spare + 2, sizeof(*options));
    for (size_t i = 0; i < block->key_count; i++) {
        cfg_flag_t flags = block->keys[i].flags & CONFIG_KEY_LIST ? CFGF_LIST : CFGF_NONE;
        options[i] =
            (cfg_opt_t)CFG_STR_CB(block->keys[i].name, NULL, flags | CFGF_NODEFAULT, value_read);
    }
    cfg_opt_t *option = &options[block->key_count];
    *option = (cfg_opt_t)CFG_PTR_CB(context_option, NULL, CFGF_NODEFAULT, NULL, NULL);
    option->simple_value.ptr = (void **)context;
    return options;
}

static void free_options(cfg_opt_t *options)
{
    for (cfg_opt_t *option = options; option->name; option++) {
        free(option->subopts);
    }
    free(options);
}
DEFINE_CLEANUP(cfg_opt_t, options, free_options);

static cfg_opt_t *all_options(struct config_parse **context)
{
    cfg_opt_t *options = options_of(&config_blocks[0], context, config_block_count);
    cfg_opt_t *option = &options[config_blocks[0].key_count + 1];
    for (size_t i = 1; i < config_block_count; i++, option++) {
        const struct config_block *block = &config_blocks[i];
        cfg_flag_t title = block->title ? CFGF_TITLE : CFGF_NONE;
        *option =
            (cfg_opt_t)CFG_SEC(block->name, options_of(block, context, 0), CFGF_MULTI | title);
        option->validcb = block_read;
    }
    return options;
}

static void free_cfg(cfg_t *cfg)
{
    (void)cfg_free(cfg);
}
DEFINE_CLEANUP(cfg_t, cfg, free_cfg);

int config_run_libconfuse(struct config_parse *parse, struct error *err)
{
    struct config_parse *context = parse;
    _cleanup_(options_cleanup) cfg_opt_t *options = all_options(&context);
    _cleanup_(cfg_cleanup) cfg_t *cfg = cfg_init(options, CFGF_NONE);
    if (!cfg) {
        return error_set_errno(err, errno, "preparing to read %s", parse->name);
    }
    (void)cfg_set_error_function(cfg, libconfuse_complained);
    parse->err = err;
    int result = cfg_parse_buf(cfg, (const char *)parse->scan.text.data);
    if (result != CFG_SUCCESS && !parse->has_failed) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "%s:%d: not understood", parse->name,
                         cfg->line);
    }
    return parse->has_failed ? -1 : 0;
}
