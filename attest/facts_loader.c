/* What boot loaders measured: the kernel's command line.
 *
 * These registers have no separator: what the loader left empty, root can fill after the boot. So
 * this fact is the word of a loader that is known to measure; a policy asks for it together with
 * boot_application, or with accepted values of PCR 4, and without secure boot also of PCR 9, for
 * then any root may give GRUB a module. Within that, what a loader's script (which any root may
 * write, also with secure boot on) could do to be shown otherwise than it acts is met here.
 *
 * There is no fact of the initrd: PCR 9 has digests of files in the order in which they were read,
 * their names are not covered, and neither the script nor root are kept from adding any. */
#include <string.h>

#include "attest/facts_boot.h"
#include "lib/base/memory.h"

enum { PCR_GRUB = 8, PCR_SYSTEMD = 12 };

/* How GRUB and Red Hat's GRUB name what they measured. The names are not covered by the digest,
 * which is that of the text after it, with or without a NUL. */
static const char *const grub_labels[] = {
    "grub_cmd: ", "kernel_cmdline: ", "module_cmdline: ", "grub_cmd ", "grub_kernel_cmdline ",
};

/* Commands that load no kernel, start no other program and leave the measuring on. With anything
 * else in the script the command line is not told: "chainloader", "exit", "rmmod tpm" or a command
 * that runs another one could boot something else than the one "linux" said. Functions of a script
 * may have any name: what is in them is measured too. */
static const char *const harmless_commands[] = {"[",
                                                "background_color",
                                                "background_image",
                                                "blscfg",
                                                "boot",
                                                "clear",
                                                "configfile",
                                                "cryptomount",
                                                "echo",
                                                "export",
                                                "false",
                                                "fwsetup",
                                                "gfxmode",
                                                "gptpriority",
                                                "hwmatch",
                                                "increment",
                                                "initrd",
                                                "initrdefi",
                                                "initrdfail",
                                                "insmod",
                                                "keystatus",
                                                "load_env",
                                                "load_video",
                                                "loadfont",
                                                "menuentry",
                                                "probe",
                                                "recordfail",
                                                "regexp",
                                                "save_env",
                                                "savedefault",
                                                "search",
                                                "search.file",
                                                "search.fs_label",
                                                "search.fs_uuid",
                                                "serial",
                                                "set",
                                                "setparams",
                                                "shift",
                                                "sleep",
                                                "smbios",
                                                "source",
                                                "submenu",
                                                "terminal_input",
                                                "terminal_output",
                                                "test",
                                                "true",
                                                "unset"};

static const char *const linux_commands[] = {"linux", "linuxefi", "linux16"};

static bool is_listed(const char *const *list, size_t count, struct bytes word)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes_is_equal(word, bytes_of_text(list[i]))) {
            return true;
        }
    }
    return false;
}

/* "default=0": a name, not a path of something that is called so. */
static bool is_assignment(struct bytes word)
{
    for (size_t i = 0; i < word.size; i++) {
        const uint8_t byte = word.data[i];
        if (byte == '=') {
            return i > 0;
        }
        if (byte != '_' && !(byte >= '0' && byte <= '9') && !(byte >= 'a' && byte <= 'z') &&
            !(byte >= 'A' && byte <= 'Z')) {
            return false;
        }
    }
    return false;
}

/* The text that the digest covers; false: none. */
static bool grub_text(const struct boot *boot, const struct measurement *item,
                      struct bytes *ret_text)
{
    static const uint8_t nul = 0;
    const struct bytes data = item->event->data;
    for (size_t i = 0; i < ARRAY_SIZE(grub_labels); i++) {
        const size_t label = strlen(grub_labels[i]);
        if (data.size <= label || memcmp(data.data, grub_labels[i], label) != 0) {
            continue;
        }
        struct bytes parts[] = {{data.data + label, data.size - label}, {&nul, 1}};
        if (parts[0].data[parts[0].size - 1] == 0) {
            parts[0].size--;
        }
        if (memchr(parts[0].data, 0, parts[0].size)) {
            return false;
        }
        *ret_text = parts[0];
        return boot_is_digest_of(boot, item->digest, parts, 1) ||
               boot_is_digest_of(boot, item->digest, parts, 2);
    }
    return false;
}

