/* What the threads of the proxy share. */
#pragma once

#include <pthread.h>

#include "hw-sim/tpm-proxy/fault.h"
#include "lib/base/bytes.h"

enum { PROXY_COUNTS_MAX = 64 };

struct proxy {
    const char *tpm_path;     /* of the swtpm's socket; its control channel is at PATH.ctrl */
    pthread_mutex_t tpm_lock; /* held by whose command is with the TPM */

    pthread_mutex_t lock; /* for the rest; taken after tpm_lock */
    struct fault_list faults;
    bool is_discrete; /* at the pace of a discrete TPM */
    unsigned connections;

    struct {
        uint32_t code;
        uint64_t commands;
    } counts[PROXY_COUNTS_MAX];
    size_t count;
    uint64_t busy_us;
    uint64_t idle_us; /* between an answer and the next command */
    uint64_t longest_idle_us;
    uint64_t last_end_us; /* 0: there was none */
};

/* Does what the line of words asks for and appends lines of text, the last of which is "ok" or
 * begins with "error: ". */
void control_obey(struct proxy *proxy, char *line, struct buffer *ret_answer);
