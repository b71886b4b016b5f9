/* An audit log whose files are the input: it is read, judged, and gone on with, whatever it is.
 * "\n====\n" parts head.json, two files of the log and one public key. */
#include "tests/fuzz/fuzz.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit/log.h"
#include "audit/verify.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

#define PARTING "\n====\n"

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    return remove(path);
}

static void write_file(const char *folder, const char *name, struct bytes contents)
{
    _cleanup_(free_cleanup) char *path = file_join(folder, name);
    FILE *file = fopen(path, "we");
    if (!file || fwrite(contents.data, 1, contents.size, file) != contents.size ||
        fclose(file) != 0) {
        abort();
    }
}

static struct bytes next_part(struct bytes *rest)
{
    size_t size = strlen(PARTING);
    const uint8_t *found = rest->size ? memmem(rest->data, rest->size, PARTING, size) : NULL;
    struct bytes part = {rest->data, found ? (size_t)(found - rest->data) : rest->size};
    size_t used = part.size + (found ? size : 0);
    *rest = (struct bytes){rest->data + used, rest->size - used};
    return part;
}

/* Its folder, which is removed by the caller. */
static void write_log(char *folder, struct bytes input)
{
    static const char *const names[] = {"head.json", "audit-000001.jsonl", "audit-000002.jsonl",
                                        "keys/0123456789012345678901234567890123456789.pem"};
    if (!mkdtemp(folder)) {
        abort();
    }
    _cleanup_(free_cleanup) char *keys = file_join(folder, "keys");
    if (mkdir(keys, 0700) < 0) {
        abort();
    }
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        struct bytes part = next_part(&input);
        if (part.size > 0) {
            write_file(folder, names[i], part);
        }
    }
}

static void count(void *user, const struct audit_finding *finding)
{
    *(uint64_t *)user += finding->is_remark ? 0 : 1;
    if (!finding->file || memchr(finding->text, '\0', sizeof(finding->text)) == NULL) {
        abort();
    }
}

static bool verify(const char *folder, struct audit_verdict *ret_verdict)
{
    _cleanup_(audit_reader_cleanup) struct audit_reader *reader = NULL;
    uint64_t findings = 0;
    if (audit_reader_open(folder, &reader, NULL) < 0 ||
        audit_verify(reader, NULL, count, &findings, ret_verdict, NULL) < 0) {
        return false;
    }
    if (ret_verdict->is_whole != (findings == 0)) {
        abort();
    }
    return true;
}

/* A record that parses is the one that would be written: there is one form of it alone. */
static void check_record(struct bytes line)
{
    _cleanup_(buffer_clear) struct buffer again = {0};
    struct audit_link claimed;
    struct audit_head head;
    struct bytes body;
    bool is_head = false;
    if (audit_record_parse(line, &claimed, &body, NULL) < 0) {
        return;
    }
    (void)audit_head_parse(body, &is_head, &head, NULL);
    struct audit_link before = {.sequence = claimed.sequence - 1};
    if (audit_record_append(&before, body, &again, NULL) < 0 || again.size != line.size + 1 ||
        memcmp(again.data, line.data, line.size - 66) != 0) {
        abort();
    }
}

static uint64_t read_lines(const char *folder)
{
    _cleanup_(audit_reader_cleanup) struct audit_reader *reader = NULL;
    struct audit_line line;
    bool has_line = false;
    uint64_t lines = 0;
    if (audit_reader_open(folder, &reader, NULL) < 0) {
        return 0;
    }
    while (audit_reader_next(reader, &has_line, &line, NULL) == 0 && has_line) {
        lines++;
        if (!line.is_too_long) {
            check_record(line.text);
        }
    }
    return lines;
}

/* Goes on with it, as an agent does: what it adds holds. */
static void go_on(const char *folder)
{
    const struct audit_log_config config = {.folder = folder};
    struct audit_log *log = NULL;
    struct audit_found found;
    bool is_new_file = false;
    if (audit_log_open(&config, &log, &found, NULL) < 0) {
        return;
    }
    uint64_t last = audit_log_link(log)->sequence;
    /* After the greatest of numbers there is none. */
    if (last < UINT64_MAX &&
        (audit_log_append(log, bytes_of_text("\"a\":1"), &is_new_file, NULL) < 0 ||
         audit_log_sync(log, NULL) < 0)) {
        abort();
    }
    audit_log_close(log);
    if (audit_log_open(&config, &log, &found, NULL) < 0 || found.torn_bytes > 0) {
        abort();
    }
    audit_log_close(log);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *parent = getenv("TMPDIR");
    _cleanup_(free_cleanup) char *folder =
        text_format("%s/signet-fuzz-audit.XXXXXX", parent ? parent : "/tmp");
    struct audit_verdict verdict;
    write_log(folder, (struct bytes){data, size});
    uint64_t lines = read_lines(folder);
    if (verify(folder, &verdict) && verdict.records > lines) {
        abort();
    }
    go_on(folder);
    (void)nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return 0;
}
