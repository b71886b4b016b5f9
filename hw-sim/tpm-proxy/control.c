#include <errno.h>
#include <string.h>
#include <tss2/tss2_tpm2_types.h>
#include <unistd.h>

#include "hw-sim/tpm-proxy/pace.h"
#include "hw-sim/tpm-proxy/proxy.h"
#include "lib/base/memory.h"
#include "lib/base/text.h"

/* swtpm's control channel, man 8 swtpm: CMD_INIT with no flags is power off and on. */
static const uint8_t power_cycle[] = {0, 0, 0, 2, 0, 0, 0, 0};
static const uint8_t startup[] = {0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x44, 0, TPM2_SU_CLEAR};

static int ask(const char *path, const void *request, size_t request_size, uint8_t *answer,
               size_t size, struct error *err)
{
    int descriptor = message_connect(path);
    bool is_done = descriptor >= 0 &&
                   write(descriptor, request, request_size) == (ssize_t)request_size &&
                   read(descriptor, answer, size) == (ssize_t)size;
    int result = is_done ? 0 : error_set_errno(err, errno, "asking %s", path);
    if (descriptor >= 0) {
        (void)close(descriptor);
    }
    return result;
}

static int cycle_power(const struct proxy *proxy, struct error *err)
{
    static const uint8_t done[4] = {0};
    uint8_t answer[4] = {0};
    _cleanup_(free_cleanup) char *path = text_format("%s.ctrl", proxy->tpm_path);
    TRY(ask(path, power_cycle, sizeof(power_cycle), answer, sizeof(answer), err));
    return memcmp(answer, done, sizeof(done)) == 0
               ? 0
               : error_set(err, ERROR_UNAVAILABLE, "swtpm refused to reset the TPM");
}

static int obey_reset(struct proxy *proxy, char *const words[], size_t count,
                      struct buffer *ret_answer, struct error *err)
{
    uint8_t answer[MESSAGE_HEADER_BYTES] = {0};
    (void)ret_answer;
    TRY(cycle_power(proxy, err));
    bool is_bare = count == 2 && strcmp(words[1], "bare") == 0;
    return is_bare ? 0
                   : ask(proxy->tpm_path, startup, sizeof(startup), answer, sizeof(answer), err);
}

static int obey_pace(struct proxy *proxy, char *const words[], size_t count,
                     struct buffer *ret_answer, struct error *err)
{
    (void)ret_answer;
    bool is_discrete = count == 2 && strcmp(words[1], "discrete") == 0;
    if (!is_discrete && (count != 2 || strcmp(words[1], "none") != 0)) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "pace takes 'discrete' or 'none'");
    }
    proxy->is_discrete = is_discrete;
    return 0;
}

static int obey_clear(struct proxy *proxy, char *const words[], size_t count,
                      struct buffer *ret_answer, struct error *err)
{
    (void)words;
    (void)count;
    (void)ret_answer;
    (void)err;
    fault_clear(&proxy->faults);
    return 0;
}

static void put_line(struct buffer *answer, const char *name, uint64_t value)
{
    _cleanup_(free_cleanup) char *line = text_format("%s %llu\n", name, (unsigned long long)value);
    buffer_append_text(answer, line);
}

static void put_counts(const struct proxy *proxy, struct buffer *ret_answer)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < proxy->count; i++) {
        char number[16];
        put_line(ret_answer, pace_command_name(proxy->counts[i].code, number),
                 proxy->counts[i].commands);
        sum += proxy->counts[i].commands;
    }
    put_line(ret_answer, "commands", sum);
    put_line(ret_answer, "busy_ms", proxy->busy_us / 1000);
    put_line(ret_answer, "idle_ms", proxy->idle_us / 1000);
    put_line(ret_answer, "longest_idle_ms", proxy->longest_idle_us / 1000);
}

static int obey_count(struct proxy *proxy, char *const words[], size_t count,
                      struct buffer *ret_answer, struct error *err)
{
    (void)err;
    put_counts(proxy, ret_answer);
    if (count == 2 && strcmp(words[1], "reset") == 0) {
        proxy->count = 0;
        proxy->busy_us = proxy->idle_us = proxy->longest_idle_us = proxy->last_end_us = 0;
    }
    return 0;
}

static const struct {
    const char *name;
    int (*obey)(struct proxy *proxy, char *const words[], size_t count, struct buffer *ret_answer,
                struct error *err);
} commands[] = {
    {"reset", obey_reset},
    {"pace", obey_pace},
    {"clear", obey_clear},
    {"count", obey_count},
};

static int obey(struct proxy *proxy, char *const words[], size_t count, struct buffer *ret_answer,
                struct error *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (count > 0 && strcmp(commands[i].name, words[0]) == 0) {
            return commands[i].obey(proxy, words, count, ret_answer, err);
        }
    }
    return fault_add(&proxy->faults, words, count, err);
}

void control_obey(struct proxy *proxy, char *line, struct buffer *ret_answer)
{
    struct error err = {0};
    char *words[FAULT_WORDS_MAX];
    size_t count = 0;
    char *rest = NULL;
    for (char *word = strtok_r(line, " \t\r\n", &rest); word && count < ARRAY_SIZE(words);
         word = strtok_r(NULL, " \t\r\n", &rest)) {
        words[count++] = word;
    }
    (void)pthread_mutex_lock(&proxy->lock);
    int result = obey(proxy, words, count, ret_answer, &err);
    (void)pthread_mutex_unlock(&proxy->lock);
    if (result < 0) {
        buffer_append_text(ret_answer, "error: ");
        buffer_append_text(ret_answer, err.text);
        buffer_append_text(ret_answer, "\n");
    } else {
        buffer_append_text(ret_answer, "ok\n");
    }
}
