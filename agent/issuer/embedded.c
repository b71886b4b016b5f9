#include "agent/issuer/embedded.h"

#include <inttypes.h>
#include <string.h>

#include "agent/issuer/ak_issuing.h"
#include "agent/issuer/authority_table.h"
#include "agent/issuer/embedded_new.h"
#include "agent/issuer/entry_book.h"
#include "agent/issuer/issuing.h"
#include "agent/issuer/upkeep.h"
#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum { SEEN_FLUSH_MS = 5000 };

struct embedded {
    struct issuer issuer;
    struct issuer_clock clock;
    char *trust_domain;
    struct keystore *keystore;
    struct mailbox *mailbox;
    struct store *store;
    struct succession *successions[AUTHORITY_KIND_COUNT];
    struct entry_book *book;
    struct issuing *issuing;
    struct ak_issuing aks;
    struct upkeep upkeep;
    uint64_t sequence; /* of the bundle */
    struct bundle *bundle;
    struct issuer_listener listener;
    bool is_started, is_stopping;
    uv_poll_t poll;
    uv_timer_t look_timer, flush_timer;
    unsigned open_handles;
    void (*stopped)(void *user);
    void *stopped_user;
};

static struct embedded *embedded_of(struct issuer *issuer)
{
    return container_of(issuer, struct embedded, issuer);
}

struct bundle_parts {
    struct bytes *certificates;
    struct bundle_jwt_key *jwt_keys;
    size_t certificate_count, jwt_key_count;
};

static void bundle_parts_clear(struct bundle_parts *parts)
{
    free(parts->certificates);
    free(parts->jwt_keys);
}

static int build_bundle(struct embedded *embedded, struct bundle **ret_bundle, struct error *err)
{
    size_t certificate_count, jwt_count;
    struct authority *const *cas =
        succession_authorities(embedded->successions[AUTHORITY_KIND_X509], &certificate_count);
    struct authority *const *jwts =
        succession_authorities(embedded->successions[AUTHORITY_KIND_JWT], &jwt_count);
    _cleanup_(bundle_parts_clear) struct bundle_parts parts = {
        .certificates = memory_new_array(certificate_count, sizeof(struct bytes)),
        .jwt_keys = memory_new_array(jwt_count, sizeof(struct bundle_jwt_key))};
    for (size_t i = 0; i < certificate_count; i++) {
        if (authority_is_published(cas[i])) {
            parts.certificates[parts.certificate_count++] = buffer_bytes(&cas[i]->certificate);
        }
    }
    for (size_t i = 0; i < jwt_count; i++) {
        if (authority_is_published(jwts[i])) {
            parts.jwt_keys[parts.jwt_key_count++] = (struct bundle_jwt_key){
                .kid = jwts[i]->kid,
                .public_key = jwts[i]->public,
                .expires_at_s = jwts[i]->expires_at_s,
            };
        }
    }
    return bundle_new(embedded->trust_domain, embedded->sequence, parts.certificates,
                      parts.certificate_count, parts.jwt_keys, parts.jwt_key_count, ret_bundle,
                      err);
}

static int renew_bundle(struct embedded *embedded, struct error *err)
{
    struct bundle *bundle = NULL;
    TRY(build_bundle(embedded, &bundle, err));
    bundle_unref(embedded->bundle);
    embedded->bundle = bundle;
    if (embedded->is_started) {
        embedded->listener.bundle_changed(embedded->listener.user, bundle);
    }
    return 0;
}

static void on_published(void *user)
{
    struct embedded *embedded = user;
    struct error failure;
    if (!embedded->issuing) {
        return; /* still opening: the sequence is read from the store after that */
    }
    embedded->sequence++;
    if (renew_bundle(embedded, &failure) < 0) {
        log_error("building the trust bundle: %s", failure.text);
    }
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct embedded *embedded = handle->data;
    if (--embedded->open_handles > 0) {
        return;
    }
    void (*stopped)(void *user) = embedded->stopped;
    void *user = embedded->stopped_user;
    for (size_t i = 0; i < AUTHORITY_KIND_COUNT; i++) {
        succession_free(embedded->successions[i]);
    }
    entry_book_free(embedded->book);
    issuing_free(embedded->issuing);
    store_close(embedded->store);
    mailbox_free(embedded->mailbox);
    bundle_unref(embedded->bundle);
    free(embedded->trust_domain);
    free(embedded);
    stopped(user);
}

