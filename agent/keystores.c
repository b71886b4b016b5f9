#include "agent/keystores.h"

#include <stdatomic.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "pkcs11/driver.h"
#include "pkcs11/memory/memory.h"
#include "pkcs11/module/module.h"
#include "pkcs11/tpm/tpm.h"

static const char memory_name[] = "memory";

struct slot {
    struct keystores *keystores;
    struct keystore *keystore;
    union {
        struct tpm_config tpm;
        struct module_config module;
    } driver_config;
    char *tpm_pin_path;
    /* News from the keystore's worker for the loop; several at once are one. */
    struct mailbox_message news;
    atomic_bool is_news_on_its_way;
};

struct keystores {
    struct manager_keystore *items;
    size_t count;
    struct slot *slots;
    size_t slot_count;
    struct mailbox *mailbox;
    uv_poll_t poll;
    void (*changed)(void *user, struct keystore *keystore);
    void *user;
};

static void news_delivered(struct mailbox_message *message)
{
    struct slot *slot = container_of(message, struct slot, news);
    atomic_store(&slot->is_news_on_its_way, false);
    slot->keystores->changed(slot->keystores->user, slot->keystore);
}

/* On a worker, perhaps before keystore_new has returned to whom it made the slot for. */
static void keystore_has_news(struct keystore *keystore, void *user)
{
    struct slot *slot = user;
    (void)keystore;
    if (!atomic_exchange(&slot->is_news_on_its_way, true)) {
        mailbox_post(slot->keystores->mailbox, &slot->news);
    }
}

static void mail_came(uv_poll_t *poll, int status, int events)
{
    struct keystores *keystores = poll->data;
    (void)status;
    (void)events;
    mailbox_deliver(keystores->mailbox);
}

static void configure_tpm(struct slot *slot, const struct config *config,
                          const struct config_keystore *wanted)
{
    _cleanup_(free_cleanup) char *name = text_format("%s.tpm-primary", wanted->name);
    slot->tpm_pin_path = file_join(config->data_dir, name);
    slot->driver_config.tpm =
        (struct tpm_config){.tcti = config->tcti, .pin_path = slot->tpm_pin_path};
}

static void configure_module(struct slot *slot, const struct config *config,
                             const struct config_keystore *wanted)
{
    bool is_sealed = wanted->pin.kind == PIN_TPM_SEALED;
    slot->driver_config.module = (struct module_config){
        .module = wanted->module,
        .token = wanted->token,
        .pin_path = wanted->pin.path,
        .read_pin = is_sealed ? pin_read_sealed : NULL,
        .pin_user = config->tcti,
        .workers = wanted->workers,
        .is_isolated = wanted->is_isolated,
    };
}

static const struct {
    const struct keystore_driver *driver;
    void (*configure)(struct slot *slot, const struct config *config,
                      const struct config_keystore *wanted);
} types[] = {
    [CONFIG_KEYSTORE_TPM] = {&keystore_driver_tpm, configure_tpm},
    [CONFIG_KEYSTORE_PKCS11] = {&keystore_driver_module, configure_module},
};

static int open_keystore(struct keystores *keystores, const char *name,
                         const struct keystore_driver *driver, struct slot *slot, struct error *err)
{
    const struct keystore_config config = {
        .name = name, .driver = driver, .driver_config = &slot->driver_config};
    uint64_t begin_ms = clock_monotonic_ms();
    if (keystore_new(&config, &slot->keystore, err) < 0) {
        return error_prepend(err, "opening the keystore \"%s\"", name);
    }
    slot->keystores = keystores;
    slot->news.deliver = news_delivered;
    keystore_on_change(slot->keystore, keystore_has_news, slot);
    keystores->items[keystores->count++] =
        (struct manager_keystore){.name = name, .keystore = slot->keystore};
    log_info("keystore ready name=%s type=%s took_ms=%llu", name, driver->name,
             (unsigned long long)(clock_monotonic_ms() - begin_ms));
    return 0;
}

static int open_all(struct keystores *keystores, const struct config *config, struct error *err)
{
    for (size_t i = 0; i < config->keystore_count; i++) {
        const struct config_keystore *wanted = &config->keystores[i];
        types[wanted->type].configure(&keystores->slots[i], config, wanted);
        TRY(open_keystore(keystores, wanted->name, types[wanted->type].driver, &keystores->slots[i],
                          err));
    }
    return open_keystore(keystores, memory_name, &keystore_driver_memory,
                         &keystores->slots[config->keystore_count], err);
}

int keystores_new(uv_loop_t *loop, const struct config *config,
                  void (*changed)(void *user, struct keystore *keystore), void *user,
                  struct keystores **ret_keystores, struct error *err)
{
    size_t count = config->keystore_count + 1;
    struct mailbox *mailbox = NULL;
    TRY(mailbox_new(&mailbox, err));
    struct keystores *keystores = NEW(struct keystores);
    *keystores = (struct keystores){.mailbox = mailbox, .changed = changed, .user = user};
    keystores->items = memory_new_array(count, sizeof(*keystores->items));
    keystores->slots = memory_new_array(count, sizeof(*keystores->slots));
    keystores->slot_count = count;
    if (open_all(keystores, config, err) < 0) {
        keystores_free(keystores);
        return -1;
    }
    (void)uv_poll_init(loop, &keystores->poll, mailbox_descriptor(mailbox));
    keystores->poll.data = keystores;
    (void)uv_poll_start(&keystores->poll, UV_READABLE, mail_came);
    *ret_keystores = keystores;
    return 0;
}

void keystores_quiet(struct keystores *keystores)
{
    uv_close((uv_handle_t *)&keystores->poll, NULL);
}

void keystores_free(struct keystores *keystores)
{
    for (size_t i = 0; i < keystores->count; i++) {
        keystore_free(keystores->items[i].keystore);
    }
    for (size_t i = 0; i < keystores->slot_count; i++) {
        free(keystores->slots[i].tpm_pin_path);
    }
    mailbox_free(keystores->mailbox);
    free(keystores->items);
    free(keystores->slots);
    free(keystores);
}

const struct manager_keystore *keystores_items(const struct keystores *keystores, size_t *ret_count)
{
    *ret_count = keystores->count;
    return keystores->items;
}

struct keystore *keystores_find(const struct keystores *keystores, const char *name)
{
    for (size_t i = 0; i < keystores->count; i++) {
        if (strcmp(keystores->items[i].name, name) == 0) {
            return keystores->items[i].keystore;
        }
    }
    return NULL;
}
