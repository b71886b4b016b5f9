/* The thread that writes the audit log: it takes all records that wait, chains them, writes them
 * and waits for the disk once for all (group commit). The loop's thread calls what does not say
 * otherwise. */
#pragma once

#include "agent/audit/signer.h"
#include "audit/log.h"

struct audit_writer;

struct audit_writer_config {
    struct audit_log *log;     /* taken */
    struct keystore *keystore; /* of the key of heads; NULL: none are signed */
    const char *key_path;      /* see audit_signer_config */
    uint32_t head_interval_s;
    /* By the mailbox: more is on disk, or writing fails, or goes on. */
    void (*news)(void *user);
    void *user;
};

int audit_writer_new(const struct audit_writer_config *config, struct audit_writer **ret_writer,
                     struct error *err);
/* To be delivered by the loop. */
struct mailbox *audit_writer_mailbox(struct audit_writer *writer);

/* Puts a record into the queue; where that is full it is counted as dropped. time_ms: since 1970,
 * for the record that tells of it. */
void audit_writer_put(struct audit_writer *writer, struct bytes body, int64_t time_ms);
/* Somebody waits: write now, not a little later with more. */
void audit_writer_hurry(struct audit_writer *writer);
/* Has the news called once more. */
void audit_writer_ask_news(struct audit_writer *writer);
/* Blocks until all that was put is on disk and a head for the start is signed or not to be had now,
 * or writing fails, or deadline_ms (clock_monotonic_ms) has come. */
void audit_writer_settle(struct audit_writer *writer, uint64_t deadline_ms);

struct audit_writer_view {
    uint64_t put, durable;      /* records so far */
    bool is_finished;           /* after audit_writer_stop */
    uint64_t oldest_waiting_ms; /* age; 0: nothing waits */
    uint64_t dropped, untold;   /* in all; of which no record tells yet */
    uint64_t failures;
    struct error failure; /* code OK: none */
    struct audit_link link, signed_link;
    char key_id[41];
};
void audit_writer_view(struct audit_writer *writer, struct audit_writer_view *ret_view);
/* How long a record may wait before the log counts as unwritable. */
enum { AUDIT_WRITER_PATIENCE_MS = 5000 };
/* Every thread, no locks: all that was put will be, or has been, written in time. */
bool audit_writer_is_usable(const struct audit_writer *writer);

/* Nothing is put after it. Writes what is there and a last head, at the latest until deadline_ms;
 * then news come. */
void audit_writer_stop(struct audit_writer *writer, uint64_t deadline_ms);
/* After audit_writer_stop, the mailbox not used any more. A thread that still hangs in the disk at
 * deadline_ms is left behind; it ends, and frees what it needs, when the disk answers. */
void audit_writer_free(struct audit_writer *writer, uint64_t deadline_ms);
