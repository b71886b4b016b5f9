/* Named facts about a boot, drawn from an event log that was replayed against a quote. Only what
 * the digests vouch for becomes a fact: data whose hash is the digest, or the digest itself. Every
 * thread. */
#pragma once

#include "attest/event_log.h"

enum { FACTS_MAX = 256, FACT_VALUE_MAX_BYTES = 4096, FACT_APPLICATIONS_MAX = 9 };

/* Names (docs/attestation.md has the table, facts_*.c say what vouches for each):
 * "secure_boot"            on | off
 * "secure_boot.PK" .KEK .db .dbx    sha256:HEX of the variable's data
 * "secure_boot.authority"  sha256:HEX of the entry of db that vouched for the first image
 * "boot_application"       BANK:HEX, the image that the firmware started first; those that were
 *                          started after it are "boot_application.2" to ".9"
 * "kernel_command_line"    as text, where the boot loader measures it (GRUB in PCR 8, systemd in
 *                          PCR 8 or 12); both registers have to be quoted
 * "firmware_version"       of EV_S_CRTM_VERSION
 * "separators"             complete | missing, of the quoted ones among PCR 0 to 7 */
struct fact {
    char *name, *value;
    unsigned pcr; /* whose quote vouches for it */
};
struct facts {
    struct fact *items;
    size_t count;
};

/* quoted: bit n set where PCR n of that bank was replayed and equals the quote; facts of other PCRs
 * are left out. Values are printable: what is not is escaped. */
void facts_draw(const struct event_log *log, TPM2_ALG_ID bank, uint32_t quoted,
                struct facts *ret_facts);
void facts_release(struct facts *facts);
/* A token's facts have a function of this name too, so this one has no symbol. */
static inline void facts_clear(struct facts *facts)
{
    facts_release(facts);
}

/* "NAME=VALUE" exactly, "NAME~GLOB" as fnmatch(3), "NAME" there is one: among several of a name one
 * suffices. InvalidArgument: not of this form or an unknown name. */
int facts_check_form(const char *wanted, struct error *err);
bool facts_hold(const struct facts *facts, const char *wanted);
