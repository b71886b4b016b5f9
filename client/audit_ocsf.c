#include "client/audit_ocsf.h"

#include <stdlib.h>
#include <string.h>

#include "client/audit_time.h"
#include "lib/base/macro.h"
#include "lib/base/memory.h"

enum { CATEGORY_IAM = 3, CATEGORY_APPLICATION = 6 };
enum { SEVERITY_INFORMATIONAL = 1, SEVERITY_LOW = 2, SEVERITY_MEDIUM = 3, SEVERITY_HIGH = 4 };
enum { STATUS_SUCCESS = 1, STATUS_FAILURE = 2, ACTIVITY_OTHER = 99 };

/* Adds what only this class has. */
typedef void (*class_part)(json_t *event, const json_t *record);

struct class
{
    int uid;
    const char *name;
    class_part add;
};

static void add_authentication(json_t *event, const json_t *record);
static void add_api(json_t *event, const json_t *record);
static void add_account(json_t *event, const json_t *record);
static void add_entity(json_t *event, const json_t *record);
static void add_lifecycle(json_t *event, const json_t *record);

static const struct class authentication = {3002, "Authentication", add_authentication};
static const struct class account_change = {3001, "Account Change", add_account};
static const struct class entity = {3004, "Entity Management", add_entity};
static const struct class api_activity = {6003, "API Activity", add_api};
static const struct class lifecycle = {6002, "Application Lifecycle", add_lifecycle};

static const struct mapping {
    const char *action;
    const struct class *class;
    const char *activity_name;
    int activity, severity;
} mappings[] = {
    {"identified", &authentication, "Logon", 1, SEVERITY_INFORMATIONAL},
    {"denied", &authentication, "Logon", 1, SEVERITY_MEDIUM},
    {"withdrawn", &authentication, "Logoff", 2, SEVERITY_LOW},
    {"node-attested", &authentication, "Logon", 1, SEVERITY_INFORMATIONAL},
    {"node-not-attested", &authentication, "Logon", 1, SEVERITY_HIGH},
    {"evidence", &api_activity, "Read", 2, SEVERITY_INFORMATIONAL},
    {"issued", &api_activity, "Create", 1, SEVERITY_INFORMATIONAL},
    {"renewed", &api_activity, "Update", 3, SEVERITY_INFORMATIONAL},
    {"used", &api_activity, "Sign", ACTIVITY_OTHER, SEVERITY_INFORMATIONAL},
    {"locked", &account_change, "Lock", 9, SEVERITY_HIGH},
    {"unlocked", &account_change, "Enable", 2, SEVERITY_MEDIUM},
    {"entry-set", &entity, "Create", 1, SEVERITY_LOW},
    {"entry-removed", &entity, "Delete", 4, SEVERITY_LOW},
    {"rules-changed", &entity, "Update", 3, SEVERITY_LOW},
    {"keystore-lost", &lifecycle, "Disable", 7, SEVERITY_HIGH},
    {"keystore-back", &lifecycle, "Enable", 6, SEVERITY_INFORMATIONAL},
    {"started", &lifecycle, "Start", 3, SEVERITY_INFORMATIONAL},
    {"stopped", &lifecycle, "Stop", 4, SEVERITY_LOW},
    {"audit-log", &lifecycle, "Audit log", ACTIVITY_OTHER, SEVERITY_MEDIUM},
};

static const char *text_of(const json_t *record, const char *name)
{
    return json_string_value(json_object_get(record, name));
}

/* Copies a member where it is there. */
static void carry(json_t *to, const char *to_name, const json_t *record, const char *name)
{
    json_t *value = json_object_get(record, name);
    if (value) {
        (void)json_object_set(to, to_name, value);
    }
}

/* As OCSF's timestamp_t: milliseconds since 1970. */
static void carry_time(json_t *to, const char *to_name, const json_t *record, const char *name)
{
    const char *time = text_of(record, name);
    int64_t ms = 0;
    if (time && audit_time_parse(time, 0, &ms, NULL) == 0) {
        (void)json_object_set_new(to, to_name, json_integer(ms));
    }
}

/* Objects */

/* The identity, as the account that somebody acts by. */
static json_t *make_user(const json_t *record)
{
    const char *id = text_of(record, "signet.spiffe_id");
    const char *host = text_of(record, "host.name");
    return json_pack("{s:s, s:i, s:s}", "uid",
                     id     ? id
                     : host ? host
                            : "node",
                     "type_id", 99, "type", id ? "SPIFFE ID" : "Node");
}

static json_t *make_fingerprint(const char *hex)
{
    return json_pack("{s:i, s:s, s:s}", "algorithm_id", 3, "algorithm", "SHA-256", "value", hex);
}

static json_t *make_file(const json_t *record, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *sha256 = text_of(record, "process.hash.sha256");
    json_t *file = json_pack("{s:s, s:s, s:i, s:s}", "name", slash ? slash + 1 : path, "path", path,
                             "type_id", 1, "type", "Regular File");
    if (sha256) {
        (void)json_object_set_new(file, "hashes", json_pack("[o]", make_fingerprint(sha256)));
    }
    return file;
}

