#include "client/audit_story.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "client/audit_time.h"
#include "lib/base/memory.h"
#include "lib/base/text.h"

/* Of what happened: %i the identity, %w who did it, %t to whom (nothing where nobody is named), %c
 * the credential, %n how often. */
static const struct {
    const char *action, *words;
} phrases[] = {
    {"identified", "%w was given %i"},
    {"issued", "%c was issued for %i%t"},
    {"renewed", "%c was issued for %i in place of the one before%t"},
    {"denied", "%w was refused %i%n"},
    {"used", "%w signed as %i%n"},
    {"withdrawn", "%w lost %i"},
    {"locked", "%i was locked by %w"},
    {"unlocked", "%i was unlocked by %w"},
    {"entry-set", "an entry for %i was set by %w"},
    {"entry-removed", "the entry for %i was removed by %w"},
    {"rules-changed", "the rules were changed by %w"},
    {"node-attested", "the node was attested"},
    {"node-not-attested", "the node is not attested"},
    {"evidence", "evidence about %i was made for %w"},
    {"keystore-lost", "a keystore was lost"},
    {"keystore-back", "a keystore is back"},
    {"started", "the agent started"},
    {"stopped", "the agent stopped"},
};

/* How the detail of a lock begins. */
#define LOCK_OF "lock of "

enum { ACTION_COLUMN = 18, CONTINUED_COLUMN = 31 };

static const char *text_of(const json_t *record, const char *name)
{
    return json_string_value(json_object_get(record, name));
}

static json_int_t number_of(const json_t *record, const char *name)
{
    return json_integer_value(json_object_get(record, name));
}

static void say(struct buffer *text, const char *format, ...) _printf_(2, 3);
static void say(struct buffer *text, const char *format, ...)
{
    char *words = NULL;
    va_list arguments;
    va_start(arguments, format);
    int size = vasprintf(&words, format, arguments);
    va_end(arguments);
    if (size < 0) {
        abort();
    }
    text_make_printable(words);
    buffer_append_text(text, words);
    free(words);
}

static bool is_of_lock(const char *detail)
{
    return strncmp(detail, LOCK_OF, strlen(LOCK_OF)) == 0;
}

/* Of a lock of something else: what that is. */
static void say_identity(struct buffer *text, const json_t *record)
{
    const char *id = text_of(record, "signet.spiffe_id");
    const char *detail = text_of(record, "signet.detail");
    if (!id && detail) {
        id = is_of_lock(detail) ? detail + strlen(LOCK_OF) : detail;
    }
    say(text, "%s", id ? id : "an identity");
}

static void say_who(struct buffer *text, const json_t *record)
{
    const char *executable = text_of(record, "process.executable");
    const char *user = text_of(record, "user.id");
    const char *unit = text_of(record, "systemd.unit");
    const char *container = text_of(record, "container.id");
    if (!json_object_get(record, "process.pid")) {
        say(text, "the agent");
        return;
    }
    say(text, "pid %" JSON_INTEGER_FORMAT, number_of(record, "process.pid"));
    if (executable) {
        say(text, " %s", executable);
    }
    say(text, " (uid %s", user ? user : "unknown");
    if (unit) {
        say(text, ", %s", unit);
    }
    if (container) {
        say(text, ", container %.12s", container);
    }
    say(text, ")");
}

static void say_credential(struct buffer *text, const json_t *record)
{
    const char *kind = text_of(record, "signet.credential.kind");
    const char *serial = text_of(record, "x509.serial_number");
    const char *jti = text_of(record, "signet.credential.jti");
    say(text, "%s", kind ? kind : "a credential");
    if (serial || jti) {
        say(text, " %s", serial ? serial : jti);
    }
}

static void say_count(struct buffer *text, const json_t *record)
{
    json_int_t count = number_of(record, "signet.count");
    if (count > 1) {
        say(text, " %" JSON_INTEGER_FORMAT " times", count);
    }
}

static void say_to_whom(struct buffer *text, const json_t *record)
{
    if (json_object_get(record, "process.pid")) {
        say(text, ", to ");
        say_who(text, record);
    }
}

static const struct {
    char letter;
    void (*say)(struct buffer *text, const json_t *record);
} parts[] = {
    {'i', say_identity}, {'w', say_who},     {'c', say_credential},
    {'n', say_count},    {'t', say_to_whom},
};

static void say_part(struct buffer *text, const json_t *record, char letter)
{
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        if (parts[i].letter == letter) {
            parts[i].say(text, record);
        }
    }
}

static void say_phrase(struct buffer *text, const json_t *record, const char *words)
{
    for (const char *at = words; *at; at++) {
        if (*at == '%') {
            say_part(text, record, *++at);
        } else {
            buffer_append_u8(text, (uint8_t)*at);
        }
    }
}

/* What is not in the table tells itself. */
static const char *find_phrase(const char *action)
{
    for (size_t i = 0; i < ARRAY_SIZE(phrases); i++) {
        if (strcmp(phrases[i].action, action) == 0) {
            return phrases[i].words;
        }
    }
    return NULL;
}