bool issuer_embedded_is_busy(struct issuer *issuer)
{
    const struct embedded *embedded = embedded_of(issuer);
    bool is_busy = embedded->upkeep.is_in_hand || entry_book_is_busy(embedded->book) ||
                   issuing_in_hand(embedded->issuing) > 0 || embedded->aks.in_hand > 0;
    for (size_t i = 0; i < AUTHORITY_KIND_COUNT; i++) {
        is_busy |= succession_is_busy(embedded->successions[i]);
    }
    return is_busy;
}

static void stop_when_idle(struct embedded *embedded)
{
    if (!embedded->is_stopping || issuer_embedded_is_busy(&embedded->issuer) ||
        uv_is_closing((uv_handle_t *)&embedded->poll)) {
        return;
    }
    uv_close((uv_handle_t *)&embedded->poll, on_handle_closed);
    uv_close((uv_handle_t *)&embedded->look_timer, on_handle_closed);
    uv_close((uv_handle_t *)&embedded->flush_timer, on_handle_closed);
}

static void on_mail(uv_poll_t *poll, int status, int events)
{
    struct embedded *embedded = poll->data;
    (void)status;
    (void)events;
    mailbox_deliver(embedded->mailbox);
    stop_when_idle(embedded);
}

static void on_look(uv_timer_t *timer)
{
    struct embedded *embedded = timer->data;
    uint64_t wait_ms = UINT64_MAX;
    for (size_t i = 0; i < AUTHORITY_KIND_COUNT; i++) {
        uint64_t wanted_ms = succession_advance(embedded->successions[i]);
        wait_ms = MIN(wait_ms, wanted_ms);
    }
    upkeep_advance(&embedded->upkeep);
    (void)uv_timer_start(timer, on_look, wait_ms, 0);
}

void issuer_embedded_look(struct issuer *issuer)
{
    on_look(&embedded_of(issuer)->look_timer);
}

static void on_flush(uv_timer_t *timer)
{
    struct embedded *embedded = timer->data;
    entry_book_flush(embedded->book);
}

static int embedded_start(struct issuer *issuer, const struct issuer_listener *listener,
                          struct error *err)
{
    struct embedded *embedded = embedded_of(issuer);
    if (embedded->is_started) {
        return error_set(err, ERROR_INTERNAL, "the embedded issuer was started before");
    }
    embedded->listener = *listener;
    embedded->is_started = true;
    listener->bundle_changed(listener->user, embedded->bundle);
    entry_book_start(embedded->book, listener);
    (void)uv_timer_start(&embedded->look_timer, on_look, 0, 0);
    (void)uv_timer_start(&embedded->flush_timer, on_flush, SEEN_FLUSH_MS, SEEN_FLUSH_MS);
    return 0;
}

static void embedded_x509_issue(struct issuer *issuer, struct x509_request *request)
{
    issuing_x509(embedded_of(issuer)->issuing, request);
}

static void embedded_jwt_issue(struct issuer *issuer, struct jwt_request *request)
{
    issuing_jwt(embedded_of(issuer)->issuing, request);
}

static void embedded_ak_certify(struct issuer *issuer, struct ak_request *request)
{
    ak_issuing_certify(&embedded_of(issuer)->aks, request);
}

static void embedded_set_gate(struct issuer *issuer, const struct issuer_gate *gate)
{
    issuing_set_gate(embedded_of(issuer)->issuing, gate);
}

static void embedded_entry_seen(struct issuer *issuer, const struct entry *entry)
{
    entry_book_set_seen(embedded_of(issuer)->book, entry);
}

static void embedded_entry_add(struct issuer *issuer, struct entry *entry, entry_book_done *done,
                               void *user)
{
    entry_book_add(embedded_of(issuer)->book, entry, done, user);
}

static void embedded_entry_remove(struct issuer *issuer, const char *entry_id,
                                  entry_book_done *done, void *user)
{
    entry_book_remove(embedded_of(issuer)->book, entry_id, done, user);
}

static int embedded_entries_configure(struct issuer *issuer, struct entry **entries, size_t count,
                                      struct error *err)
{
    return entry_book_configure(embedded_of(issuer)->book, entries, count, err);
}