static json_t *make_process(const json_t *record)
{
    json_t *process = json_object();
    const char *path = text_of(record, "process.executable");
    const char *container = text_of(record, "container.id");
    const char *user = text_of(record, "user.id");
    carry(process, "pid", record, "process.pid");
    carry_time(process, "created_time", record, "process.start");
    if (path) {
        (void)json_object_set_new(process, "file", make_file(record, path));
    }
    if (user) {
        (void)json_object_set_new(process, "user", json_pack("{s:s}", "uid", user));
    }
    if (container) {
        (void)json_object_set_new(process, "container", json_pack("{s:s}", "uid", container));
    }
    return process;
}

/* Who did it: a process, or the agent. */
static json_t *make_actor(const json_t *record)
{
    if (!json_object_get(record, "process.pid")) {
        return json_pack("{s:s}", "app_name", "signetd");
    }
    json_t *actor = json_pack("{s:o}", "process", make_process(record));
    const char *unit = text_of(record, "systemd.unit");
    if (unit) {
        (void)json_object_set_new(actor, "app_name", json_string(unit));
    }
    return actor;
}

static json_t *make_endpoint(const json_t *record)
{
    const char *host = text_of(record, "host.name");
    return json_pack("{s:s}", "hostname", host ? host : "localhost");
}

/* The authority of the trust domain, which is what issues. The caller decrefs. */
static json_t *make_issuer(const json_t *record)
{
    const char *id = text_of(record, "signet.spiffe_id");
    size_t scheme = strlen("spiffe://");
    if (!id || strlen(id) <= scheme) {
        return json_string("unknown");
    }
    return json_stringn(id, scheme + strcspn(id + scheme, "/"));
}

/* NULL: the record has none. */
static json_t *make_certificate(const json_t *record)
{
    const char *serial = text_of(record, "x509.serial_number");
    const char *fingerprint = text_of(record, "signet.credential.fingerprint");
    if (!serial) {
        return NULL;
    }
    json_t *certificate = json_pack("{s:s, s:o, s:[]}", "serial_number", serial, "issuer",
                                    make_issuer(record), "fingerprints");
    if (fingerprint) {
        (void)json_array_append_new(json_object_get(certificate, "fingerprints"),
                                    make_fingerprint(fingerprint));
    }
    carry_time(certificate, "expiration_time", record, "signet.credential.expires");
    return certificate;
}

/* What was made or used: the credential, as a resource. */
static json_t *make_resource(const json_t *record)
{
    const char *kind = text_of(record, "signet.credential.kind");
    const char *id = text_of(record, "signet.spiffe_id");
    json_t *data = json_object();
    json_t *resource = json_pack("{s:s, s:s, s:o}", "type", kind ? kind : "credential", "name",
                                 id ? id : "unknown", "data", data);
    carry(resource, "uid", record, "signet.key.id");
    carry(data, "serial_number", record, "x509.serial_number");
    carry(data, "jti", record, "signet.credential.jti");
    carry(data, "fingerprint", record, "signet.credential.fingerprint");
    carry(data, "key_protection", record, "signet.key.protection");
    carry(data, "expires", record, "signet.credential.expires");
    carry(data, "audience", record, "signet.audience");
    return resource;
}

/* Classes */

static void add_authentication(json_t *event, const json_t *record)
{
    json_t *certificate = make_certificate(record);
    (void)json_object_set_new(event, "user", make_user(record));
    (void)json_object_set_new(event, "service", json_pack("{s:s}", "name", "signet"));
    (void)json_object_set_new(event, "auth_protocol_id", json_integer(99));
    (void)json_object_set_new(event, "auth_protocol", json_string("SPIFFE"));
    (void)json_object_set_new(event, "logon_type_id", json_integer(5));
    (void)json_object_set_new(event, "logon_type", json_string("OS Service"));
    (void)json_object_set_new(event, "is_remote", json_false());
    if (certificate) {
        (void)json_object_set_new(event, "certificate", certificate);
    }
}

static void add_api(json_t *event, const json_t *record)
{
    const char *asked = text_of(record, "signet.asked");
    const char *action = text_of(record, "event.action");
    (void)json_object_set_new(event, "api",
                              json_pack("{s:s, s:{s:s}}", "operation", asked ? asked : action,
                                        "service", "name", "signet"));
    (void)json_object_set_new(event, "src_endpoint", make_endpoint(record));
    (void)json_object_set_new(event, "resources", json_pack("[o]", make_resource(record)));
}

static void add_account(json_t *event, const json_t *record)
{
    (void)json_object_set_new(event, "user", make_user(record));
}

static void add_entity(json_t *event, const json_t *record)
{
    const char *id = text_of(record, "signet.spiffe_id");
    const char *decision = text_of(record, "signet.decision.id");
    json_t *managed = json_object();
    (void)json_object_set_new(managed, "name", json_string(id ? id : "rules"));
    (void)json_object_set_new(managed, "type_id", json_integer(id ? 99 : 5));
    (void)json_object_set_new(managed, "type", json_string(id ? "Entry" : "Policy"));
    if (decision) {
        (void)json_object_set_new(managed, "uid", json_string(decision));
    }
    (void)json_object_set_new(event, "entity", managed);
    carry(event, "comment", record, "event.reason");
}

