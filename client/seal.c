/* signet seal, seal step, unseal */
#include "attest/host/seal.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "attest/host/counter.h"
#include "client/output.h"
#include "client/seal_input.h"
#include "client/subcommands.h"
#include "client/tpm_access.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

enum { AUTHORITY_MAX_BYTES = 4096 };

/* Given by the configuration too, so hexadecimal as tpm2-tools write it. */
static int set_index(void *field, const char *text, struct error *err)
{
    char *end = NULL;
    errno = 0;
    unsigned long long index = strtoull(text, &end, 0);
    if (errno != 0 || *end || end == text || index < COUNTER_INDEX_FIRST ||
        index > COUNTER_INDEX_LAST) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "\"%s\" is not an index from 0x%08x to 0x%08x", text, COUNTER_INDEX_FIRST,
                         COUNTER_INDEX_LAST);
    }
    *(uint32_t *)field = (uint32_t)index;
    return 0;
}

static uint32_t counter_of(const struct arguments *arguments)
{
    return arguments->counter_index ? arguments->counter_index : SEAL_COUNTER_INDEX_DEFAULT;
}

static bool is_counted(const struct arguments *arguments)
{
    return arguments->has_counter || arguments->counter_index || arguments->is_for_next_step;
}

static void print_sealed(const struct arguments *arguments, const struct seal_request *request)
{
    _cleanup_(free_cleanup) char *selection = pcr_selection_text(&request->selection);
    _cleanup_(free_cleanup) char *counter = request->counter_index
                                                ? text_format("0x%08x", request->counter_index)
                                                : memory_copy_text("");
    if (arguments->output == OUTPUT_JSON) {
        output_json(json_pack("{s:s, s:s, s:s, s:b, s:b}", "file", arguments->second_operand,
                              "pcrs", selection, "counter", counter, "for_next_step",
                              (int)request->is_for_next_step, "authority",
                              (int)(request->authority_pem.size > 0)),
                    false);
        return;
    }
    output_title("%s is sealed to this host", arguments->second_operand);
    output_field("registers", "%s", selection);
    output_field("counter", "%s%s", counter,
                 request->is_for_next_step ? ", opens after signet seal step" : "");
    output_field("authority", "%s", request->authority_pem.size ? arguments->authority : "");
}

static int seal(const struct arguments *arguments, struct tpm_device *device, struct error *err)
{
    _cleanup_(buffer_clear) struct buffer authority = {0};
    _cleanup_(buffer_clear) struct buffer file = {0};
    _cleanup_(secret_clear) struct secret secret = {0};
    struct seal_request request = {
        .counter_index = is_counted(arguments) ? counter_of(arguments) : 0,
        .is_for_next_step = arguments->is_for_next_step,
    };
    if (pcr_selection_parse(arguments->pcrs, &request.selection, err) < 0) {
        return error_prepend(err, "--pcrs");
    }
    if (arguments->authority) {
        TRY(buffer_read_file(arguments->authority, AUTHORITY_MAX_BYTES, &authority, err));
    }
    TRY(seal_input_secret(arguments->operand, &secret, err));
    request.secret = secret_bytes(&secret);
    request.authority_pem = buffer_bytes(&authority);
    TRY(seal_make(device, &request, &file, err));
    TRY(file_write_atomic(arguments->second_operand, buffer_bytes(&file), 0600, err));
    print_sealed(arguments, &request);
    return 0;
}

static int run_seal(const struct arguments *arguments, struct error *err)
{
    _cleanup_(tpm_access_close_cleanup) struct tpm_device *device = NULL;
    if (!arguments->operand || !arguments->second_operand) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "two files are needed: what is to be sealed (\"-\" is standard input) and "
                         "where it goes");
    }
    TRY(tpm_access_open(arguments, &device, err));
    return seal(arguments, device, err);
}

static int run_step(const struct arguments *arguments, struct error *err)
{
    _cleanup_(tpm_access_close_cleanup) struct tpm_device *device = NULL;
    uint64_t value = 0;
    TRY(tpm_access_open(arguments, &device, err));
    TRY(counter_step(device, counter_of(arguments), &value, err));
    if (arguments->output == OUTPUT_JSON) {
        output_json(json_pack("{s:I, s:I}", "counter", (json_int_t)counter_of(arguments), "value",
                              (json_int_t)value),
                    false);
    } else {
        (void)printf("counter 0x%08x is at %" PRIu64 "; files that were sealed before are void\n",
                     counter_of(arguments), value);
    }
    return 0;
}

