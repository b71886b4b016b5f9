#include "audit/verify.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "audit/reader_state.h"
#include "audit/verify_state.h"
#include "lib/base/memory.h"

static const char *const finding_names[] = {
    [AUDIT_FINDING_CUT] = "cut",
    [AUDIT_FINDING_CHANGED] = "changed",
    [AUDIT_FINDING_MOVED] = "moved",
    [AUDIT_FINDING_NO_RECORD] = "no-record",
    [AUDIT_FINDING_SIGNATURE] = "signature",
    [AUDIT_FINDING_UNKNOWN_KEY] = "unknown-key",
    [AUDIT_FINDING_ROLLED_BACK] = "rolled-back",
    [AUDIT_FINDING_TORN] = "torn",
    [AUDIT_FINDING_CRASH] = "crash",
    [AUDIT_FINDING_UNSIGNED] = "unsigned",
};

const char *audit_finding_name(enum audit_finding_kind kind)
{
    return (size_t)kind < ARRAY_SIZE(finding_names) ? finding_names[kind] : "unknown";
}

void verify_tell(struct verifier *verifier, const struct audit_finding *finding)
{
    verifier->verdict->findings += finding->is_remark ? 0 : 1;
    if (verifier->found && verifier->told < AUDIT_FINDINGS_MAX) {
        verifier->told++;
        verifier->found(verifier->user, finding);
    }
}

void verify_tell_place(struct verifier *verifier, enum audit_finding_kind kind,
                       const struct audit_finding *place, const char *format, ...)
{
    struct audit_finding finding = *place;
    va_list arguments;
    finding.kind = kind;
    va_start(arguments, format);
    (void)vsnprintf(finding.text, sizeof(finding.text), format, arguments);
    va_end(arguments);
    verify_tell(verifier, &finding);
}

void verify_tell_line(struct verifier *verifier, enum audit_finding_kind kind, bool is_remark,
                      const struct audit_line *line, uint64_t sequence, const char *format, ...)
{
    struct audit_finding finding = {
        .kind = kind, .is_remark = is_remark, .sequence = sequence, .file = line ? line->file : ""};
    va_list arguments;
    finding.line = line ? line->line : 0;
    va_start(arguments, format);
    (void)vsnprintf(finding.text, sizeof(finding.text), format, arguments);
    va_end(arguments);
    verify_tell(verifier, &finding);
}

static void check_known(struct verifier *verifier, const struct verify_record *record)
{
    for (size_t i = 0; i < verifier->known_count; i++) {
        struct verify_known *known = &verifier->known[i];
        if (known->link.sequence != record->claimed.sequence || known->is_seen) {
            continue;
        }
        known->is_seen = true;
        if (memcmp(known->link.hash, record->claimed.hash, AUDIT_HASH_BYTES) != 0) {
            verify_tell_line(verifier, AUDIT_FINDING_ROLLED_BACK, false, record->line,
                             record->claimed.sequence,
                             "record %" PRIu64 " has another hash than in %s: the log was cut back "
                             "and written anew",
                             record->claimed.sequence, known->origin);
        }
    }
}

static void count_record(struct verifier *verifier, const struct verify_record *record)
{
    struct audit_verdict *verdict = verifier->verdict;
    char time[AUDIT_TIME_BYTES + 1];
    if (verdict->records++ == 0) {
        verdict->first = record->claimed;
    }
    if (audit_record_time(record->body, time)) {
        memcpy(verdict->last_time, time, sizeof(time));
        if (verdict->first_time[0] == '\0') {
            memcpy(verdict->first_time, time, sizeof(time));
        }
    }
}

static void judge_record(struct verifier *verifier, struct verify_record *record)
{
    struct error reason;
    count_record(verifier, record);
    int parsed = audit_head_parse(record->body, &record->is_head, &record->head, &reason);
    if (!verify_place(verifier, record)) {
        return;
    }
    verifier->verdict->last = verifier->anchor;
    check_known(verifier, record);
    if (parsed < 0) {
        verify_tell_line(verifier, AUDIT_FINDING_SIGNATURE, false, record->line,
                         record->claimed.sequence, "%s", reason.text);
    } else if (record->is_head) {
        verify_head(verifier, record);
    }
}

static void judge_line(struct verifier *verifier, const struct audit_line *line)
{
    struct verify_record record = {.line = line};
    struct error reason;
    verifier->verdict->files += line->is_first_of_file ? 1 : 0;
    if (line->is_torn) {
        verify_tell_line(verifier, AUDIT_FINDING_TORN, true, line, 0,
                         "the file ends in %zu bytes of a line that was never finished",
                         line->text.size);
        return;
    }
    if (line->is_too_long) {
        verify_unreadable(verifier);
        verify_tell_line(verifier, AUDIT_FINDING_NO_RECORD, false, line, 0,
                         "the line is longer than a record may be; what stood here cannot be told");
    } else if (audit_record_parse(line->text, &record.claimed, &record.body, &reason) < 0) {
        verify_unreadable(verifier);
        verify_tell_line(verifier, AUDIT_FINDING_NO_RECORD, false, line, 0,
                         "the line is no record: %s", reason.text);
    } else {
        judge_record(verifier, &record);
    }
}

static void add_known(struct verifier *verifier, const struct audit_link *link, const char *origin)
{
    verifier->known[verifier->known_count++] =
        (struct verify_known){.link = *link, .origin = origin, .is_seen = link->sequence == 0};
}

