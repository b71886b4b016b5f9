#include "attest/facts.h"

#include "tests/unit/cmocka_all.h"

#include "tests/unit/attest/event_log_files.h"
#include "tests/unit/attest/software_log.h"

/* Boots made up, most of them by somebody who lies. */
enum kind {
    END,
    EVENT,     /* measured: text, or "0000" and so on in hexadecimal after '#'; NULL: the data */
    STATE,     /* SecureBoot; data: "0", "1", "" */
    DATABASE,  /* name; data in an EFI_SIGNATURE_LIST */
    AUTHORITY, /* name of a variable; data as it is */
    FORGED,    /* as AUTHORITY, but something else was measured */
    FIRMWARE,  /* separators 0 to 7 */
    WIDE,      /* UTF-16 of the data with a NUL */
};
struct step {
    enum kind kind;
    uint32_t pcr, type;
    const char *measured, *data;
};
enum { STEPS_MAX = 14, FACTS_IN_CASE_MAX = 5 };

#define VARIABLE 0x80000001
enum { IPL = 13 };
#define BOOTED                                                                                     \
    {                                                                                              \
        FIRMWARE, 0, 0, NULL, NULL                                                                 \
    }
#define ON                                                                                         \
    {                                                                                              \
        STATE, 7, 0, NULL, "1"                                                                     \
    }
#define OFF                                                                                        \
    {                                                                                              \
        STATE, 7, 0, NULL, "0"                                                                     \
    }
#define APP(text)                                                                                  \
    {                                                                                              \
        EVENT, 4, 0x80000003, text, "path"                                                         \
    }
#define GRUB(label, text)                                                                          \
    {                                                                                              \
        EVENT, 8, IPL, text, label text "\0"                                                       \
    }
#define COMMAND(text) GRUB("grub_cmd: ", text)
#define LINE(text) GRUB("kernel_cmdline: ", text)
#define LINUX COMMAND("linux /vmlinuz ro"), LINE("/vmlinuz ro")

