/* What happens at the end of each block: struct config_block's finish, which checks the block in
 * itself and moves it to where it belongs. */
#pragma once

#include "agent/config_block.h"

int config_finish_tpm(struct config_parse *parse, const char *title, unsigned line,
                      struct error *err);
int config_finish_keystore(struct config_parse *parse, const char *title, unsigned line,
                           struct error *err);
int config_finish_issuer(struct config_parse *parse, const char *title, unsigned line,
                         struct error *err);
int config_finish_entry(struct config_parse *parse, const char *title, unsigned line,
                        struct error *err);
int config_finish_rule(struct config_parse *parse, const char *title, unsigned line,
                       struct error *err);
int config_finish_audit(struct config_parse *parse, const char *title, unsigned line,
                        struct error *err);
int config_finish_policy(struct config_parse *parse, const char *title, unsigned line,
                         struct error *err);
int config_finish_node(struct config_parse *parse, const char *title, unsigned line,
                       struct error *err);
int config_finish_baseline(struct config_parse *parse, const char *title, unsigned line,
                           struct error *err);
int config_finish_nothing(struct config_parse *parse, const char *title, unsigned line,
                          struct error *err);

void config_add_line(struct config_lines *lines, unsigned line);
/* The entry whose block is open; made at its first key. Owned by parse. */
struct entry *config_open_entry(struct config_parse *parse);
