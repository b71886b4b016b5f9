/* Many processes that sign with a key on a PKCS#11 token until they are stopped:
 *
 *     signers MODULE LABEL COUNT [SHARE]
 *
 * prints "ready" once each has signed, and when all have failed "failed COUNT NS 0xRV": how many,
 * when the last signature that succeeded was begun (nanoseconds since 1970), and what one was told;
 * then "signed COUNT", signatures in all. With SHARE they end when the first has made so many since
 * all were ready; it prints "shares LEAST MOST SUM", of what each had made by then. */
#include <limits.h>
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

#include "lib/base/macro.h"
#include "tests/signer/signer.h"

enum { SIGNERS_MAX = 1024, PATIENCE_S = 120, POLL_US = 1000 };

/* Shared by the processes. */
struct signers {
    _Atomic unsigned ready, failed;
    _Atomic uint64_t last_ns, signed_count;
    _Atomic unsigned long reason;
    unsigned count, share; /* share 0: none */
    _Atomic bool is_over;
    _Atomic unsigned shares[SIGNERS_MAX];
};

static uint64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static void note_success(struct signers *signers, uint64_t begun_ns)
{
    signers->signed_count++;
    uint64_t last_ns = signers->last_ns;
    while (last_ns < begun_ns &&
           !atomic_compare_exchange_weak(&signers->last_ns, &last_ns, begun_ns)) {
    }
}

static bool has_enough(struct signers *signers, unsigned number)
{
    if (signers->share == 0 || signers->ready < signers->count || signers->is_over) {
        return signers->is_over;
    }
    if (++signers->shares[number] == signers->share) {
        signers->is_over = true;
    }
    return signers->is_over;
}

_Noreturn static void run(struct signers *signers, unsigned number, const char *module,
                          const char *label)
{
    struct signer signer = {0};
    CK_RV rv;
    (void)alarm(PATIENCE_S);
    signer_open(&signer, module);
    signer_find_key(&signer, label);
    signer_check("the first signature", signer_sign(&signer));
    signers->signed_count++;
    signers->ready++;
    for (;;) {
        uint64_t begun_ns = now_ns();
        rv = signer_sign(&signer);
        if (rv != CKR_OK) {
            break;
        }
        note_success(signers, begun_ns);
        if (has_enough(signers, number)) {
            _exit(0);
        }
    }
    signers->reason = rv;
    signers->failed++;
    _exit(0);
}

static int report_shares(const struct signers *signers)
{
    unsigned least = UINT_MAX;
    unsigned most = 0;
    unsigned sum = 0;
    for (unsigned i = 0; i < signers->count; i++) {
        unsigned share = signers->shares[i];
        least = MIN(least, share);
        most = MAX(most, share);
        sum += share;
    }
    printf("shares %u %u %u\n", least, most, sum);
    return signers->failed == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    unsigned count = argc == 4 || argc == 5 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;
    struct signers *signers =
        mmap(NULL, sizeof(*signers), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (count == 0 || count > SIGNERS_MAX || signers == MAP_FAILED) {
        (void)fputs("usage: signers MODULE LABEL COUNT [SHARE]\n", stderr);
        return 2;
    }
    signers->count = count;
    signers->share = argc == 5 ? (unsigned)strtoul(argv[4], NULL, 10) : 0;
    (void)alarm(PATIENCE_S);
    for (unsigned i = 0; i < count; i++) {
        if (fork() == 0) {
            run(signers, i, argv[1], argv[2]);
        }
    }
    while (signers->ready < count) {
        if (waitpid(-1, NULL, WNOHANG) > 0) {
            signer_die("one ended before it was ready", 0);
        }
        (void)usleep(POLL_US);
    }
    (void)puts("ready");
    (void)fflush(stdout);
    while (wait(NULL) > 0) {
    }
    if (signers->share > 0) {
        return report_shares(signers);
    }
    printf("failed %u %llu 0x%lx\n", signers->failed, (unsigned long long)signers->last_ns,
           signers->reason);
    printf("signed %llu\n", (unsigned long long)signers->signed_count);
    return signers->failed == count ? 0 : 1;
}