static const struct {
    const char *title;
    struct step steps[STEPS_MAX];
    const char *hold[FACTS_IN_CASE_MAX]; /* "@text": the digest of text */
    const char *lack[FACTS_IN_CASE_MAX];
} boots[] = {
    {"an honest one",
     {{EVENT, 0, 8, NULL, "V1"},
      ON,
      {DATABASE, 7, VARIABLE, "db", "keys"},
      BOOTED,
      {AUTHORITY, 7, 0, "db", "CA"},
      APP("shim"),
      APP("grub"),
      LINUX},
     {"secure_boot=on", "boot_application=@shim", "boot_application.2=@grub",
      "kernel_command_line=/vmlinuz ro", "separators=complete"},
     {"secure_boot.PK", "boot_application.3"}},
    {"version", {{EVENT, 0, 8, NULL, "V1"}, BOOTED}, {"firmware_version=V1"}, {NULL}},

    {"secure boot said after the boot", {BOOTED, ON}, {NULL}, {"secure_boot"}},
    {"secure boot said again after the boot", {OFF, BOOTED, ON}, {"secure_boot=off"}, {NULL}},
    {"secure boot on and off", {ON, OFF, BOOTED}, {NULL}, {"secure_boot"}},
    {"secure boot absent and on", {ON, {STATE, 7, 0, NULL, ""}, BOOTED}, {NULL}, {"secure_boot"}},
    {"secure boot absent", {{STATE, 7, 0, NULL, ""}, BOOTED}, {"secure_boot=off"}, {NULL}},
    {"secure boot 2", {{STATE, 7, 0, NULL, "2"}, BOOTED}, {NULL}, {"secure_boot"}},
    {"secure boot in another register",
     {{STATE, 6, 0, NULL, "1"}, {STATE, 1, 0, NULL, "1"}, BOOTED},
     {NULL},
     {"secure_boot"}},
    {"secure boot in data that the digest is not of",
     {{EVENT, 7, VARIABLE, "x", "SecureBoot"}, BOOTED},
     {NULL},
     {"secure_boot"}},
    {"secure boot in an event that is only told",
     {{STATE, 7, EVENT_TYPE_NO_ACTION, NULL, "1"}, BOOTED},
     {NULL},
     {"secure_boot"}},
    {"secure boot of another type",
     {{STATE, 7, IPL, NULL, "1"}, BOOTED},
     {"secure_boot=on"},
     {NULL}},
    {"no separator",
     {ON, {DATABASE, 7, VARIABLE, "db", "x"}, APP("shim")},
     {"separators=missing"},
     {"secure_boot", "secure_boot.db", "boot_application", "firmware_version"}},
    {"firmware that failed",
     {ON, {EVENT, 7, 4, "#01000000", ""}},
     {"separators=missing"},
     {"secure_boot"}},
    {"a separator after the failure",
     {ON, {EVENT, 7, 4, "#01000000", ""}, APP("shim"), BOOTED},
     {NULL},
     {"secure_boot", "separators=complete"}},
    {"secure boot said after the failure",
     {{EVENT, 7, 4, "#01000000", ""}, ON, BOOTED},
     {NULL},
     {"secure_boot"}},
    {"the other good separator", {ON, {EVENT, 7, 4, "#ffffffff", ""}}, {"secure_boot=on"}, {NULL}},

    {"databases",
     {{DATABASE, 7, VARIABLE, "PK", "a"},
      {DATABASE, 7, VARIABLE, "KEK", "b"},
      {DATABASE, 7, VARIABLE, "db", "c"},
      {DATABASE, 7, VARIABLE, "dbx", ""},
      BOOTED},
     {"secure_boot.PK", "secure_boot.KEK", "secure_boot.db", "secure_boot.dbx"},
     {"secure_boot", "secure_boot.authority"}},
    {"a database after the boot",
     {BOOTED, {DATABASE, 7, VARIABLE, "db", "c"}},
     {NULL},
     {"secure_boot.db"}},
    {"a database of the wrong owner",
     {{DATABASE, 7, VARIABLE, "DB", "c"}, BOOTED},
     {NULL},
     {"secure_boot.db"}},
    {"a database twice, different",
     {{DATABASE, 7, VARIABLE, "db", "c"}, {DATABASE, 7, VARIABLE, "db", "d"}, BOOTED},
     {NULL},
     {"secure_boot.db"}},
    {"a database twice, the same",
     {{DATABASE, 7, VARIABLE, "db", "c"}, {DATABASE, 7, VARIABLE, "db", "c"}, BOOTED},
     {"secure_boot.db"},
     {NULL}},
    {"an authority before the separator is no database",
     {{DATABASE, 7, VARIABLE, "db", "c"}, {AUTHORITY, 7, 0, "db", "CA"}, BOOTED},
     {"secure_boot.db"},
     {NULL}},
    {"a second one that is hidden",
     {{DATABASE, 7, VARIABLE, "db", "c"}, {EVENT, 7, VARIABLE, "db d", "?"}, ON, BOOTED},
     {"secure_boot=on"},
     {"secure_boot.db"}},

    {"an authority",
     {ON, BOOTED, {AUTHORITY, 7, 0, "db", "CA"}},
     {"secure_boot.authority=@CA"},
     {NULL}},
    {"an authority with secure boot off",
     {OFF, BOOTED, {AUTHORITY, 7, 0, "db", "CA"}},
     {NULL},
     {"secure_boot.authority"}},
    {"an authority added to the first",
     {ON, BOOTED, {AUTHORITY, 7, 0, "db", "CA"}, {AUTHORITY, 7, 0, "db", "X"}},
     {"secure_boot.authority=@CA"},
     {"secure_boot.authority=@X"}},
    {"an authority of another variable",
     {ON, BOOTED, {AUTHORITY, 7, 0, "Shim", "CA"}},
     {NULL},
     {"secure_boot.authority"}},
    {"an authority that the digest is not of",
     {ON, BOOTED, {FORGED, 7, 0, "db", "CA"}},
     {NULL},
     {"secure_boot.authority"}},
    {"an authority behind something else",
     {ON, BOOTED, {EVENT, 7, 0, "?", ""}, {AUTHORITY, 7, 0, "db", "CA"}},
     {NULL},
     {"secure_boot.authority"}},

    {"an application added behind",
     {BOOTED, APP("evil"), APP("shim")},
     {"boot_application=@evil", "boot_application.2=@shim"},
     {"boot_application=@shim"}},
    {"an application called a remark, with its own bytes as data",
     {BOOTED, {EVENT, 4, 0x80000007, NULL, "evil"}, APP("shim")},
     {"boot_application=@evil"},
     {NULL}},
    {"remarks between applications",
     {{EVENT, 4, 0x80000007, NULL, "Calling EFI Application from Boot Option"},
      BOOTED,
      APP("a"),
      {EVENT, 4, 0x80000007, NULL, "Returning from EFI Application from Boot Option"},
      {EVENT, 4, 0x80000007, NULL, "Calling EFI Application from Boot Option"},
      APP("b")},
     {"boot_application=@a", "boot_application.2=@b"},
     {"boot_application.3"}},
    {"the firmware's own applications",
     {APP("setup"), BOOTED, APP("shim")},
     {"boot_application=@shim"},
     {"boot_application.2"}},
    {"an application in another register",
     {BOOTED, {EVENT, 5, 0x80000003, "shim", ""}},
     {NULL},
     {"boot_application"}},

    {"a version that is not covered",
     {{EVENT, 0, 8, "V1", "V2"}, BOOTED},
     {NULL},
     {"firmware_version"}},
    {"a version further down",
     {{EVENT, 0, 1, NULL, "ACPI"}, {EVENT, 0, 8, NULL, "V2"}, BOOTED},
     {NULL},
     {"firmware_version"}},
    {"a version after the boot", {BOOTED, {EVENT, 0, 8, NULL, "V2"}}, {NULL}, {"firmware_version"}},
    {"a version in UTF-16",
     {{WIDE, 0, 8, NULL, "V\xc3 3"}, BOOTED},
     {"firmware_version=V\\xc3\\x83 3"},
     {NULL}},
    {"a GUID",
     {{EVENT, 0, 8, NULL, "0123456789abcdef"}, BOOTED},
     {"firmware_version=33323130-3534-3736-3839-616263646566"},
     {NULL}},
    {"an empty version", {{WIDE, 0, 8, NULL, ""}, BOOTED}, {NULL}, {"firmware_version"}},

    {"labels do not matter",
     {COMMAND("set a=b"), GRUB("kernel_cmdline: ", "linux /v ro"), GRUB("grub_cmd: ", "/v ro")},
     {"kernel_command_line=/v ro"},
     {NULL}},
    {"Red Hat's labels",
     {GRUB("grub_cmd ", "linux /v ro"), GRUB("grub_kernel_cmdline ", "/v ro")},
     {"kernel_command_line=/v ro"},
     {NULL}},
    {"a kernel's line without the command", {LINE("/vmlinuz ro")}, {NULL}, {"kernel_command_line"}},
    {"a command that looks like the line",
     {COMMAND("/vmlinuz good"), LINUX},
     {NULL},
     {"kernel_command_line"}},
    {"another line added after the boot",
     {LINUX, LINE("/vmlinuz good")},
     {NULL},
     {"kernel_command_line"}},
    {"another command and line added", {LINUX, LINUX}, {NULL}, {"kernel_command_line"}},
    {"a second kernel whose file has the name of a command",
     {LINUX, COMMAND("linux echo evil"), LINE("echo evil")},
     {NULL},
     {"kernel_command_line"}},
    {"something that is no assignment",
     {LINUX, COMMAND("=x evil")},
     {NULL},
     {"kernel_command_line"}},
    {"assignments", {COMMAND("default_1=2"), LINUX}, {"kernel_command_line=/vmlinuz ro"}, {NULL}},
    {"the true line hidden",
     {COMMAND("linux /v good"),
      LINE("/v good"),
      {EVENT, 8, IPL, "linux /v evil", "grub_cmd: echo"},
      {EVENT, 8, IPL, "/v evil", "grub_cmd: echo"}},
     {NULL},
     {"kernel_command_line"}},
    {"a line that failed to load, and another program",
     {COMMAND("linux /v good"), LINE("/v good"), COMMAND("chainloader /evil.efi")},
     {NULL},
     {"kernel_command_line"}},
    {"a command run by another",
     {LINUX, COMMAND("time linux /vmlinuz evil")},
     {NULL},
     {"kernel_command_line"}},
    {"a command run the other way round",
     {LINUX, COMMAND("! linux /vmlinuz evil")},
     {NULL},
     {"kernel_command_line"}},
    {"GRUB's measuring switched off",
     {COMMAND("rmmod tpm"), LINUX},
     {NULL},
     {"kernel_command_line"}},
    {"leaving GRUB", {LINUX, COMMAND("exit")}, {NULL}, {"kernel_command_line"}},
    {"a path with an assignment in it",
     {LINUX, COMMAND("/x=y evil")},
     {NULL},
     {"kernel_command_line"}},
    {"the line of another kernel",
     {COMMAND("linux /a ro"), LINE("/b ro")},
     {NULL},
     {"kernel_command_line"}},
    {"a command that nobody knows",
     {{EVENT, 8, IPL, "x", "grub_cmd: x"}, LINUX},
     {NULL},
     {"kernel_command_line"}},
    {"both registers used",
     {LINUX, {WIDE, 12, IPL, NULL, "good"}},
     {NULL},
     {"kernel_command_line"}},
    {"what cannot be printed",
     {COMMAND("linux /v a\\b\xff\n"), LINE("/v a\\b\xff\n")},
     {"kernel_command_line=/v a\\x5cb\\xff\\x0a"},
     {NULL}},

    {"systemd's line",
     {{WIDE, 12, IPL, NULL, "quiet"}, {WIDE, 12, IPL, NULL, "quiet"}},
     {"kernel_command_line=quiet"},
     {NULL}},
    {"older systemd's line",
     {{WIDE, 8, IPL, NULL, "quiet"}},
     {"kernel_command_line=quiet"},
     {NULL}},
    {"two lines",
     {{WIDE, 12, IPL, NULL, "evil"}, {WIDE, 12, IPL, NULL, "quiet"}},
     {NULL},
     {"kernel_command_line"}},
    {"systemd's line hidden",
     {{EVENT, 12, IPL, "evil", "credentials"}, {WIDE, 12, IPL, NULL, "good"}},
     {NULL},
     {"kernel_command_line"}},
    {"systemd's line not covered", {{EVENT, 12, IPL, "x", "q"}}, {NULL}, {"kernel_command_line"}},
};

