/* Many processes that sign with a key on a PKCS#11 token until they are stopped:
 *
 *     signers MODULE LABEL COUNT
 *
 * prints "ready" once each has signed, and when all have failed "failed COUNT NS 0xRV": how many,
 * when the last signature of them all was done (nanoseconds since 1970), and what one was told;
 * then "signed COUNT", signatures in all. */
#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SIGNERS_MAX = 1024, PATIENCE_S = 120, DIGEST_BYTES = 32, POLL_US = 1000 };

/* Shared by the processes. */
struct signers {
    _Atomic unsigned ready, failed;
    _Atomic uint64_t last_ns, signed_count;
    _Atomic unsigned long reason;
};

struct signer {
    CK_FUNCTION_LIST *p11;
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE key;
};

_Noreturn static void die(const char *what, CK_RV rv)
{
    (void)fprintf(stderr, "signers: %s: 0x%lx\n", what, rv);
    exit(1);
}

static void check(const char *what, CK_RV rv)
{
    if (rv != CKR_OK) {
        die(what, rv);
    }
}

static uint64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static void signer_open(struct signer *signer, const char *path, const char *label)
{
    CK_C_GetFunctionList get_list = NULL;
    CK_SLOT_ID slot = 0;
    CK_ULONG count = 1;
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_ATTRIBUTE wanted[] = {{CKA_CLASS, &class, sizeof(class)},
                             {CKA_LABEL, (void *)label, strlen(label)}};
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (module) {
        *(void **)&get_list = dlsym(module, "C_GetFunctionList");
    }
    if (!get_list) {
        die(path, CKR_GENERAL_ERROR);
    }
    check("C_GetFunctionList", get_list(&signer->p11));
    CK_FUNCTION_LIST *p11 = signer->p11;
    check("C_Initialize", p11->C_Initialize(NULL));
    check("C_GetSlotList", p11->C_GetSlotList(CK_TRUE, &slot, &count));
    check("C_OpenSession",
          p11->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &signer->session));
    check("C_FindObjectsInit", p11->C_FindObjectsInit(signer->session, wanted, 2));
    check("C_FindObjects", p11->C_FindObjects(signer->session, &signer->key, 1, &count));
    check("C_FindObjectsFinal", p11->C_FindObjectsFinal(signer->session));
    if (count != 1) {
        die(label, CKR_KEY_HANDLE_INVALID);
    }
}

static CK_RV sign(const struct signer *signer)
{
    uint8_t digest[DIGEST_BYTES] = {0};
    uint8_t signature[512];
    CK_ULONG size = sizeof(signature);
    CK_MECHANISM mechanism = {CKM_ECDSA, NULL, 0};
    CK_RV rv = signer->p11->C_SignInit(signer->session, &mechanism, signer->key);
    return rv == CKR_OK
               ? signer->p11->C_Sign(signer->session, digest, DIGEST_BYTES, signature, &size)
               : rv;
}

static void note_success(struct signers *signers)
{
    uint64_t done_ns = now_ns();
    signers->signed_count++;
    uint64_t last_ns = signers->last_ns;
    while (last_ns < done_ns &&
           !atomic_compare_exchange_weak(&signers->last_ns, &last_ns, done_ns)) {
    }
}

_Noreturn static void run(struct signers *signers, const char *module, const char *label)
{
    struct signer signer = {0};
    CK_RV rv;
    (void)alarm(PATIENCE_S);
    signer_open(&signer, module, label);
    check("the first signature", sign(&signer));
    signers->signed_count++;
    signers->ready++;
    while ((rv = sign(&signer)) == CKR_OK) {
        note_success(signers);
    }
    signers->reason = rv;
    signers->failed++;
    _exit(0);
}

int main(int argc, char **argv)
{
    unsigned count = argc == 4 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;
    struct signers *signers =
        mmap(NULL, sizeof(*signers), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (count == 0 || count > SIGNERS_MAX || signers == MAP_FAILED) {
        (void)fputs("usage: signers MODULE LABEL COUNT\n", stderr);
        return 2;
    }
    (void)alarm(PATIENCE_S);
    for (unsigned i = 0; i < count; i++) {
        if (fork() == 0) {
            run(signers, argv[1], argv[2]);
        }
    }
    while (signers->ready < count) {
        if (waitpid(-1, NULL, WNOHANG) > 0) {
            die("one ended before it was ready", 0);
        }
        (void)usleep(POLL_US);
    }
    (void)puts("ready");
    (void)fflush(stdout);
    while (wait(NULL) > 0) {
    }
    printf("failed %u %llu 0x%lx\n", signers->failed, (unsigned long long)signers->last_ns,
           signers->reason);
    printf("signed %llu\n", (unsigned long long)signers->signed_count);
    return signers->failed == count ? 0 : 1;
}
