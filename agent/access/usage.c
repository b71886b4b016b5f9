#include "agent/access/usage.h"

#include <string.h>

#include "agent/access/usage_state.h"
#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "lib/base/text.h"

enum {
    SAVE_INTERVAL_MS = 60000,
    ROWS_MAX = 100000,
    DAY_S = 86400,
    KEPT_S = 365 * DAY_S,
    KEPT_WHERE_FULL_S = 30 * DAY_S,
    SETTLED_MS = 3600000, /* after this long all entries have been told */
};

/* Days. */

static int64_t day_of(int64_t now_s)
{
    return now_s / DAY_S;
}

/* Makes used_days begin with the day. Where the clock went back, what seems to lie in the future
 * counts as of the day. */
static void turn_to_day(struct usage_record *record, int64_t day)
{
    uint64_t *days = record->row.used_days;
    int64_t later = day - record->day;
    record->day = day;
    if (later > 0) {
        size_t shift = (size_t)MIN(later, USAGE_DAYS);
        memmove(days + shift, days, (USAGE_DAYS - shift) * sizeof(*days));
        memset(days, 0, shift * sizeof(*days));
    } else if (later < 0) {
        size_t shift = (size_t)MIN(-later, USAGE_DAYS - 1);
        for (size_t i = 0; i < shift; i++) {
            days[shift] += days[i];
        }
        memmove(days, days + shift, (USAGE_DAYS - shift) * sizeof(*days));
        memset(days + USAGE_DAYS - shift, 0, shift * sizeof(*days));
    }
}

/* Rows. */

static void drop_row(struct usage *usage, struct counted *row)
{
    usage->dirty -= row->is_dirty ? 1 : 0;
    HASH_DELETE(hh, usage->rows, row); /* NOLINT(clang-analyzer-*): uthash takes it out whole */
    free(row->record.spiffe_id);
    free(row);
}

static int64_t last_seen(const struct usage_record *record)
{
    const struct usage_row *row = &record->row;
    int64_t seen_s = MAX(record->known_at_s, row->known_since_s);
    seen_s = MAX(seen_s, MAX(row->last_issued_s, row->last_used_s));
    return MAX(seen_s, MAX(row->last_fetched_s, row->last_denied_s));
}

/* Drops those without an entry that nobody asked for within kept_s. */
static void prune(struct usage *usage, int64_t now_s, int64_t kept_s)
{
    struct counted *row, *next;
    HASH_ITER (hh, usage->rows, row, next) {
        if (!row->is_known && last_seen(&row->record) < now_s - kept_s) {
            text_list_add(&usage->gone, row->record.spiffe_id);
            drop_row(usage, row);
        }
    }
}

static bool has_room(struct usage *usage)
{
    if (HASH_COUNT(usage->rows) < ROWS_MAX) {
        return true;
    }
    if (!usage->is_full_told) {
        usage->is_full_told = true;
        prune(usage, clock_now_s(), KEPT_WHERE_FULL_S);
        log_warning("the record of uses has %d identities; those that nobody asked for in the last "
                    "%d days are dropped, further ones are not counted until the next start",
                    ROWS_MAX, KEPT_WHERE_FULL_S / DAY_S);
    }
    return HASH_COUNT(usage->rows) < ROWS_MAX;
}

/* Takes what the record holds. */
/* NOLINTNEXTLINE(readability-function-size): it is all in uthash's macros */
static struct counted *add_row(struct usage *usage, const struct usage_record *record)
{
    struct counted *row = NEW(struct counted);
    row->record = *record;
    HASH_ADD_KEYPTR(hh, usage->rows, row->record.spiffe_id, strlen(row->record.spiffe_id), row);
    return row;
}

static struct counted *find_row(const struct usage *usage, const char *spiffe_id)
{
    struct counted *row = NULL;
    HASH_FIND_STR(usage->rows, spiffe_id, row);
    return row;
}

/* The row of the ID, marked to be saved; made where there is none. NULL: there is no room. */
static struct usage_row *touch(struct usage *usage, const char *spiffe_id,
                               struct counted **ret_counted)
{
    struct counted *row = find_row(usage, spiffe_id);
    if (!row && has_room(usage)) {
        int64_t now_s = clock_now_s();
        row = add_row(usage, &(struct usage_record){.spiffe_id = memory_copy_text(spiffe_id),
                                                    .row = {.known_since_s = now_s},
                                                    .day = day_of(now_s)});
    }
    if (!row) {
        return NULL;
    }
    usage_mark(usage, row);
    if (ret_counted) {
        *ret_counted = row;
    }
    return &row->record.row;
}