static int write_secret(const struct secret *secret, struct error *err)
{
    size_t written = 0;
    while (written < secret->size) {
        ssize_t count = write(STDOUT_FILENO, secret->data + written, secret->size - written);
        if (count < 0 && errno != EINTR) {
            return error_set_errno(err, errno, "writing the secret to standard output");
        }
        written += count > 0 ? (size_t)count : 0;
    }
    return 0;
}

static int run_unseal(const struct arguments *arguments, struct error *err)
{
    _cleanup_(tpm_access_close_cleanup) struct tpm_device *device = NULL;
    _cleanup_(buffer_clear) struct buffer file = {0};
    _cleanup_(secret_clear) struct secret secret = {0};
    if (!arguments->operand) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "a sealed file is needed");
    }
    if (isatty(STDOUT_FILENO)) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "standard output is a terminal, whose scrollback would keep the secret; "
                         "lead it to the program that needs it");
    }
    TRY(tpm_access_open(arguments, &device, err));
    TRY(buffer_read_file(arguments->operand, SEAL_FILE_MAX_BYTES, &file, err));
    TRY(seal_open(device, buffer_bytes(&file), &secret, err));
    return write_secret(&secret, err);
}

static const struct command_option seal_options[] = {
    {"pcrs", "PCRS", "registers that must stay as they are, such as sha256:0,7", option_set_text,
     offsetof(struct arguments, pcrs), true},
    TPM_ACCESS_TCTI_OPTION,
    {"authority", "FILE", "P-256 public key (PEM) of who may approve other values", option_set_text,
     offsetof(struct arguments, authority), false},
    {"counter", NULL, "void once the counter has gone on", option_set_flag,
     offsetof(struct arguments, has_counter), false},
    {"counter-index", "INDEX", "the counter's NV index (0x01805348); means --counter", set_index,
     offsetof(struct arguments, counter_index), false},
    {"for-next-step", NULL, "in force after signet seal step; means --counter", option_set_flag,
     offsetof(struct arguments, is_for_next_step), false},
};

const struct command command_seal = {
    .name = "seal",
    .operand = "IN",
    .second_operand = "OUT",
    .summary = "seal a PIN or key to this host's TPM and state",
    .about =
        "What is in IN (at most 128 bytes; one newline at the end is dropped; \"-\" is standard\n"
        "input) can be had back from OUT by this TPM alone, and only while the registers have\n"
        "the values of now. OUT is not secret. In signetd.conf: pin = \"tpm-sealed:OUT\".\n"
        "No agent is needed, but access to the TPM is.",
    .example = "signet seal --pcrs sha256:0,7 - /etc/signet/hsm.sealed",
    .options = seal_options,
    .option_count = ARRAY_SIZE(seal_options),
    .run = run_seal,
};

static const struct command_option step_options[] = {
    TPM_ACCESS_TCTI_OPTION,
    {"counter-index", "INDEX", "the counter's NV index (0x01805348)", set_index,
     offsetof(struct arguments, counter_index), false},
};

const struct command command_seal_step = {
    .name = "seal step",
    .summary = "void all files that were sealed to a counter before",
    .about = "Files that were sealed with --for-next-step come into force. There is no way back.",
    .example = "signet seal step",
    .options = step_options,
    .option_count = ARRAY_SIZE(step_options),
    .run = run_step,
};

static const struct command_option unseal_options[] = {TPM_ACCESS_TCTI_OPTION};

const struct command command_unseal = {
    .name = "unseal",
    .operand = "FILE",
    .summary = "write what was sealed to standard output",
    .about = "As it was sealed, without a newline at the end; never to a terminal.\n"
             "Exit status 3: the host's state, the counter or the TPM is another one.",
    .example = "signet unseal /etc/signet/hsm.sealed | wc -c",
    .options = unseal_options,
    .option_count = ARRAY_SIZE(unseal_options),
    .run = run_unseal,
};