static void append_wide(struct buffer *to, const char *text, bool has_nul)
{
    for (const char *letter = text; *letter; letter++) {
        software_u16(to, (uint8_t)*letter);
    }
    if (has_nul) {
        software_u16(to, 0);
    }
}

/* "DB" is the name "db" of the wrong owner. */
static void append_variable(struct buffer *to, const char *name, struct bytes data)
{
    static const uint8_t global[16] = {0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11,
                                       0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c};
    static const uint8_t database[16] = {0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45,
                                         0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f};
    buffer_append(to, name[0] == 'd' ? database : global, 16);
    software_u32(to, (uint32_t)strlen(name));
    software_u32(to, 0);
    software_u32(to, (uint32_t)data.size);
    software_u32(to, 0);
    append_wide(to, strcmp(name, "DB") == 0 ? "db" : name, false);
    buffer_append(to, data.data, data.size);
}

static void append_signature_list(struct buffer *to, const char *text)
{
    static const uint8_t type[16] = {1, 2, 3};
    if (text[0]) {
        buffer_append(to, type, sizeof(type));
        software_u32(to, (uint32_t)(28 + strlen(text)));
        software_u32(to, 0);
        software_u32(to, (uint32_t)strlen(text));
        buffer_append_text(to, text);
    }
}