static void add_lifecycle(json_t *event, const json_t *record)
{
    const char *action = text_of(record, "event.action");
    const char *detail = text_of(record, "signet.detail");
    bool is_keystore = action && strncmp(action, "keystore", strlen("keystore")) == 0;
    (void)json_object_set_new(event, "app",
                              json_pack("{s:s, s:s, s:s}", "name",
                                        is_keystore && detail ? detail : "signetd", "vendor_name",
                                        "signet", "feature", is_keystore ? "keystore" : "agent"));
}

/* All classes */

static const struct mapping *find_mapping(const json_t *record)
{
    const char *action = text_of(record, "event.action");
    for (size_t i = 0; action && i < ARRAY_SIZE(mappings); i++) {
        if (strcmp(mappings[i].action, action) == 0) {
            return &mappings[i];
        }
    }
    return NULL;
}

static json_t *make_metadata(const json_t *record)
{
    json_t *metadata =
        json_pack("{s:s, s:s, s:{s:s, s:s}, s:s}", "version", "1.3.0", "log_name", "signet.audit",
                  "product", "name", "signet", "vendor_name", "signet", "log_provider", "signetd");
    (void)json_object_set_new(metadata, "profiles", json_pack("[s, s]", "host", "container"));
    carry(metadata, "sequence", record, "event.sequence");
    carry(metadata, "uid", record, "signet.chain");
    carry(metadata, "event_code", record, "event.action");
    carry(metadata, "original_time", record, "@timestamp");
    return metadata;
}

/* Of uses that were gathered. */
static void add_count(json_t *event, const json_t *record)
{
    if (json_object_get(record, "event.start")) {
        carry_time(event, "start_time", record, "event.start");
        carry_time(event, "end_time", record, "@timestamp");
    }
    carry(event, "count", record, "signet.count");
}

/* What OCSF has no place for. */
static void add_unmapped(json_t *event, const json_t *record)
{
    static const char *const names[] = {
        "signet.decision.by",
        "signet.decision.id",
        "signet.asked",
        "signet.process.start_time",
        "signet.process.selectors",
        "signet.key.id",
        "signet.key.protection",
        "signet.credential.kind",
        "signet.credential.jti",
        "signet.audience",
        "signet.detail",
        "signet.spiffe_id",
        "group.id",
        "systemd.unit",
    };
    json_t *unmapped = json_object();
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        carry(unmapped, names[i], record, names[i]);
    }
    (void)json_object_set_new(event, "unmapped", unmapped);
}

static void add_status(json_t *event, const json_t *record)
{
    const char *outcome = text_of(record, "event.outcome");
    bool is_failure = outcome && strcmp(outcome, "failure") == 0;
    (void)json_object_set_new(event, "status_id",
                              json_integer(is_failure ? STATUS_FAILURE : STATUS_SUCCESS));
    (void)json_object_set_new(event, "status", json_string(is_failure ? "Failure" : "Success"));
    carry(event, "status_detail", record, "event.reason");
}

static void add_severity(json_t *event, int severity)
{
    static const char *const names[] = {"Unknown", "Informational", "Low", "Medium", "High"};
    (void)json_object_set_new(event, "severity_id", json_integer(severity));
    (void)json_object_set_new(event, "severity", json_string(names[severity]));
}

/* A use that was refused is no logon: it is the call that failed. */
static const struct mapping refused_use = {"denied", &api_activity, "Sign", ACTIVITY_OTHER,
                                           SEVERITY_MEDIUM};

static bool is_refused_use(const json_t *record)
{
    const char *action = text_of(record, "event.action");
    const char *asked = text_of(record, "signet.asked");
    return action && asked && strcmp(action, "denied") == 0 && strcmp(asked, "sign") == 0;
}

json_t *audit_ocsf(const json_t *record)
{
    const struct mapping *mapping = is_refused_use(record) ? &refused_use : find_mapping(record);
    if (!mapping) {
        return NULL;
    }
    int class_uid = mapping->class->uid;
    int category = class_uid / 1000;
    json_t *event = json_pack(
        "{s:i, s:i, s:s, s:i, s:s, s:i, s:s, s:o, s:o, s:{s:s, s:i}}", "category_uid", category,
        "class_uid", class_uid, "class_name", mapping->class->name, "activity_id",
        mapping->activity, "activity_name", mapping->activity_name, "type_uid",
        class_uid * 100 + mapping->activity, "category_name",
        category == CATEGORY_IAM ? "Identity & Access Management" : "Application Activity",
        "metadata", make_metadata(record), "actor", make_actor(record), "device", "hostname",
        text_of(record, "host.name") ? text_of(record, "host.name") : "localhost", "type_id", 1);
    carry_time(event, "time", record, "@timestamp");
    carry(event, "message", record, "message");
    add_severity(event, mapping->severity);
    add_status(event, record);
    add_count(event, record);
    mapping->class->add(event, record);
    add_unmapped(event, record);
    return event;
}