static void say_what(struct buffer *text, const json_t *record, const char *action)
{
    const char *words = find_phrase(action);
    const char *message = text_of(record, "message");
    const char *outcome = text_of(record, "event.outcome");
    bool has_failed = outcome && strcmp(outcome, "failure") == 0;
    if (words && has_failed && strcmp(action, "denied") != 0) {
        say(text, "FAILED: ");
    }
    if (words) {
        say_phrase(text, record, words);
    } else {
        say(text, "%s", message ? message : "something that this version has no words for");
    }
}

/* The second line */

/* Begins a ground: what it is is said next. */
static void separate(struct buffer *text)
{
    if (text->size > 0) {
        buffer_append_text(text, "; ");
    }
}

static void say_decision(struct buffer *text, const json_t *record)
{
    static const struct {
        const char *by, *words;
    } deciders[] = {
        {"entry", "by the entry"},
        {"rule", "by the rule"},
        {"lock", "by the lock"},
        {"outside", "by the outside policy"},
        {"process", "because of what the process is"},
        {"node", "because of the state of the node"},
        {"admin", "by an administrator"},
    };
    const char *by = text_of(record, "signet.decision.by");
    const char *id = text_of(record, "signet.decision.id");
    for (size_t i = 0; by && i < ARRAY_SIZE(deciders); i++) {
        if (strcmp(deciders[i].by, by) == 0) {
            separate(text);
            say(text, "%s%s%s", deciders[i].words, id ? " " : "", id ? id : "");
        }
    }
}

static void say_ground(struct buffer *text, const json_t *record, const char *name,
                       const char *before)
{
    const char *value = text_of(record, name);
    if (value && value[0]) {
        separate(text);
        say(text, "%s%s", before, value);
    }
}

static void say_audience(struct buffer *text, const json_t *record)
{
    const json_t *audience = json_object_get(record, "signet.audience");
    size_t i = 0;
    const json_t *item = NULL;
    json_array_foreach(audience, i, item)
    {
        const char *name = json_string_value(item);
        if (i == 0) {
            separate(text);
        }
        say(text, "%s%s", i == 0 ? "for the audience " : ", ", name ? name : "?");
    }
}

static void say_key(struct buffer *text, const json_t *record)
{
    const char *key = text_of(record, "signet.key.id");
    const char *protection = text_of(record, "signet.key.protection");
    if (key) {
        separate(text);
        say(text, "key %s%s%s%s", key, protection ? " (" : "", protection ? protection : "",
            protection ? ")" : "");
    }
}

static void say_time(struct buffer *text, const json_t *record, const char *name,
                     const char *before)
{
    const char *time = text_of(record, name);
    int64_t ms = 0;
    if (!time || audit_time_parse(time, 0, &ms, NULL) < 0) {
        return;
    }
    _cleanup_(free_cleanup) char *local = audit_time_local(ms);
    separate(text);
    say(text, "%s%s", before, local);
}

/* The first line names the credential already where it is what was made. */
static void say_which_credential(struct buffer *text, const json_t *record, const char *action)
{
    bool is_said = strcmp(action, "issued") == 0 || strcmp(action, "renewed") == 0;
    if (!is_said && text_of(record, "signet.credential.kind") &&
        (text_of(record, "x509.serial_number") || text_of(record, "signet.credential.jti"))) {
        separate(text);
        say_credential(text, record);
    }
}

static void say_detail(struct buffer *text, const json_t *record, const char *action)
{
    const char *words = find_phrase(action);
    const char *detail = text_of(record, "signet.detail");
    /* Without an identity the first line has said it. */
    bool is_said = !text_of(record, "signet.spiffe_id") && words && strstr(words, "%i");
    if (detail && !is_said && !is_of_lock(detail)) {
        say_ground(text, record, "signet.detail", "");
    }
}

static void say_grounds(struct buffer *text, const json_t *record, const char *action)
{
    say_ground(text, record, "event.reason", "");
    say_decision(text, record);
    say_ground(text, record, "signet.asked", "asked for ");
    say_audience(text, record);
    say_which_credential(text, record, action);
    say_key(text, record);
    say_time(text, record, "signet.credential.expires", "until ");
    say_time(text, record, "event.start", "since ");
    say_detail(text, record, action);
}

void audit_story(const json_t *record, struct buffer *ret_text)
{
    _cleanup_(buffer_clear) struct buffer grounds = {0};
    const char *action = text_of(record, "event.action");
    const char *time = text_of(record, "@timestamp");
    int64_t ms = 0;
    bool has_time = time && audit_time_read(time, &ms);
    _cleanup_(free_cleanup) char *local =
        has_time ? audit_time_local(ms) : memory_copy_text("(no time)");
    action = action ? action : "unknown";
    say(ret_text, "%-29s  %-*s", local, ACTION_COLUMN, action);
    say_what(ret_text, record, action);
    buffer_append_text(ret_text, "\n");
    say_grounds(&grounds, record, action);
    if (grounds.size > 0) {
        say(ret_text, "%*s", CONTINUED_COLUMN, "");
        buffer_append(ret_text, grounds.data, grounds.size);
        buffer_append_text(ret_text, "\n");
    }
}