static void append_measured(struct buffer *to, const char *text)
{
    if (text[0] == '#') {
        append_hex(to, text + 1);
    } else {
        buffer_append_text(to, text);
    }
}

static void append_state(struct buffer *to, const char *text)
{
    const uint8_t value = (uint8_t)(text[0] - '0');
    append_variable(to, "SecureBoot", (struct bytes){&value, text[0] != 0});
}

static void take_step(struct software_boot *boot, const struct step *step)
{
    static const uint8_t zeros[4];
    _cleanup_(buffer_clear) struct buffer data = {0}, measured = {0}, inner = {0};
    const char *text = step->data ? step->data : "";
    switch (step->kind) {
    case FIRMWARE:
        for (uint32_t pcr = 0; pcr < 8; pcr++) {
            software_event(boot, pcr, 4, (struct bytes){zeros, 4}, (struct bytes){zeros, 4});
        }
        return;
    case STATE:
        append_state(&data, text);
        break;
    case DATABASE:
        append_signature_list(&inner, text);
        append_variable(&data, step->measured, buffer_bytes(&inner));
        break;
    case FORGED:
        buffer_append_text(&measured, "?");
        /* fall through */
    case AUTHORITY:
        append_variable(&data, step->measured, bytes_of_text(text));
        break;
    case WIDE:
        append_wide(&data, text, true);
        break;
    default:
        buffer_append(&data, text, strlen(text));
        if (step->measured) {
            append_measured(&measured, step->measured);
        }
    }
    software_event(boot, step->pcr, step->type, buffer_bytes(measured.size ? &measured : &data),
                   buffer_bytes(&data));
}

