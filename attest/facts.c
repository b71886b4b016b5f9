#include "attest/facts.h"

#include <stdlib.h>
#include <string.h>

#include "attest/facts_boot.h"
#include "lib/base/memory.h"

enum { FIRMWARE_REGISTERS = 8 };

const struct register_log *boot_register(const struct boot *boot, unsigned pcr)
{
    return boot->quoted >> pcr & 1 ? &boot->registers[pcr] : NULL;
}

bool boot_is_digest_of(const struct boot *boot, struct bytes digest, const struct bytes *parts,
                       size_t count)
{
    uint8_t computed[HASH_MAX_BYTES];
    return hash_compute(boot->hash, parts, count, computed, NULL) == 0 &&
           bytes_is_equal((struct bytes){computed, boot->hash->size}, digest);
}

bool boot_is_covered(const struct boot *boot, const struct measurement *item)
{
    return boot_is_digest_of(boot, item->digest, &item->event->data, 1);
}

size_t boot_find(const struct boot *boot, const struct register_log *log, size_t end,
                 struct bytes data)
{
    uint8_t computed[HASH_MAX_BYTES];
    if (hash_compute(boot->hash, &data, 1, computed, NULL) < 0) {
        return end;
    }
    const struct bytes digest = {computed, boot->hash->size};
    size_t i = 0;
    while (i < end && !bytes_is_equal(log->items[i].digest, digest)) {
        i++;
    }
    return i;
}

void boot_add_fact(struct boot *boot, const char *name, unsigned pcr, char *taken_value)
{
    struct facts *facts = boot->facts;
    if (!taken_value || !taken_value[0] || facts->count == FACTS_MAX) {
        free(taken_value);
        return;
    }
    facts->items = memory_resize_array(facts->items, facts->count + 1, sizeof(*facts->items));
    facts->items[facts->count++] = (struct fact){memory_copy_text(name), taken_value, pcr};
}

static bool is_no_action(const struct event *event)
{
    return event->type == EVENT_TYPE_NO_ACTION;
}

/* TCG PFP 10.4.1: with zeros or ones the firmware says that all went well, with 1 that it failed.
 */
static const uint8_t separators[][4] = {{0, 0, 0, 0}, {0xff, 0xff, 0xff, 0xff}, {1, 0, 0, 0}};
enum { SEPARATORS = ARRAY_SIZE(separators), SEPARATOR_FAILED = 2 };

/* Told by the digest, so no other type or data can hide one. The first counts: later ones may be
 * anybody's. */
static size_t find_separator(const struct register_log *log, const struct bytes *digests,
                             size_t count)
{
    for (size_t i = 0; i < log->count; i++) {
        for (size_t word = 0; word < count; word++) {
            if (bytes_is_equal(log->items[i].digest, digests[word])) {
                return word == SEPARATOR_FAILED ? log->count : i;
            }
        }
    }
    return log->count;
}

static bool find_separators(struct boot *boot)
{
    uint8_t computed[SEPARATORS][HASH_MAX_BYTES];
    struct bytes digests[SEPARATORS];
    for (size_t word = 0; word < SEPARATORS; word++) {
        const struct bytes data = {separators[word], sizeof(separators[word])};
        if (hash_compute(boot->hash, &data, 1, computed[word], NULL) < 0) {
            return false;
        }
        digests[word] = (struct bytes){computed[word], boot->hash->size};
    }
    for (size_t pcr = 0; pcr < FIRMWARE_REGISTERS; pcr++) {
        /* A failure is told in all of them; in PCR 1 a boot order of 1 and 0 looks the same. */
        const size_t count = pcr == 1 ? SEPARATOR_FAILED : SEPARATORS;
        boot->registers[pcr].separator = find_separator(&boot->registers[pcr], digests, count);
    }
    return true;
}

/* Sorts the events by register. False: one lacks a digest, so the log was not replayed in this
 * bank. */
static bool sort_events(const struct event_log *log, struct boot *boot)
{
    boot->measurements = memory_new_array(log->count, sizeof(*boot->measurements));
    for (size_t i = 0; i < log->count; i++) {
        boot->registers[log->events[i].pcr].count += !is_no_action(&log->events[i]);
    }
    struct measurement *next = boot->measurements;
    for (size_t pcr = 0; pcr < PCR_COUNT; pcr++) {
        boot->registers[pcr].items = next;
        next += boot->registers[pcr].count;
        boot->registers[pcr].count = 0;
    }
    for (size_t i = 0; i < log->count; i++) {
        const struct event *event = &log->events[i];
        struct register_log *into = &boot->registers[event->pcr];
        struct measurement measurement = {.event = event};
        if (is_no_action(event)) {
            continue;
        }
        if (!event_digest(event, boot->hash->id, &measurement.digest)) {
            return false;
        }
        into->items[into->count++] = measurement;
    }
    return true;
}

void facts_draw(const struct event_log *log, TPM2_ALG_ID bank, uint32_t quoted,
                struct facts *ret_facts)
{
    *ret_facts = (struct facts){0};
    struct boot boot = {.hash = hash_by_id(bank), .quoted = quoted, .facts = ret_facts};
    if (boot.hash && sort_events(log, &boot) && find_separators(&boot)) {
        boot_draw_firmware(&boot);
        boot_draw_secure_boot(&boot);
        boot_draw_loader(&boot);
    }
    free(boot.measurements);
}

void facts_release(struct facts *facts)
{
    for (size_t i = 0; i < facts->count; i++) {
        free(facts->items[i].name);
        free(facts->items[i].value);
    }
    free(facts->items);
    *facts = (struct facts){0};
}
