/* How what was counted reaches the disk, without the loop waiting for it. */
#include "agent/access/usage_state.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum { BATCH_MAX = 2000 /* records in one transaction */ };

/* What is being written on a thread of the pool. Outlives usage where it is closed meanwhile. */
struct saving {
    uv_work_t work;
    uv_sem_t written;
    struct usage *usage; /* NULL once it is closed */
    struct usage_store *store;
    struct usage_record *records; /* copies; spiffe_id too */
    size_t count;
    int result;
    struct error failure;
};

static struct usage_record copy_record(const struct usage_record *record)
{
    struct usage_record copy = *record;
    copy.spiffe_id = memory_copy_text(record->spiffe_id);
    return copy;
}

static void saving_free(struct saving *saving)
{
    for (size_t i = 0; i < saving->count; i++) {
        free(saving->records[i].spiffe_id);
    }
    free(saving->records);
    uv_sem_destroy(&saving->written);
    free(saving);
}

static void take_gone(struct usage *usage, struct saving *saving)
{
    while (usage->gone.count > 0 && saving->count < BATCH_MAX) {
        saving->records[saving->count++] = (struct usage_record){
            .spiffe_id = usage->gone.items[--usage->gone.count], .is_gone = true};
    }
}

/* The next batch of what has changed. */
static struct saving *gather(struct usage *usage)
{
    struct counted *row, *next;
    struct saving *saving = NEW(struct saving);
    (void)uv_sem_init(&saving->written, 0);
    saving->usage = usage;
    saving->store = usage->store;
    saving->work.data = saving;
    saving->records = memory_new_array(BATCH_MAX, sizeof(*saving->records));
    take_gone(usage, saving);
    HASH_ITER (hh, usage->rows, row, next) {
        if (saving->count == BATCH_MAX || usage->dirty == 0) {
            break;
        }
        if (row->is_dirty) {
            saving->records[saving->count++] = copy_record(&row->record);
            row->is_dirty = false;
            usage->dirty--;
        }
    }
    return saving;
}

/* What could not be written is for the next time. */
static void settle(struct usage *usage, const struct saving *saving)
{
    if (saving->result == 0) {
        usage->is_failure_told = false;
        return;
    }
    for (size_t i = 0; i < saving->count; i++) {
        const struct usage_record *record = &saving->records[i];
        struct counted *row = NULL;
        HASH_FIND_STR(usage->rows, record->spiffe_id, row);
        if (row) {
            usage_mark(usage, row);
        } else if (record->is_gone) {
            text_list_add(&usage->gone, record->spiffe_id);
        }
    }
    if (!usage->is_failure_told) {
        usage->is_failure_told = true;
        log_warning("saving the record of uses failed, tried again each minute error=\"%s\"",
                    saving->failure.text);
    }
}

static bool has_changes(const struct usage *usage)
{
    return usage->dirty > 0 || usage->gone.count > 0;
}

static void save_now(struct saving *saving)
{
    saving->result =
        usage_store_save(saving->store, saving->records, saving->count, &saving->failure);
}

static void write_batch(uv_work_t *work)
{
    struct saving *saving = work->data;
    save_now(saving);
    uv_sem_post(&saving->written);
}

static void begin_saving(struct usage *usage);

static void batch_written(uv_work_t *work, int status)
{
    struct saving *saving = work->data;
    struct usage *usage = saving->usage;
    (void)status;
    if (usage) {
        usage->saving = NULL;
        settle(usage, saving);
        if (saving->result == 0 && has_changes(usage) && saving->count == BATCH_MAX) {
            begin_saving(usage);
        }
    }
    saving_free(saving);
}

static void begin_saving(struct usage *usage)
{
    usage->saving = gather(usage);
    (void)uv_queue_work(usage->loop, &usage->saving->work, write_batch, batch_written);
}

void usage_save(struct usage *usage)
{
    if (!usage->saving && has_changes(usage)) {
        begin_saving(usage);
    }
}

/* Work that a thread of the pool has begun is waited for: it uses the store. */
static void end_saving(struct usage *usage)
{
    struct saving *saving = take_ptr(usage->saving);
    if (uv_cancel((uv_req_t *)&saving->work) == 0) {
        saving->result = error_set(&saving->failure, ERROR_CANCELLED, "the agent stops");
        usage->is_failure_told = true;
    } else {
        uv_sem_wait(&saving->written);
    }
    settle(usage, saving);
    saving->usage = NULL;
}

void usage_save_all(struct usage *usage)
{
    int result = 0;
    if (usage->saving) {
        end_saving(usage);
    }
    while (result == 0 && has_changes(usage)) {
        struct saving *saving = gather(usage);
        save_now(saving);
        settle(usage, saving);
        result = saving->result;
        saving_free(saving);
    }
}
