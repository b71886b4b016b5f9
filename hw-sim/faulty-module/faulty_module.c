/* A PKCS#11 module for tests: it passes every call on to another module, and misbehaves on command.
 *
 * SIGNET_FAULTY_MODULE   path of the module behind it
 * SIGNET_FAULTY_CONTROL  path of a file with one rule a line, read again at each call; write it
 *                        elsewhere and rename it, so that no half of it is seen:
 *
 *     FUNCTION ACTION [VALUE] [COUNT]     such as  "C_Sign fail 0x32 1"  or  "* hang"
 *
 *     fail VALUE    returns VALUE (any CK_RV) without a call of the module behind
 *     delay VALUE   waits VALUE milliseconds, then calls it
 *     hang          never returns
 *     crash         ends the process by SIGSEGV
 *     empty         (C_FindObjects) finds nothing
 *     absent        (with FUNCTION *) the token is taken out: its sessions end, its slots are empty
 *     readonly      (with FUNCTION *) the token is write protected
 *     pin-final     (with FUNCTION *) the token says that one more wrong PIN locks it
 *     count         (with FUNCTION *) before the next call it writes what it holds to the file that
 *                   has this one's name and ".counts" at the end; see counts.c
 *
 * FUNCTION is any function of PKCS #11 2.40 by its name, but C_GetFunctionList. COUNT is how often
 * the rule applies, always when missing (needs a VALUE before it, 0 will do); it starts anew
 * whenever the file is replaced. The first rule that applies counts. */
#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "hw-sim/faulty-module/faulty_module.h"

CK_RV C_GetFunctionList(CK_FUNCTION_LIST **list);

enum { RULES_MAX = 16, SLOTS_MAX = 256 };

struct rule {
    char function[32];
    char action[16];
    unsigned long value;
    long left; /* how often it still applies; negative: always */
};

/* A module has no context: all of it is the process's. */
static struct {
    pthread_mutex_t lock;
    /* Modules may crash when sessions end under a call; only the calls' owner would do that. */
    pthread_rwlock_t calls;
    CK_FUNCTION_LIST *real;
    CK_FUNCTION_LIST list;
    struct rule rules[RULES_MAX];
    size_t rule_count;
    struct stat control; /* of the file that the rules were read from */
    bool is_absent;
    bool is_count_due;
} faulty = {.lock = PTHREAD_MUTEX_INITIALIZER, .calls = PTHREAD_RWLOCK_INITIALIZER};

static void read_rules(const char *path)
{
    FILE *file = fopen(path, "re");
    char line[128];
    faulty.rule_count = 0;
    while (file && fgets(line, sizeof(line), file) && faulty.rule_count < RULES_MAX) {
        struct rule *rule = &faulty.rules[faulty.rule_count];
        char value[32] = "0";
        char left[32] = "-1";
        if (sscanf(line, "%31s %15s %31s %31s", rule->function, rule->action, value, left) >= 2) {
            rule->value = strtoul(value, NULL, 0);
            rule->left = strtol(left, NULL, 0);
            faulty.is_count_due = faulty.is_count_due || strcmp(rule->action, "count") == 0;
            faulty.rule_count++;
        }
    }
    if (file) {
        (void)fclose(file);
    }
}

/* With the lock held. */
static void refresh_rules(void)
{
    const char *path = getenv("SIGNET_FAULTY_CONTROL");
    struct stat now = {0};
    if (!path || stat(path, &now) < 0) {
        faulty.rule_count = 0;
        memset(&faulty.control, 0, sizeof(faulty.control));
    } else if (now.st_ino != faulty.control.st_ino ||
               memcmp(&now.st_mtim, &faulty.control.st_mtim, sizeof(now.st_mtim)) != 0) {
        read_rules(path);
        faulty.control = now;
    }
}

static bool has_rule(const char *action)
{
    bool is_found = false;
    (void)pthread_mutex_lock(&faulty.lock);
    refresh_rules();
    for (size_t i = 0; i < faulty.rule_count; i++) {
        is_found = is_found || strcmp(faulty.rules[i].action, action) == 0;
    }
    (void)pthread_mutex_unlock(&faulty.lock);
    return is_found;
}