static void embedded_health(struct issuer *issuer, struct issuer_health *ret_health)
{
    struct embedded *embedded = embedded_of(issuer);
    struct keystore_status status;
    struct error trouble = {0};
    keystore_status(embedded->keystore, &status);
    *ret_health = (struct issuer_health){0};
    if (embedded->is_stopping) {
        (void)error_set(&trouble, ERROR_CANCELLED, "the issuer is stopping");
    } else if (status.state == KEYSTORE_STATE_LOST) {
        (void)error_set(&trouble, ERROR_UNAVAILABLE, "the keystore \"%s\" does not answer: %s",
                        keystore_name(embedded->keystore), status.reason);
    } else if (succession_signer(embedded->successions[AUTHORITY_KIND_X509], &trouble) &&
               succession_signer(embedded->successions[AUTHORITY_KIND_JWT], &trouble) &&
               !store_is_in_trouble(embedded->store, &trouble)) {
        ret_health->is_ready = true;
        return;
    }
    (void)snprintf(ret_health->reason, sizeof(ret_health->reason), "%.*s",
                   (int)sizeof(ret_health->reason) - 1, trouble.text);
}

static void embedded_stop(struct issuer *issuer, void (*stopped)(void *user), void *user)
{
    struct embedded *embedded = embedded_of(issuer);
    embedded->is_stopping = true;
    embedded->stopped = stopped;
    embedded->stopped_user = user;
    (void)uv_timer_stop(&embedded->look_timer);
    (void)uv_timer_stop(&embedded->flush_timer);
    for (size_t i = 0; i < AUTHORITY_KIND_COUNT; i++) {
        succession_stop(embedded->successions[i]);
    }
    issuing_stop(embedded->issuing);
    ak_issuing_stop(&embedded->aks);
    entry_book_flush(embedded->book);
    stop_when_idle(embedded);
}

static const struct issuer_operations operations = {
    .name = "embedded",
    .start = embedded_start,
    .x509_issue = embedded_x509_issue,
    .jwt_issue = embedded_jwt_issue,
    .ak_certify = embedded_ak_certify,
    .set_gate = embedded_set_gate,
    .entry_seen = embedded_entry_seen,
    .entry_add = embedded_entry_add,
    .entry_remove = embedded_entry_remove,
    .entries_configure = embedded_entries_configure,
    .health = embedded_health,
    .stop = embedded_stop,
};

/* Of an issuer that never came to run. */
static void embedded_discard(struct embedded *embedded)
{
    for (size_t i = 0; i < AUTHORITY_KIND_COUNT; i++) {
        if (embedded->successions[i]) {
            succession_free(embedded->successions[i]);
        }
    }
    entry_book_cleanup(&embedded->book);
    if (embedded->issuing) {
        issuing_free(embedded->issuing);
    }
    store_cleanup(&embedded->store);
    if (embedded->mailbox) {
        mailbox_free(embedded->mailbox);
    }
    bundle_unref(embedded->bundle);
    free(embedded->trust_domain);
    free(embedded);
}
DEFINE_CLEANUP(struct embedded, embedded_discard, embedded_discard);

static int check_config(const struct embedded_config *config, struct error *err)
{
    if (keystore_protection(config->keystore) != KEY_PROTECTION_HARDWARE) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "opening the embedded issuer: the keystore \"%s\" forgets its keys with "
                         "the process; name one of type \"tpm\" or \"pkcs11\"",
                         keystore_name(config->keystore));
    }
    const struct {
        const char *name;
        uint32_t ttl_s;
    } ttls[] = {{"x509_svid_ttl", config->x509_svid_ttl_s},
                {"jwt_svid_ttl", config->jwt_svid_ttl_s}};
    for (size_t i = 0; i < ARRAY_SIZE(ttls); i++) {
        if (ttls[i].ttl_s == 0 || ttls[i].ttl_s > config->ca_ttl_s) {
            return error_set(err, ERROR_INVALID_ARGUMENT,
                             "opening the embedded issuer: %s of %u s must be above 0 and at most "
                             "ca_ttl, which is %u s",
                             ttls[i].name, ttls[i].ttl_s, config->ca_ttl_s);
        }
        if (ttls[i].ttl_s > config->ca_ttl_s / 3) {
            log_warning("%s of %u s is more than a third of ca_ttl: SVIDs issued late in an "
                        "authority's life will live shorter",
                        ttls[i].name, ttls[i].ttl_s);
        }
    }
    return 0;
}