static void boot_by_steps(struct software_boot *boot, const struct step *steps)
{
    static const uint8_t zeros[HASH_MAX_BYTES];
    *boot = (struct software_boot){0};
    for (size_t i = 0; i < ARRAY_SIZE(software_banks); i++) {
        for (unsigned index = 0; index < PCR_COUNT; index++) {
            (void)pcr_set_put(&boot->pcrs, software_banks[i], index,
                              (struct bytes){zeros, hash_by_id(software_banks[i])->size}, NULL);
        }
    }
    software_log_header(&boot->event_log);
    for (const struct step *step = steps; step->kind != END; step++) {
        take_step(boot, step);
    }
}

static bool holds(const struct facts *facts, const struct hash_algorithm *hash, const char *wanted)
{
    const char *at = strchr(wanted, '@');
    if (!at) {
        return facts_hold(facts, wanted);
    }
    /* An authority is told by SHA-256 whatever the bank. */
    const bool is_authority = strncmp(wanted, "secure_boot", 11) == 0;
    const struct hash_algorithm *by = is_authority ? hash_by_id(TPM2_ALG_SHA256) : hash;
    uint8_t digest[HASH_MAX_BYTES];
    software_digest(by->id, bytes_of_text(at + 1), digest);
    _cleanup_(free_cleanup) char *hex = text_hex((struct bytes){digest, by->size});
    _cleanup_(free_cleanup) char *whole =
        text_format("%.*s%s:%s", (int)(at - wanted), wanted, by->name, hex);
    return facts_hold(facts, whole);
}

static void believes_only_what_is_vouched_for(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * ARRAY_SIZE(boots); i++) {
        const size_t number = i / 2;
        const struct hash_algorithm *hash = hash_by_id(software_banks[i % 2]);
        struct software_boot boot;
        struct event_log log;
        struct facts facts;
        struct error err;
        boot_by_steps(&boot, boots[number].steps);
        if (event_log_parse(buffer_bytes(&boot.event_log), &log, &err) < 0) {
            fail_msg("%s: %s", boots[number].title, err.text);
        }
        facts_draw(&log, hash->id, 0xffffff, &facts);
        for (size_t fact = 0; fact < FACTS_IN_CASE_MAX; fact++) {
            const char *hold = boots[number].hold[fact], *lack = boots[number].lack[fact];
            if (hold && !holds(&facts, hash, hold)) {
                fail_msg("%s: %s does not hold", boots[number].title, hold);
            }
            if (lack && holds(&facts, hash, lack)) {
                fail_msg("%s: %s holds", boots[number].title, lack);
            }
        }
        facts_clear(&facts);
        event_log_clear(&log);
        software_boot_clear(&boot);
    }
}

/* A value is whole or not there: cut off, it would be another one. */
static void leaves_out_what_is_too_long(void **state)
{
    (void)state;
    for (size_t extra = 0; extra < 2; extra++) {
        char text[FACT_VALUE_MAX_BYTES + 8 + 8] = "linux /";
        memset(text + 7, 'x', FACT_VALUE_MAX_BYTES + extra - 1);
        _cleanup_(free_cleanup) char *command = text_format("grub_cmd: %s", text);
        _cleanup_(free_cleanup) char *line = text_format("grub_cmd: %s", text + 6);
        const struct step steps[] = {{EVENT, 8, IPL, text, command},
                                     {EVENT, 8, IPL, text + 6, line},
                                     {END, 0, 0, NULL, NULL}};
        struct software_boot boot;
        struct event_log log;
        struct facts facts;
        boot_by_steps(&boot, steps);
        assert_int_equal(event_log_parse(buffer_bytes(&boot.event_log), &log, NULL), 0);
        facts_draw(&log, TPM2_ALG_SHA256, 0xffffff, &facts);
        assert_int_equal(facts_hold(&facts, "kernel_command_line"), extra == 0);
        facts_clear(&facts);
        event_log_clear(&log);
        software_boot_clear(&boot);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(believes_only_what_is_vouched_for),
        cmocka_unit_test(leaves_out_what_is_too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
