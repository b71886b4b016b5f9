#include <jansson.h>
#include <sodium.h>
#include <string.h>
#include <time.h>

#include "agent/policy/outside_cache.h"
#include "agent/spiffe_id.h"
#include "lib/base/memory.h"

DEFINE_CLEANUP(json_t, json, json_decref);

/* Paths are whatever bytes a file system holds; JSON is UTF-8. */
static json_t *json_of_text(const char *text)
{
    if (!text) {
        return json_null();
    }
    if (text_is_utf8(bytes_of_text(text))) {
        return json_string(text);
    }
    _cleanup_(free_cleanup) char *printable = memory_copy_text(text);
    text_make_printable(printable);
    return json_string(printable);
}

static json_t *json_of_list(const struct text_list *list)
{
    if (!list) {
        return json_null();
    }
    json_t *array = json_array();
    for (size_t i = 0; i < list->count; i++) {
        (void)json_array_append_new(array, json_of_text(list->items[i]));
    }
    return array;
}

/* RFC 3339, as OPA's time.parse_rfc3339_ns reads it. */
static json_t *json_of_time(int64_t time_ms)
{
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm parts;
    char date[32];
    if (time_ms <= 0 || !gmtime_r(&seconds, &parts) ||
        strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &parts) == 0) {
        return json_null();
    }
    _cleanup_(free_cleanup) char *text = text_format("%s.%03dZ", date, (int)(time_ms % 1000));
    return json_string(text);
}

static json_t *json_of_process(const struct audit_process *process, bool has_times)
{
    if (!process) {
        return json_null();
    }
    return json_pack(
        "{s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "pid", (json_int_t)process->pid, "uid",
        (json_int_t)process->uid, "gid", (json_int_t)process->gid, "started_at",
        has_times ? json_of_time(process->started_at_ms) : json_null(), "executable",
        json_of_text(process->executable), "sha256", json_of_text(process->sha256), "unit",
        json_of_text(process->unit), "container_id", json_of_text(process->container_id),
        "selectors", json_of_list(process->selectors));
}

static json_t *json_of_trust_domain(const char *spiffe_id)
{
    static const size_t scheme_bytes = sizeof("spiffe://") - 1;
    return json_stringn(spiffe_id + scheme_bytes, spiffe_id_trust_domain_size(spiffe_id));
}

static char *input_text(const struct outside_question *question, bool has_times)
{
    _cleanup_(json_cleanup) json_t *document = json_pack(
        "{s:{s:s, s:s, s:o, s:o, s:o, s:o, s:o}}", "input", "action", question->action, "spiffe_id",
        question->spiffe_id, "trust_domain", json_of_trust_domain(question->spiffe_id), "entry",
        json_of_text(question->entry_id), "rule", json_of_text(question->rule), "audience",
        json_of_list(question->audience), "process", json_of_process(question->process, has_times));
    char *text = json_dumps(document, JSON_COMPACT);
    if (!text) {
        /* Only without memory: every text above is UTF-8. As in memory.h. */
        abort();
    }
    return text;
}

char *outside_input(const struct outside_question *question)
{
    return input_text(question, true);
}

/* The time of a process's start is worked out from clocks that are corrected now and then; its
 * start in ticks stays what it is. */
struct outside_key outside_key_of(const struct outside_question *question)
{
    struct outside_key key;
    uint64_t start_time = question->process ? question->process->start_time : 0;
    crypto_generichash_state state;
    _cleanup_(free_cleanup) char *text = input_text(question, false);
    (void)crypto_generichash_init(&state, NULL, 0, sizeof(key.digest));
    (void)crypto_generichash_update(&state, (const uint8_t *)&start_time, sizeof(start_time));
    (void)crypto_generichash_update(&state, (const uint8_t *)text, strlen(text));
    (void)crypto_generichash_final(&state, key.digest, sizeof(key.digest));
    return key;
}
