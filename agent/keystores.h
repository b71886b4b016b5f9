/* The keystores of the configuration, and the memory one. Loop thread. */
#pragma once

#include "agent/config.h"
#include "agent/svid/manager.h"

struct keystores;

/* Opens all of them, one after the other; blocks. config is borrowed until keystores_free. changed
 * is called on the loop when one has come back or has lost keys. The error names the keystore. */
int keystores_new(uv_loop_t *loop, const struct config *config,
                  void (*changed)(void *user, struct keystore *keystore), void *user,
                  struct keystores **ret_keystores, struct error *err);
/* No more calls of changed; the loop may end. */
void keystores_quiet(struct keystores *keystores);
/* After keystores_quiet and once the loop has ended, with no key left. Blocks. */
void keystores_free(struct keystores *keystores);

/* In the order of the configuration, then "memory". Borrowed. */
const struct manager_keystore *keystores_items(const struct keystores *keystores,
                                               size_t *ret_count);
/* NULL: none of that name. */
struct keystore *keystores_find(const struct keystores *keystores, const char *name);
