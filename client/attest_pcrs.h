/* PCR values that a baseline is announced with. */
#pragma once

#include "attest/pcr.h"
#include "client/command.h"
#include "lib/rpc/client.h"
#include "proto/admin.pb-c.h"

struct attest_pcrs {
    Admin__Pcr **items; /* in the order of banks and registers; owned */
    size_t count;
};
/* Also for _cleanup_. */
void attest_pcrs_clear(struct attest_pcrs *pcrs);

/* Setter of an option: uint32_t, bit n for register n; "4,8,9". */
int attest_pcrs_set_open(void *field, const char *text, struct error *err);
/* Whether values ("sha256:4=HEX") and selection (NULL: none) can be read, and none is open as well.
 */
int attest_pcrs_check(const struct text_list *values, const char *selection, uint32_t open_mask,
                      struct error *err);
/* What --event-log leads to, of the registers of --pcrs, else those that the agent has quoted, but
 * for the open ones; then the values of --pcr. */
int attest_pcrs_collect(const struct arguments *arguments, struct rpc_client *client,
                        struct attest_pcrs *ret_pcrs, struct error *err);
/* "sha256:0,2,7+sha384:4"; the caller frees it. */
char *attest_pcrs_names(Admin__Pcr *const *items, size_t count);
