/* A PKCS#11 application that stays: it loads the module MODULE and obeys lines from its input, one
 * answer a line.
 *
 *   key LABEL     finds private keys of that label: "key ID" of the one there is, "none", "N keys"
 *   key-id HEX    the same by CKA_ID
 *   sign          signs a digest with the key found last: "ok" or "CKR 0x.."
 *   sign-slow     C_SignInit alone, "ok" or "CKR 0x.."; the next sign completes it
 *   read          reads the private value of that key: "CKR 0x.." or "read"
 *   sessions N    opens N sessions more: "N sessions" that could be opened
 *   fork          a child initializes, finds the same label and signs: as sign
 *   killed N      N children, one after the other, are killed between C_SignInit and C_Sign: "N
 *                 killed"
 *   search N      N children search without end: "N search", once each has begun
 *   searching     how many of them still do: "N searching"
 *   inherited     a shell that inherited the connection writes into it: "written"
 *   exec FILE     becomes FILE, which gets the connection's descriptor and the session as arguments
 *   pass FILE     as exec, in a child that is the user nobody
 *   exit
 */
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <p11-kit/pkcs11.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/macro.h"

static CK_FUNCTION_LIST *p11;
static CK_SESSION_HANDLE session;
static CK_OBJECT_HANDLE key;
static CK_KEY_TYPE type;
static char last_label[1024];
static bool is_begun;
static unsigned long searching; /* children */

static bool failed(CK_RV rv)
{
    if (rv != CKR_OK) {
        printf("CKR 0x%lx\n", rv);
    }
    return rv != CKR_OK;
}

static CK_RV open_token(void)
{
    CK_SLOT_ID slot = 0;
    CK_ULONG count = 1;
    CK_RV rv = p11->C_Initialize(NULL);
    if (rv == CKR_OK) {
        rv = p11->C_GetSlotList(CK_TRUE, &slot, &count);
    }
    if (rv == CKR_OK && count != 1) {
        return CKR_TOKEN_NOT_PRESENT;
    }
    return rv == CKR_OK ? p11->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &session) : rv;
}

static void find(CK_ATTRIBUTE_TYPE by, const void *value, size_t size)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_ATTRIBUTE wanted[] = {{CKA_CLASS, &class, sizeof(class)}, {by, (void *)value, size}};
    CK_OBJECT_HANDLE found[16];
    CK_ULONG count = 0;
    unsigned char id[64];
    CK_ATTRIBUTE facts[] = {{CKA_ID, id, sizeof(id)}, {CKA_KEY_TYPE, &type, sizeof(type)}};
    if (failed(p11->C_FindObjectsInit(session, wanted, 2)) ||
        failed(p11->C_FindObjects(session, found, ARRAY_SIZE(found), &count)) ||
        failed(p11->C_FindObjectsFinal(session))) {
        return;
    }
    if (count != 1) {
        printf(count == 0 ? "none\n" : "%lu keys\n", count);
        return;
    }
    if (failed(p11->C_GetAttributeValue(session, found[0], facts, ARRAY_SIZE(facts)))) {
        return;
    }
    key = found[0];
    printf("key ");
    for (CK_ULONG i = 0; i < facts[0].ulValueLen; i++) {
        printf("%02x", id[i]);
    }
    printf("\n");
}

static void find_by_id(const char *hex)
{
    unsigned char id[64];
    size_t size = 0;
    for (; size < sizeof(id) && hex[0] && hex[1]; hex += 2, size++) {
        const char digits[] = {hex[0], hex[1], 0};
        id[size] = (unsigned char)strtoul(digits, NULL, 16);
    }
    find(CKA_ID, id, size);
}

static CK_RV sign_init(void)
{
    CK_MECHANISM mechanism = {type == CKK_EC ? CKM_ECDSA : CKM_SHA256_RSA_PKCS, NULL, 0};
    return p11->C_SignInit(session, &mechanism, key);
}

static CK_RV sign(void)
{
    unsigned char digest[32] = {1};
    unsigned char signature[512];
    CK_ULONG size = sizeof(signature);
    CK_RV rv = is_begun ? CKR_OK : sign_init();
    is_begun = false;
    return rv == CKR_OK ? p11->C_Sign(session, digest, sizeof(digest), signature, &size) : rv;
}

static void say_signed(CK_RV rv)
{
    if (!failed(rv)) {
        printf("ok\n");
    }
}

static void read_value(void)
{
    unsigned char value[512];
    CK_ATTRIBUTE wanted = {CKA_VALUE, value, sizeof(value)};
    if (!failed(p11->C_GetAttributeValue(session, key, &wanted, 1))) {
        printf("read\n");
    }
}

static void sign_in_child(void)
{
    fflush(stdout);
    if (fork() == 0) {
        CK_RV rv = open_token();
        if (!failed(rv)) {
            find(CKA_LABEL, last_label, strlen(last_label));
            say_signed(sign());
        }
        fflush(stdout);
        _exit(0);
    }
    (void)wait(NULL);
}

_Noreturn static void be_killed(void)
{
    if (freopen("/dev/null", "w", stdout) && open_token() == CKR_OK) {
        find(CKA_LABEL, last_label, strlen(last_label));
        if (sign_init() == CKR_OK) {
            (void)raise(SIGKILL);
        }
    }
    _exit(1);
}

static void kill_children(unsigned long wanted)
{
    unsigned long killed = 0;
    (void)fflush(stdout);
    for (unsigned long i = 0; i < wanted; i++) {
        int status = 0;
        pid_t child = fork();
        if (child == 0) {
            be_killed();
        }
        (void)waitpid(child, &status, 0);
        killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL ? 1 : 0;
    }
    printf("%lu killed\n", killed);
}