static void close_all(void)
{
    CK_SLOT_ID slots[SLOTS_MAX];
    CK_ULONG count = SLOTS_MAX;
    (void)pthread_rwlock_wrlock(&faulty.calls);
    if (faulty.real->C_GetSlotList(CK_TRUE, slots, &count) == CKR_OK) {
        for (CK_ULONG i = 0; i < count; i++) {
            (void)faulty.real->C_CloseAllSessions(slots[i]);
        }
    }
    (void)pthread_rwlock_unlock(&faulty.calls);
}

/* Whoever takes out a token ends its sessions. */
static bool is_absent(void)
{
    bool is_absent_now = has_rule("absent");
    (void)pthread_mutex_lock(&faulty.lock);
    bool was_taken = is_absent_now && !faulty.is_absent;
    faulty.is_absent = is_absent_now;
    (void)pthread_mutex_unlock(&faulty.lock);
    if (was_taken) {
        close_all();
    }
    return is_absent_now;
}

static bool is_special(const char *action)
{
    static const char *const special[] = {"absent", "readonly", "pin-final", "count"};
    for (size_t i = 0; i < sizeof(special) / sizeof(special[0]); i++) {
        if (strcmp(action, special[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool take_rule(const char *function, struct rule *ret_rule)
{
    bool is_found = false;
    (void)pthread_mutex_lock(&faulty.lock);
    refresh_rules();
    for (size_t i = 0; i < faulty.rule_count && !is_found; i++) {
        struct rule *rule = &faulty.rules[i];
        if (rule->left != 0 && !is_special(rule->action) &&
            (strcmp(rule->function, "*") == 0 || strcmp(rule->function, function) == 0)) {
            rule->left -= rule->left > 0 ? 1 : 0;
            *ret_rule = *rule;
            is_found = true;
        }
    }
    (void)pthread_mutex_unlock(&faulty.lock);
    return is_found;
}

static void sleep_ms(unsigned long ms)
{
    const struct timespec time = {.tv_sec = (time_t)(ms / 1000),
                                  .tv_nsec = (long)(ms % 1000) * 1000000};
    (void)nanosleep(&time, NULL);
}

/* CKR_OK: go on to the module behind. */
static CK_RV apply(const struct rule *rule)
{
    if (strcmp(rule->action, "fail") == 0) {
        return rule->value;
    }
    if (strcmp(rule->action, "delay") == 0) {
        sleep_ms(rule->value);
    }
    while (strcmp(rule->action, "hang") == 0) {
        (void)pause();
    }
    if (strcmp(rule->action, "crash") == 0) {
        (void)signal(SIGSEGV, SIG_DFL);
        (void)raise(SIGSEGV);
    }
    return CKR_OK;
}

static void count_if_due(void)
{
    (void)pthread_mutex_lock(&faulty.lock);
    refresh_rules();
    bool is_due = faulty.is_count_due;
    faulty.is_count_due = false;
    (void)pthread_mutex_unlock(&faulty.lock);
    if (is_due) {
        (void)pthread_rwlock_rdlock(&faulty.calls);
        faulty_write_counts(getenv("SIGNET_FAULTY_CONTROL"));
        (void)pthread_rwlock_unlock(&faulty.calls);
    }
}

static CK_RV misbehave(const char *function)
{
    struct rule rule;
    count_if_due();
    return take_rule(function, &rule) ? apply(&rule) : CKR_OK;
}

CK_RV faulty_begin(const char *function)
{
    CK_RV rv = is_absent() ? CKR_DEVICE_REMOVED : misbehave(function);
    if (rv == CKR_OK) {
        (void)pthread_rwlock_rdlock(&faulty.calls);
    }
    return rv;
}

void faulty_end(void)
{
    (void)pthread_rwlock_unlock(&faulty.calls);
}

CK_FUNCTION_LIST *faulty_real(void)
{
    return faulty.real;
}

/* Defines the wrapper of one function. */
#define WRAP(name, parameters, arguments)                                                          \
    static CK_RV wrap_##name parameters                                                            \
    {                                                                                              \
        CK_RV rv = misbehave(#name);                                                               \
        return rv == CKR_OK ? faulty.real->name arguments : rv;                                    \
    }

/* As WRAP, for functions that need the token. */
#define WRAP_TOKEN(name, parameters, arguments)                                                    \
    static CK_RV wrap_##name parameters                                                            \
    {                                                                                              \
        CK_RV rv = faulty_begin(#name);                                                            \
        if (rv == CKR_OK) {                                                                        \
            rv = faulty.real->name arguments;                                                      \
            faulty_end();                                                                          \
        }                                                                                          \
        return rv;                                                                                 \
    }

WRAP(C_Initialize, (void *init_args), (init_args))
WRAP(C_Finalize, (void *reserved), (reserved))
WRAP(C_GetInfo, (CK_INFO * info), (info))
WRAP(C_CloseAllSessions, (CK_SLOT_ID slot), (slot))
WRAP_TOKEN(C_GetMechanismInfo, (CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO *info),
           (slot, type, info))
WRAP_TOKEN(C_CloseSession, (CK_SESSION_HANDLE session), (session))
WRAP_TOKEN(C_GetSessionInfo, (CK_SESSION_HANDLE session, CK_SESSION_INFO *info), (session, info))
WRAP_TOKEN(C_Login,
           (CK_SESSION_HANDLE session, CK_USER_TYPE user, unsigned char *pin, CK_ULONG size),
           (session, user, pin, size))
WRAP_TOKEN(C_Logout, (CK_SESSION_HANDLE session), (session))
WRAP_TOKEN(C_DestroyObject, (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object), (session, object))
WRAP_TOKEN(C_GetAttributeValue,
           (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *attributes,
            CK_ULONG count),
           (session, object, attributes, count))
WRAP_TOKEN(C_FindObjectsInit, (CK_SESSION_HANDLE session, CK_ATTRIBUTE *attributes, CK_ULONG count),
           (session, attributes, count))
WRAP_TOKEN(C_FindObjectsFinal, (CK_SESSION_HANDLE session), (session))
WRAP_TOKEN(C_SignInit, (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key),
           (session, mechanism, key))
WRAP_TOKEN(C_Sign,
           (CK_SESSION_HANDLE session, unsigned char *data, CK_ULONG size, unsigned char *signature,
            CK_ULONG *signature_size),
           (session, data, size, signature, signature_size))
WRAP_TOKEN(C_GenerateKeyPair,
           (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *public_attributes,
            CK_ULONG public_count, CK_ATTRIBUTE *private_attributes, CK_ULONG private_count,
            CK_OBJECT_HANDLE *public_key, CK_OBJECT_HANDLE *private_key),
           (session, mechanism, public_attributes, public_count, private_attributes, private_count,
            public_key, private_key))
WRAP_TOKEN(C_GenerateRandom, (CK_SESSION_HANDLE session, unsigned char *data, CK_ULONG size),
           (session, data, size))

static CK_RV wrap_C_FindObjects(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *objects, CK_ULONG max,
                                CK_ULONG *count)
{
    struct rule rule = {.left = 0};
    bool has_one = take_rule("C_FindObjects", &rule);
    CK_RV rv = is_absent() ? CKR_DEVICE_REMOVED : apply(&rule);
    if (rv == CKR_OK) {
        (void)pthread_rwlock_rdlock(&faulty.calls);
        rv = faulty.real->C_FindObjects(session, objects, max, count);
        (void)pthread_rwlock_unlock(&faulty.calls);
    }
    if (rv == CKR_OK && has_one && strcmp(rule.action, "empty") == 0) {
        *count = 0;
    }
    return rv;
}

static CK_RV wrap_C_OpenSession(CK_SLOT_ID slot, CK_FLAGS flags, void *application,
                                CK_NOTIFY notify, CK_SESSION_HANDLE *session)
{
    CK_RV rv = is_absent() ? CKR_TOKEN_NOT_PRESENT : misbehave("C_OpenSession");
    if (rv == CKR_OK && (flags & CKF_RW_SESSION) && has_rule("readonly")) {
        rv = CKR_TOKEN_WRITE_PROTECTED;
    }
    if (rv == CKR_OK) {
        rv = faulty.real->C_OpenSession(slot, flags, application, notify, session);
    }
    if (rv == CKR_OK) {
        faulty_count_session(*session);
    }
    return rv;
}

static CK_RV wrap_C_GetSlotList(unsigned char token_present, CK_SLOT_ID *slots, CK_ULONG *count)
{
    CK_RV rv = misbehave("C_GetSlotList");
    if (rv == CKR_OK && token_present && is_absent()) {
        *count = 0;
        return CKR_OK;
    }
    return rv == CKR_OK ? faulty.real->C_GetSlotList(token_present, slots, count) : rv;
}

static CK_RV wrap_C_GetSlotInfo(CK_SLOT_ID slot, CK_SLOT_INFO *info)
{
    CK_RV rv = misbehave("C_GetSlotInfo");
    if (rv == CKR_OK) {
        rv = faulty.real->C_GetSlotInfo(slot, info);
    }
    if (rv == CKR_OK && is_absent()) {
        info->flags &= ~(CK_FLAGS)CKF_TOKEN_PRESENT;
    }
    return rv;
}

static CK_RV wrap_C_GetTokenInfo(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
    CK_RV rv = is_absent() ? CKR_TOKEN_NOT_PRESENT : misbehave("C_GetTokenInfo");
    if (rv == CKR_OK) {
        rv = faulty.real->C_GetTokenInfo(slot, info);
    }
    if (rv == CKR_OK && has_rule("readonly")) {
        info->flags |= CKF_WRITE_PROTECTED;
    }
    if (rv == CKR_OK && has_rule("pin-final")) {
        info->flags |= CKF_USER_PIN_FINAL_TRY;
    }
    return rv;
}

static CK_RV load_real(void)
{
    const char *path = getenv("SIGNET_FAULTY_MODULE");
    void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    CK_RV (*get)(CK_FUNCTION_LIST **) = NULL;
    if (library) {
        *(void **)&get = dlsym(library, "C_GetFunctionList");
    }
    if (!get) {
        (void)fprintf(stderr, "faulty module: SIGNET_FAULTY_MODULE names no PKCS#11 module\n");
        return CKR_GENERAL_ERROR;
    }
    return get(&faulty.real);
}

#define USE(name) faulty.list.name = wrap_##name

static void fill_list(void)
{
    faulty.list = *faulty.real;
    faulty_fill_others(&faulty.list);
    faulty.list.version.major = 2;
    faulty.list.version.minor = 40;
    faulty.list.C_GetFunctionList = C_GetFunctionList;
    USE(C_Initialize);
    USE(C_Finalize);
    USE(C_GetInfo);
    USE(C_GetSlotList);
    USE(C_GetSlotInfo);
    USE(C_GetTokenInfo);
    USE(C_GetMechanismInfo);
    USE(C_OpenSession);
    USE(C_CloseSession);
    USE(C_CloseAllSessions);
    USE(C_GetSessionInfo);
    USE(C_Login);
    USE(C_Logout);
    USE(C_DestroyObject);
    USE(C_GetAttributeValue);
    USE(C_FindObjectsInit);
    USE(C_FindObjects);
    USE(C_FindObjectsFinal);
    USE(C_SignInit);
    USE(C_Sign);
    USE(C_GenerateKeyPair);
    USE(C_GenerateRandom);
}

__attribute__((visibility("default"))) CK_RV C_GetFunctionList(CK_FUNCTION_LIST **list)
{
    CK_RV rv = CKR_OK;
    (void)pthread_mutex_lock(&faulty.lock);
    if (!faulty.real) {
        rv = load_real();
        if (rv == CKR_OK) {
            fill_list();
        }
    }
    (void)pthread_mutex_unlock(&faulty.lock);
    *list = &faulty.list;
    return rv;
}