struct grub {
    bool has_linux;
    struct bytes file; /* of the one "linux" command */
    bool has_line;
    struct bytes line;
};

/* One text of PCR 8 after the other, whatever the log calls them. The text after the command
 * "linux" is the command line that it handed to the kernel: GRUB measures it there. Two of those,
 * and it is open which was booted. */
static bool add_grub_text(struct grub *grub, struct bytes text)
{
    struct reader reader = reader_of(text);
    const struct bytes word = reader_until(&reader, ' ');
    if (grub->has_linux && !grub->has_line) {
        grub->has_line = true;
        grub->line = text;
        return bytes_is_equal(word, grub->file);
    }
    if (is_listed(linux_commands, ARRAY_SIZE(linux_commands), word)) {
        const bool is_only = !grub->has_linux;
        grub->has_linux = true;
        grub->file = reader_until(&reader, ' ');
        return is_only;
    }
    return is_listed(harmless_commands, ARRAY_SIZE(harmless_commands), word) || is_assignment(word);
}

/* Vouched for by: every digest of PCR 8 is that of a text, so that none is hidden; exactly one of
 * them loads a kernel; its command line follows at once. */
static bool find_grub_line(const struct boot *boot, const struct register_log *log,
                           struct bytes *ret_line)
{
    struct grub grub = {0};
    for (size_t i = 0; i < log->count; i++) {
        struct bytes text;
        if (!grub_text(boot, &log->items[i], &text) || !add_grub_text(&grub, text)) {
            return false;
        }
    }
    *ret_line = grub.line;
    return grub.has_line;
}

/* Vouched for by: the digest is the hash of the data, UTF-16 with its NUL (older systemd-boot logs
 * all but the last byte), and nothing else is in that register. */
static char *find_systemd_line(const struct boot *boot, const struct register_log *log)
{
    static const uint8_t nul = 0;
    const struct measurement *first = &log->items[0];
    for (size_t i = 1; i < log->count; i++) {
        if (!bytes_is_equal(log->items[i].digest, first->digest)) {
            return NULL; /* the boot menu and the stub measure the same line once each */
        }
    }
    if (boot_is_covered(boot, first)) {
        return boot_printable_utf16(first->event->data);
    }
    const struct bytes parts[] = {first->event->data, {&nul, 1}};
    if (!boot_is_digest_of(boot, first->digest, parts, ARRAY_SIZE(parts))) {
        return NULL;
    }
    _cleanup_(buffer_clear) struct buffer whole = {0};
    buffer_append(&whole, parts[0].data, parts[0].size);
    buffer_append_u8(&whole, 0);
    return boot_printable_utf16(buffer_bytes(&whole));
}

/* Of the two registers where loaders measure the line one has to be empty, and known to be: else
 * root could add to the one that the loader does not use. */
void boot_draw_loader(struct boot *boot)
{
    const struct register_log *grub = boot_register(boot, PCR_GRUB);
    const struct register_log *systemd = boot_register(boot, PCR_SYSTEMD);
    struct bytes line;
    if (!grub || !systemd || (grub->count > 0) == (systemd->count > 0)) {
        return;
    }
    if (find_grub_line(boot, grub, &line)) {
        boot_add_fact(boot, "kernel_command_line", PCR_GRUB, boot_printable(line));
        return;
    }
    const struct register_log *used = grub->count > 0 ? grub : systemd;
    boot_add_fact(boot, "kernel_command_line", used == grub ? PCR_GRUB : PCR_SYSTEMD,
                  find_systemd_line(boot, used));
}
