/* Between the files of facts*.c: a log sorted by register, with what each digest vouches for.
 *
 * Who may lie: everybody who can extend a PCR after the boot (root) and who hands in the log. Of an
 * event only the digest is bound by the quote, and its place among those of the same PCR. So an
 * attacker may: put any type and data on an event; put events of other PCRs before or after it; add
 * events at the end of a PCR, by really extending it; add any EV_NO_ACTION. He cannot: change, take
 * away or move a digest within its PCR, or add one before what was really measured. So
 *  - types, data of other events and the order between PCRs decide nothing that matters;
 *  - data says something only where its hash is the digest, in the register where the firmware or
 *    boot loader measures such data, and where nothing beside it could have been meant instead;
 *  - "before the separator" is written by the firmware alone, and what follows is told by place:
 *    the first event after it was measured before any code but the firmware's ran. */
#pragma once

#include "attest/facts.h"

struct measurement {
    const struct event *event;
    struct bytes digest; /* of the quoted bank */
};

struct register_log {
    struct measurement *items;
    size_t count;
    /* Of PCR 0 to 7: where the firmware handed over. count: it did not, or said that it failed. */
    size_t separator;
};

struct boot {
    const struct hash_algorithm *hash;
    uint32_t quoted;
    struct measurement *measurements; /* owned; the registers borrow from it */
    struct register_log registers[PCR_COUNT];
    struct facts *facts;
};

/* NULL: not quoted, so nothing is known of it. */
const struct register_log *boot_register(const struct boot *boot, unsigned pcr);
/* Whether the digest is the hash of the parts together. */
bool boot_is_digest_of(const struct boot *boot, struct bytes digest, const struct bytes *parts,
                       size_t count);
/* Whether it is that of the event's data. */
bool boot_is_covered(const struct boot *boot, const struct measurement *item);
/* The first place before end where the digest is the hash of the data; end: nowhere. */
size_t boot_find(const struct boot *boot, const struct register_log *log, size_t end,
                 struct bytes data);

/* Adds one; NULL and "" are left out, and what is beyond FACTS_MAX. */
void boot_add_fact(struct boot *boot, const char *name, unsigned pcr, char *taken_value);
/* What cannot be printed becomes \xHH, a backslash too, so that no two values look the same. NULL:
 * longer than a value may be. */
char *boot_printable(struct bytes bytes);
/* As above of UTF-16, little endian, with one NUL at its end; NULL: it is not. */
char *boot_printable_utf16(struct bytes bytes);
/* "sha256:HEX". */
char *boot_digest_text(const struct hash_algorithm *hash, struct bytes digest);

void boot_draw_firmware(struct boot *boot);
void boot_draw_secure_boot(struct boot *boot);
void boot_draw_loader(struct boot *boot);