/* What the log's own head.json says of it. */
static void read_newest_head(struct verifier *verifier)
{
    struct audit_head head;
    struct error reason;
    if (audit_reader_newest_head(verifier->reader, &head, &reason) == 0) {
        verify_head_signature(verifier, &head, "head.json");
        add_known(verifier, &head.link, "head.json");
    } else if (reason.code != ERROR_NOT_FOUND) {
        const struct audit_finding place = {.file = "head.json"};
        verify_tell_place(verifier, AUDIT_FINDING_SIGNATURE, &place, "%s", reason.text);
    }
}

static void end_known(struct verifier *verifier, const struct audit_line *end)
{
    const struct audit_verdict *verdict = verifier->verdict;
    for (size_t i = 0; i < verifier->known_count; i++) {
        const struct verify_known *known = &verifier->known[i];
        uint64_t sequence = known->link.sequence;
        if (known->is_seen) {
            continue;
        }
        if (sequence > verifier->highest) {
            verify_tell_line(verifier, AUDIT_FINDING_ROLLED_BACK, false, end, sequence,
                             "the log ends with record %" PRIu64 ", but %s has record %" PRIu64
                             ": the records after %" PRIu64 " were cut off",
                             verdict->last.sequence, known->origin, sequence,
                             verdict->last.sequence);
        } else if (sequence < verdict->first.sequence) {
            verify_tell_line(verifier, AUDIT_FINDING_ROLLED_BACK, true, end, sequence,
                             "record %" PRIu64 ", which %s has, lies before the oldest file that "
                             "is left: it cannot be compared",
                             sequence, known->origin);
        }
    }
}

/* Before that one there never was another. */
static bool is_first_file(const char *name)
{
    uint32_t number = 0;
    return audit_file_number(name, &number) && number <= 1;
}

/* What may have been cut off the start: files go for their age, single records do not. */
static void end_beginning(struct verifier *verifier)
{
    const struct verify_beginning *beginning = &verifier->beginning;
    struct audit_finding finding = beginning->place.finding;
    const char *text = ", which is not where a file begins by its signed head: the records before "
                       "it were cut off";
    if (!beginning->is_late || beginning->is_proven) {
        return;
    }
    if (verifier->verdict->heads == 0) {
        finding.is_remark = true;
        text = " and has no signed heads: nothing tells whether what lay before it was removed for "
               "its age";
    } else if (beginning->has_head && !is_first_file(beginning->place.file)) {
        finding.is_remark = true;
        text = "; the hardware was late with the head of this file: a few records may be missing "
               "before this one";
    }
    verify_tell_place(verifier, AUDIT_FINDING_CUT, &finding,
                      "the log begins with record %" PRIu64 "%s", finding.sequence, text);
}

static void end_signed(struct verifier *verifier, const struct audit_line *end)
{
    const struct audit_verdict *verdict = verifier->verdict;
    uint64_t last = verdict->last.sequence;
    /* A head cannot vouch for itself. */
    uint64_t signed_last = verdict->signed_last.sequence;
    uint64_t covered = signed_last + 1 == verifier->last_head ? signed_last + 1 : signed_last;
    if (verifier->last_head == 0 && verdict->records > 0) {
        verify_tell_line(verifier, AUDIT_FINDING_UNSIGNED, true, end, last,
                         "no signature vouches for any of it: whoever can write the files could "
                         "have written all of it anew");
    } else if (last > covered) {
        verify_tell_line(verifier, AUDIT_FINDING_UNSIGNED, true, end, last,
                         "%" PRIu64 " records after record %" PRIu64
                         ", the last that a good head vouches for, are chained but not signed yet",
                         last - covered, signed_last);
    }
}

static int read_all(struct verifier *verifier, struct error *err)
{
    /* Of the last line the place is needed when it is gone. */
    char file[256] = "";
    struct audit_line end = {.file = file};
    struct audit_line line;
    bool has_line = false;
    for (;;) {
        TRY(audit_reader_next(verifier->reader, &has_line, &line, err));
        if (!has_line) {
            break;
        }
        if (line.is_first_of_file) {
            (void)snprintf(file, sizeof(file), "%s", line.file);
        }
        end.line = line.line;
        judge_line(verifier, &line);
    }
    verify_settle(verifier);
    end_beginning(verifier);
    end_known(verifier, &end);
    end_signed(verifier, &end);
    return 0;
}

int audit_verify_against(struct audit_reader *reader, const struct audit_link *known,
                         size_t known_count,
                         void (*found)(void *user, const struct audit_finding *finding), void *user,
                         struct audit_verdict *ret_verdict, struct error *err)
{
    struct audit_verdict verdict = {0};
    _cleanup_(free_cleanup) struct audit_link *links =
        memory_new_array(VERIFY_LINKS, sizeof(*links));
    struct verifier verifier = {
        .reader = reader, .found = found, .user = user, .verdict = &verdict, .links = links};
    if (sodium_init() < 0) {
        return error_set(err, ERROR_INTERNAL, "verifying an audit log: libsodium does not start");
    }
    for (size_t i = 0; i < MIN(known_count, (size_t)AUDIT_KNOWN_MAX); i++) {
        add_known(&verifier, &known[i], "what is known from elsewhere");
    }
    read_newest_head(&verifier);
    int result = read_all(&verifier, err);
    verify_keys_clear(&verifier);
    buffer_clear(&verifier.beginning.text);
    if (result < 0) {
        return -1;
    }
    verdict.is_whole = verdict.findings == 0;
    *ret_verdict = verdict;
    return 0;
}

int audit_verify(struct audit_reader *reader, const struct audit_link *known,
                 void (*found)(void *user, const struct audit_finding *finding), void *user,
                 struct audit_verdict *ret_verdict, struct error *err)
{
    return audit_verify_against(reader, known, known ? 1 : 0, found, user, ret_verdict, err);
}