/* Tells by a byte that the first search is over. */
_Noreturn static void search(int ready)
{
    CK_OBJECT_HANDLE found[16];
    CK_ULONG count = 0;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    bool is_well = open_token() == CKR_OK;
    for (bool is_first = true; is_well; is_first = false) {
        is_well = p11->C_FindObjectsInit(session, NULL, 0) == CKR_OK &&
                  p11->C_FindObjects(session, found, ARRAY_SIZE(found), &count) == CKR_OK &&
                  p11->C_FindObjectsFinal(session) == CKR_OK && count > 0 &&
                  (!is_first || write(ready, "", 1) == 1);
    }
    _exit(1);
}

static void start_searches(unsigned long wanted)
{
    int ready[2];
    char byte;
    unsigned long begun = 0;
    (void)fflush(stdout);
    if (pipe2(ready, O_CLOEXEC) < 0) {
        printf("no pipe\n");
        return;
    }
    for (unsigned long i = 0; i < wanted; i++) {
        if (fork() == 0) {
            search(ready[1]);
        }
    }
    (void)close(ready[1]);
    while (begun < wanted && read(ready[0], &byte, 1) == 1) {
        begun++;
    }
    (void)close(ready[0]);
    searching = begun;
    printf("%lu search\n", begun);
}

static void count_searches(void)
{
    while (waitpid(-1, NULL, WNOHANG) > 0) {
        searching--;
    }
    printf("%lu searching\n", searching);
}

/* The client library's socket; -1: none. */
static int connection(void)
{
    struct stat status;
    for (int descriptor = 3; descriptor < 64; descriptor++) {
        if (fstat(descriptor, &status) == 0 && S_ISSOCK(status.st_mode)) {
            return descriptor;
        }
    }
    return -1;
}

/* It is inherited over exec. */
static void write_from_elsewhere(void)
{
    char command[64];
    (void)snprintf(command, sizeof(command), "printf x >&%d", connection());
    printf(system(command) == 0 ? "written\n" : "not written\n");
}

static void become(const char *file)
{
    char descriptor[16];
    char handle[32];
    (void)snprintf(descriptor, sizeof(descriptor), "%d", connection());
    (void)snprintf(handle, sizeof(handle), "%lu", session);
    (void)fcntl(connection(), F_SETFD, 0);
    (void)execl(file, file, descriptor, handle, (char *)NULL);
    printf("cannot become %s\n", file);
}

static void pass_to_nobody(const char *file)
{
    enum { NOBODY = 65534 };
    pid_t child = fork();
    if (child == 0) {
        if (setgid(NOBODY) == 0 && setuid(NOBODY) == 0) {
            become(file);
        }
        _exit(1);
    }
    (void)waitpid(child, NULL, 0);
}

static void open_sessions(unsigned long wanted)
{
    CK_SESSION_HANDLE more;
    CK_SESSION_INFO info;
    unsigned long opened = 0;
    if (failed(p11->C_GetSessionInfo(session, &info))) {
        return;
    }
    while (opened < wanted &&
           p11->C_OpenSession(info.slotID, CKF_SERIAL_SESSION, NULL, NULL, &more) == CKR_OK) {
        opened++;
    }
    printf("%lu sessions\n", opened);
}

static void obey(char *line)
{
    char *argument = strchr(line, ' ');
    if (argument) {
        *argument++ = '\0';
    } else {
        argument = line + strlen(line);
    }
    if (strcmp(line, "key") == 0) {
        (void)snprintf(last_label, sizeof(last_label), "%s", argument);
        find(CKA_LABEL, argument, strlen(argument));
    } else if (strcmp(line, "key-id") == 0) {
        find_by_id(argument);
    } else if (strcmp(line, "sign") == 0) {
        say_signed(sign());
    } else if (strcmp(line, "sign-slow") == 0) {
        CK_RV rv = sign_init();
        is_begun = rv == CKR_OK;
        say_signed(rv);
    } else if (strcmp(line, "read") == 0) {
        read_value();
    } else if (strcmp(line, "sessions") == 0) {
        open_sessions(strtoul(argument, NULL, 10));
    } else if (strcmp(line, "fork") == 0) {
        sign_in_child();
    } else if (strcmp(line, "killed") == 0) {
        kill_children(strtoul(argument, NULL, 10));
    } else if (strcmp(line, "search") == 0) {
        start_searches(strtoul(argument, NULL, 10));
    } else if (strcmp(line, "searching") == 0) {
        count_searches();
    } else if (strcmp(line, "inherited") == 0) {
        write_from_elsewhere();
    } else if (strcmp(line, "exec") == 0) {
        become(argument);
    } else if (strcmp(line, "pass") == 0) {
        pass_to_nobody(argument);
    } else if (strcmp(line, "exit") == 0) {
        exit(0);
    } else {
        printf("what is %s?\n", line);
    }
}

int main(int argc, char **argv)
{
    static char line[4096];
    void *module = argc == 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    CK_C_GetFunctionList get_list = NULL;
    if (module) {
        *(void **)&get_list = dlsym(module, "C_GetFunctionList");
    }
    if (!get_list || get_list(&p11) != CKR_OK) {
        (void)fprintf(stderr, "usage: p11 MODULE (a PKCS#11 module): %s\n", dlerror());
        return 2;
    }
    (void)signal(SIGPIPE, SIG_IGN); /* the client library writes to a closed connection */
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    CK_RV rv = open_token();
    if (failed(rv)) {
        return 1;
    }
    printf("ready\n");
    while (fgets(line, sizeof(line), stdin)) {
        line[strcspn(line, "\n")] = '\0';
        obey(line);
    }
    return 0;
}