static int open_successions(struct embedded *embedded, const struct embedded_config *config,
                            struct error *err)
{
    for (size_t i = 0; i < AUTHORITY_KIND_COUNT; i++) {
        const struct succession_config of_kind = {
            .kind = (enum authority_kind)i,
            .key_type = i == AUTHORITY_KIND_X509 ? config->ca_key_type : config->jwt_key_type,
            .ttl_s = config->ca_ttl_s,
            .trust_domain = embedded->trust_domain,
            .keystore = config->keystore,
            .store = embedded->store,
            .mailbox = embedded->mailbox,
            .clock = &embedded->clock,
            .user = embedded,
            .published = on_published,
        };
        TRY(succession_open(&of_kind, &embedded->successions[i], err));
    }
    return authority_table_sequence(embedded->store, &embedded->sequence, err);
}

static int open_parts(struct embedded *embedded, const struct embedded_config *config,
                      struct error *err)
{
    _cleanup_(free_cleanup) char *path = file_join(config->data_dir, "issuer.sqlite");
    TRY(mailbox_new(&embedded->mailbox, err));
    TRY(store_open(path, embedded->trust_domain, &embedded->store, err));
    const struct entry_book_config of_book = {.trust_domain = embedded->trust_domain,
                                              .store = embedded->store,
                                              .mailbox = embedded->mailbox,
                                              .clock = &embedded->clock};
    TRY(entry_book_open(&of_book, &embedded->book, err));
    TRY(open_successions(embedded, config, err));
    const struct issuing_config of_issuing = {
        .ttl_s = {[AUTHORITY_KIND_X509] = config->x509_svid_ttl_s,
                  [AUTHORITY_KIND_JWT] = config->jwt_svid_ttl_s},
        .successions = {embedded->successions[0], embedded->successions[1]},
        .keystore = config->keystore,
        .store = embedded->store,
        .mailbox = embedded->mailbox,
        .clock = &embedded->clock};
    embedded->issuing = issuing_new(&of_issuing);
    ak_issuing_open(&embedded->aks, &of_issuing);
    embedded->upkeep.store = embedded->store;
    embedded->upkeep.mailbox = embedded->mailbox;
    embedded->upkeep.clock = &embedded->clock;
    return renew_bundle(embedded, err);
}

/* None of these can fail for a fresh eventfd and timers. */
static void open_handles(struct embedded *embedded, uv_loop_t *loop)
{
    (void)uv_poll_init(loop, &embedded->poll, mailbox_descriptor(embedded->mailbox));
    (void)uv_timer_init(loop, &embedded->look_timer);
    (void)uv_timer_init(loop, &embedded->flush_timer);
    embedded->poll.data = embedded->look_timer.data = embedded->flush_timer.data = embedded;
    embedded->open_handles = 3;
    (void)uv_poll_start(&embedded->poll, UV_READABLE, on_mail);
}

int issuer_embedded_new_with_clock(uv_loop_t *loop, const struct embedded_config *config,
                                   const struct issuer_clock *clock, struct issuer **ret_issuer,
                                   struct error *err)
{
    TRY(check_config(config, err));
    _cleanup_(embedded_discard_cleanup) struct embedded *embedded = NEW(struct embedded);
    embedded->issuer.operations = &operations;
    embedded->clock = *clock;
    embedded->keystore = config->keystore;
    embedded->trust_domain = memory_copy_text(config->trust_domain);
    if (open_parts(embedded, config, err) < 0) {
        return error_prepend(err, "opening the embedded issuer");
    }
    TRY(store_start(embedded->store, err));
    open_handles(embedded, loop);
    *ret_issuer = &take_ptr(embedded)->issuer;
    return 0;
}

static int64_t now_s(void *user)
{
    (void)user;
    return clock_now_s();
}

static uint64_t monotonic_ms(void *user)
{
    (void)user;
    return clock_monotonic_ms();
}

int issuer_embedded_new(uv_loop_t *loop, const struct embedded_config *config,
                        struct issuer **ret_issuer, struct error *err)
{
    static const struct issuer_clock clock = {.now_s = now_s, .monotonic_ms = monotonic_ms};
    return issuer_embedded_new_with_clock(loop, config, &clock, ret_issuer, err);
}
