/* Event logs and lists of measured files made for a test, with what they extend. */
#pragma once

#include <string.h>

#include "attest/event_log.h"
#include "attest/ima.h"

struct software_boot {
    struct pcr_set pcrs; /* sha1 and sha256, all registers */
    struct buffer event_log, ima_list;
};

static const TPM2_ALG_ID software_banks[] = {TPM2_ALG_SHA1, TPM2_ALG_SHA256};

static inline void software_u16(struct buffer *to, uint16_t value)
{
    buffer_append_u8(to, (uint8_t)value);
    buffer_append_u8(to, (uint8_t)(value >> 8));
}

static inline void software_u32(struct buffer *to, uint32_t value)
{
    software_u16(to, (uint16_t)value);
    software_u16(to, (uint16_t)(value >> 16));
}

static inline void software_digest(TPM2_ALG_ID bank, struct bytes data,
                                   uint8_t ret_digest[HASH_MAX_BYTES])
{
    (void)hash_compute(hash_by_id(bank), &data, 1, ret_digest, NULL);
}

static inline void software_extend(struct pcr_set *pcrs, TPM2_ALG_ID bank, unsigned index,
                                   const uint8_t *digest)
{
    size_t size = hash_by_id(bank)->size;
    uint8_t next[HASH_MAX_BYTES];
    const struct bytes parts[] = {{pcr_set_value(pcrs, bank, index), size}, {digest, size}};
    (void)hash_compute(hash_by_id(bank), parts, 2, next, NULL);
    (void)pcr_set_put(pcrs, bank, index, (struct bytes){next, size}, NULL);
}

/* measured: what the digest is of; data: what the log says. */
static inline void software_event(struct software_boot *boot, uint32_t pcr, uint32_t type,
                                  struct bytes measured, struct bytes data)
{
    struct buffer *log = &boot->event_log;
    software_u32(log, pcr);
    software_u32(log, type);
    software_u32(log, ARRAY_SIZE(software_banks));
    for (size_t i = 0; i < ARRAY_SIZE(software_banks); i++) {
        uint8_t digest[HASH_MAX_BYTES];
        software_digest(software_banks[i], measured, digest);
        software_u16(log, software_banks[i]);
        buffer_append(log, digest, hash_by_id(software_banks[i])->size);
        software_extend(&boot->pcrs, software_banks[i], pcr, digest);
    }
    software_u32(log, (uint32_t)data.size);
    buffer_append(log, data.data, data.size);
}

static inline void software_log_header(struct buffer *log)
{
    static const uint8_t zeros[20];
    struct buffer data = {0};
    buffer_append(&data, "Spec ID Event03", 16);
    software_u32(&data, 0);
    buffer_append(&data, "\0\2\0\2", 4);
    software_u32(&data, ARRAY_SIZE(software_banks));
    for (size_t i = 0; i < ARRAY_SIZE(software_banks); i++) {
        software_u16(&data, software_banks[i]);
        software_u16(&data, (uint16_t)hash_by_id(software_banks[i])->size);
    }
    buffer_append_u8(&data, 0);
    software_u32(log, 0);
    software_u32(log, 3);
    buffer_append(log, zeros, sizeof(zeros));
    software_u32(log, (uint32_t)data.size);
    buffer_append(log, data.data, data.size);
    buffer_clear(&data);
}

/* UEFI_VARIABLE_DATA of the global variable "SecureBoot". */
static inline void software_secure_boot(struct software_boot *boot, bool is_on)
{
    static const uint8_t global[16] = {0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11,
                                       0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c};
    static const char name[] = "SecureBoot";
    struct buffer data = {0};
    buffer_append(&data, global, sizeof(global));
    software_u32(&data, (uint32_t)strlen(name));
    software_u32(&data, 0);
    software_u32(&data, 1);
    software_u32(&data, 0);
    for (const char *letter = name; *letter; letter++) {
        software_u16(&data, (uint16_t)*letter);
    }
    buffer_append_u8(&data, is_on);
    software_event(boot, 7, 0x80000001, buffer_bytes(&data), buffer_bytes(&data));
    buffer_clear(&data);
}

static inline void software_measured_file(struct software_boot *boot, const char *path)
{
    uint8_t digest[HASH_MAX_BYTES];
    struct buffer data = {0};
    software_digest(TPM2_ALG_SHA256, bytes_of_text(path), digest);
    software_u32(&data, 8 + 32);
    buffer_append(&data, "sha256:", 8);
    buffer_append(&data, digest, 32);
    software_u32(&data, (uint32_t)strlen(path) + 1);
    buffer_append(&data, path, strlen(path) + 1);
    software_u32(&boot->ima_list, 10);
    software_digest(TPM2_ALG_SHA1, buffer_bytes(&data), digest);
    buffer_append(&boot->ima_list, digest, 20);
    software_u32(&boot->ima_list, 6);
    buffer_append(&boot->ima_list, "ima-ng", 6);
    software_u32(&boot->ima_list, (uint32_t)data.size);
    buffer_append(&boot->ima_list, data.data, data.size);
    for (size_t i = 0; i < ARRAY_SIZE(software_banks); i++) {
        software_digest(software_banks[i], buffer_bytes(&data), digest);
        software_extend(&boot->pcrs, software_banks[i], 10, digest);
    }
    buffer_clear(&data);
}

static inline void software_boot_new(struct software_boot *boot, bool is_secure)
{
    static const uint8_t zeros[HASH_MAX_BYTES];
    static const char loader[] = "the boot loader";
    *boot = (struct software_boot){0};
    for (size_t i = 0; i < ARRAY_SIZE(software_banks); i++) {
        for (unsigned index = 0; index < PCR_COUNT; index++) {
            (void)pcr_set_put(&boot->pcrs, software_banks[i], index,
                              (struct bytes){zeros, hash_by_id(software_banks[i])->size}, NULL);
        }
    }
    software_log_header(&boot->event_log);
    software_event(boot, 0, 0x00000008, (struct bytes){zeros, 4}, (struct bytes){zeros, 4});
    software_secure_boot(boot, is_secure);
    for (uint32_t pcr = 0; pcr < 8; pcr++) {
        software_event(boot, pcr, 0x00000004, (struct bytes){zeros, 4}, (struct bytes){zeros, 4});
    }
    software_event(boot, 4, 0x80000003, bytes_of_text(loader), (struct bytes){0});
    software_measured_file(boot, "/usr/lib/systemd/systemd");
    software_measured_file(boot, "/usr/bin/bash");
}

static inline void software_boot_clear(struct software_boot *boot)
{
    buffer_clear(&boot->event_log);
    buffer_clear(&boot->ima_list);
}
