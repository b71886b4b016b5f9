/* The blocks of the configuration and their keys, and what is gathered while it is read. */
#pragma once

#include "agent/config.h"
#include "agent/config_scan.h"
#include "agent/config_value.h"

/* Lines of what can be wrong only in view of the rest. */
struct config_lines {
    unsigned *items;
    size_t count;
};

/* A rule as it is written. */
struct config_rule {
    struct rule rule;
    char *hours, *time_zone;
};

struct config_parse {
    const char *name; /* of the file, for error texts */
    struct config *config;
    struct config_scan scan;
    struct error *err; /* of the first thing wrong */
    bool has_failed;
    /* Which keys and blocks were there, a bit for each place in its table. */
    uint64_t root_keys_seen, block_keys_seen, blocks_seen;
    size_t blocks_closed;
    /* The block that is open. */
    struct config_keystore keystore;
    struct entry *entry;
    struct config_rule rule;
    struct baseline baseline;
    struct config_lines entry_lines, rule_lines, baseline_lines;
    unsigned issuer_line, audit_line, policy_line, node_line; /* 0: there is none */
};

struct config_block {
    const char *name;
    const char *title; /* what the title is; NULL: it has none */
    bool is_repeatable;
    const struct config_key *keys;
    size_t key_count;
    /* What the offsets of the keys count from. */
    void *(*target)(struct config_parse *parse);
    /* The block is whole: checks it in itself and moves it to where it belongs. line is that of its
     * opening brace. */
    int (*finish)(struct config_parse *parse, const char *title, unsigned line, struct error *err);
};

/* The first is the file itself, outside of any block. */
extern const struct config_block config_blocks[];
extern const size_t config_block_count;

/* seen has a bit for each key by its place in the table. */
int config_block_check_required(const struct config_block *block, uint64_t seen, struct error *err);

/* Has libconfuse read parse->scan, which fills parse->config block by block; errors have file and
 * line. */
int config_run_libconfuse(struct config_parse *parse, struct error *err);

/* Everything that concerns several blocks at once; errors have file and line. */
int config_check(struct config_parse *parse, struct error *err);

/* The block node, and baselines. */
int config_check_node(const struct config_parse *parse, struct error *err);
void config_node_defaults(struct node_settings *settings);

/* Fills the configuration's warnings: what is allowed, and yet hardly meant. */
void config_warn(struct config_parse *parse);

/* Frees what was not moved to the configuration. */
void config_keystore_clear(struct config_keystore *keystore);
void config_rule_clear(struct config_rule *rule);
void config_parse_clear(struct config_parse *parse);