static void timer_fired(uv_timer_t *timer)
{
    struct usage *usage = timer->data;
    int64_t now_s = clock_now_s();
    bool is_settled = clock_monotonic_ms() - usage->opened_ms >= SETTLED_MS;
    if (is_settled && usage->pruned_day != day_of(now_s)) {
        usage->pruned_day = day_of(now_s);
        prune(usage, now_s, KEPT_S);
    }
    usage_save(usage);
}

/* Life. */

static void load_record(void *user, struct usage_record *record)
{
    struct usage *usage = user;
    struct counted *row = NULL;
    HASH_FIND_STR(usage->rows, record->spiffe_id, row);
    if (row || HASH_COUNT(usage->rows) >= ROWS_MAX) {
        free(record->spiffe_id);
        return;
    }
    (void)add_row(usage, record);
}

static void free_rows(struct usage *usage)
{
    struct counted *row, *next;
    HASH_ITER (hh, usage->rows, row, next) {
        drop_row(usage, row);
    }
    text_list_clear(&usage->gone);
    free(usage);
}

static void start_timer(struct usage *usage)
{
    usage->timer = NEW(uv_timer_t);
    (void)uv_timer_init(usage->loop, usage->timer);
    usage->timer->data = usage;
    (void)uv_timer_start(usage->timer, timer_fired, SAVE_INTERVAL_MS, SAVE_INTERVAL_MS);
}

int usage_open(uv_loop_t *loop, const char *data_dir, struct usage **ret_usage, struct error *err)
{
    _cleanup_(free_cleanup) char *path = file_join(data_dir, "usage.db");
    struct usage *usage = NEW(struct usage);
    bool was_damaged = false;
    usage->loop = loop;
    usage->opened_ms = clock_monotonic_ms();
    if (usage_store_open(path, load_record, usage, &usage->store, &was_damaged, err) < 0) {
        free_rows(usage);
        return -1;
    }
    for (struct counted *row = usage->rows; was_damaged && row; row = row->hh.next) {
        usage_mark(usage, row);
    }
    start_timer(usage);
    *ret_usage = usage;
    return 0;
}

static void timer_closed(uv_handle_t *handle)
{
    free(handle);
}

void usage_close(struct usage *usage)
{
    usage_save_all(usage);
    uv_close((uv_handle_t *)take_ptr(usage->timer), timer_closed);
    usage_store_close(usage->store);
    free_rows(usage);
}

/* Counting. */

void usage_known(struct usage *usage, const char *spiffe_id)
{
    struct counted *row = NULL;
    if (touch(usage, spiffe_id, &row)) {
        row->is_known = true;
        row->record.known_at_s = clock_now_s();
    }
}

void usage_issued(struct usage *usage, const char *spiffe_id, int64_t now_s)
{
    struct usage_row *row = touch(usage, spiffe_id, NULL);
    if (row) {
        row->issued++;
        row->last_issued_s = now_s;
    }
}

void usage_used(struct usage *usage, const char *spiffe_id, uint64_t count, int64_t now_s)
{
    struct counted *counted = NULL;
    struct usage_row *row = touch(usage, spiffe_id, &counted);
    if (row && count > 0) {
        row->used += count;
        row->last_used_s = now_s;
        turn_to_day(&counted->record, day_of(now_s));
        row->used_days[0] += count;
    }
}

void usage_fetched(struct usage *usage, const char *spiffe_id, int64_t now_s)
{
    struct usage_row *row = touch(usage, spiffe_id, NULL);
    if (row) {
        row->fetched++;
        row->last_fetched_s = now_s;
    }
}

void usage_denied(struct usage *usage, const char *spiffe_id, uint64_t count, int64_t now_s)
{
    struct counted *known = find_row(usage, spiffe_id);
    if (known && count > 0) {
        known->record.row.denied += count;
        known->record.row.last_denied_s = now_s;
        usage_mark(usage, known);
    }
}

static int in_order(const void *a, const void *b)
{
    const struct counted *const *one = a;
    const struct counted *const *other = b;
    return strcmp((*one)->record.spiffe_id, (*other)->record.spiffe_id);
}

void usage_each(struct usage *usage, int64_t now_s,
                void (*each)(void *user, const struct usage_row *row), void *user)
{
    size_t count = 0;
    _cleanup_(free_cleanup) const struct counted **rows =
        memory_new_array(HASH_COUNT(usage->rows), sizeof(struct counted *));
    for (const struct counted *row = usage->rows; row; row = row->hh.next) {
        rows[count++] = row;
    }
    qsort(rows, count, sizeof(struct counted *), in_order);
    for (size_t i = 0; i < count; i++) {
        struct usage_record copy = rows[i]->record;
        copy.row.spiffe_id = copy.spiffe_id;
        turn_to_day(&copy, day_of(now_s));
        each(user, &copy.row);
    }
}
