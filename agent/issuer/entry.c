#include "agent/issuer/entry.h"

#include <openssl/sha.h>
#include <string.h>
#include <strings.h>

#include "agent/spiffe_id.h"
#include "lib/base/memory.h"

enum { DNS_NAME_MAX_BYTES = 253, DNS_LABEL_MAX_BYTES = 63, TTL_MAX_S = 365 * 86400 };

struct entry *entry_ref(struct entry *entry)
{
    entry->references++;
    return entry;
}

void entry_unref(struct entry *entry)
{
    if (!entry || --entry->references > 0) {
        return;
    }
    free(entry->id);
    free(entry->spiffe_id);
    text_list_clear(&entry->selectors);
    text_list_clear(&entry->dns_names);
    free(entry->hint);
    free(entry);
}

struct entry *entry_copy(const struct entry *entry)
{
    struct entry *copy = NEW(struct entry);
    *copy = *entry;
    copy->references = 1;
    copy->id = memory_copy_text(entry->id);
    copy->spiffe_id = memory_copy_text(entry->spiffe_id);
    copy->selectors = copy->dns_names = (struct text_list){0};
    text_list_copy(&copy->selectors, &entry->selectors);
    text_list_copy(&copy->dns_names, &entry->dns_names);
    copy->hint = memory_copy_text(entry->hint ? entry->hint : "");
    return copy;
}

bool entry_is_same(const struct entry *a, const struct entry *b)
{
    return strcmp(a->spiffe_id, b->spiffe_id) == 0 && strcmp(a->hint, b->hint) == 0 &&
           a->x509_svid_ttl_s == b->x509_svid_ttl_s && a->jwt_svid_ttl_s == b->jwt_svid_ttl_s &&
           text_list_is_equal(&a->selectors, &b->selectors) &&
           text_list_is_equal(&a->dns_names, &b->dns_names);
}

void entry_digest(const struct entry *entry, uint8_t ret_digest[ENTRY_DIGEST_BYTES])
{
    /* Each part ends in a NUL, which none contains: different parts never give the same bytes. */
    _cleanup_(buffer_clear) struct buffer text = {0};
    uint8_t digest[SHA256_DIGEST_LENGTH];
    buffer_append(&text, entry->spiffe_id, strlen(entry->spiffe_id) + 1);
    for (size_t i = 0; i < entry->selectors.count; i++) {
        const char *selector = entry->selectors.items[i];
        buffer_append(&text, selector, strlen(selector) + 1);
    }
    (void)SHA256(text.data, text.size, digest);
    memcpy(ret_digest, digest, ENTRY_DIGEST_BYTES);
}

char *entry_configured_id(const struct entry *entry)
{
    uint8_t digest[ENTRY_DIGEST_BYTES];
    entry_digest(entry, digest);
    _cleanup_(free_cleanup) char *hex = text_hex((struct bytes){digest, 8});
    return text_format("conf:%s", hex);
}

static bool is_label_byte(char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || byte == '-' || byte == '_';
}

/* RFC 1123 2.1 with the underscore that service names have; no wildcard, no dot at the end. */
static const char *dns_name_fault(const char *name)
{
    size_t size = strlen(name);
    if (size == 0 || size > DNS_NAME_MAX_BYTES) {
        return "it must be 1 to 253 bytes long";
    }
    for (const char *label = name;;) {
        size_t label_size = strcspn(label, ".");
        if (label_size == 0 || label_size > DNS_LABEL_MAX_BYTES) {
            return "each label between dots must be 1 to 63 bytes long";
        }
        if (label[0] == '-' || label[label_size - 1] == '-') {
            return "a label may not start or end with a hyphen";
        }
        for (size_t i = 0; i < label_size; i++) {
            if (!is_label_byte(label[i])) {
                return "only letters, digits, hyphens and underscores may stand between dots";
            }
        }
        if (label[label_size] == '\0') {
            return NULL;
        }
        label += label_size + 1;
    }
}

static int check_dns_names(const struct text_list *names, struct error *err)
{
    if (names->count > ENTRY_DNS_NAMES_MAX) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "%zu DNS names are more than the %d allowed",
                         names->count, ENTRY_DNS_NAMES_MAX);
    }
    for (size_t i = 0; i < names->count; i++) {
        const char *fault = dns_name_fault(names->items[i]);
        if (fault) {
            return error_set(err, ERROR_INVALID_ARGUMENT, "DNS name \"%s\": %s", names->items[i],
                             fault);
        }
        for (size_t j = 0; j < i; j++) {
            if (strcasecmp(names->items[i], names->items[j]) == 0) {
                return error_set(err, ERROR_INVALID_ARGUMENT, "DNS name \"%s\" is there twice",
                                 names->items[i]);
            }
        }
    }
    return 0;
}

static int check_hint(const char *hint, struct error *err)
{
    if (!hint) {
        return 0;
    }
    struct bytes bytes = bytes_of_text(hint);
    if (bytes.size > ENTRY_HINT_MAX_BYTES) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "the hint is longer than %d bytes",
                         ENTRY_HINT_MAX_BYTES);
    }
    bool is_printable = text_is_utf8(bytes);
    for (size_t i = 0; i < bytes.size; i++) {
        is_printable &= bytes.data[i] >= 0x20 && bytes.data[i] != 0x7f;
    }
    if (!is_printable) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "the hint is not printable UTF-8");
    }
    return 0;
}

static int check_ttl(const char *name, uint32_t ttl_s, struct error *err)
{
    if (ttl_s > TTL_MAX_S) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "%s of %u seconds is more than a year", name,
                         ttl_s);
    }
    return 0;
}

static int check_selectors(struct text_list *selectors, struct error *err)
{
    size_t count = selectors->count;
    if (count == 0 || count > SELECTORS_MAX) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "it has %zu selectors; an entry needs 1 to %d of them", count,
                         SELECTORS_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        TRY(selector_check(selectors->items[i], true, err));
    }
    text_list_sort_unique(selectors);
    if (selectors->count != count) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "a selector is there twice");
    }
    return 0;
}

static int check_id(const char *id, const char *trust_domain, struct error *err)
{
    TRY(spiffe_id_check_workload(id, trust_domain, err));
    const char *path = spiffe_id_path(id);
    if (strcmp(path, "/spire") == 0 || strncmp(path, "/spire/", 7) == 0) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "IDs below /spire are reserved for agents and servers");
    }
    return 0;
}

int entry_check(struct entry *entry, const char *trust_domain, struct error *err)
{
    if (!entry->spiffe_id || entry->spiffe_id[0] == '\0') {
        return error_set(err, ERROR_INVALID_ARGUMENT, "an entry needs a SPIFFE ID");
    }
    if (check_id(entry->spiffe_id, trust_domain, err) < 0 ||
        check_selectors(&entry->selectors, err) < 0 ||
        check_dns_names(&entry->dns_names, err) < 0 || check_hint(entry->hint, err) < 0 ||
        check_ttl("x509_svid_ttl", entry->x509_svid_ttl_s, err) < 0 ||
        check_ttl("jwt_svid_ttl", entry->jwt_svid_ttl_s, err) < 0) {
        return error_prepend(err, "entry %s", entry->spiffe_id);
    }
    return 0;
}
