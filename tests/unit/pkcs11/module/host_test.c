/* A module in a process of its own: this program itself, started again with --module-host. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "lib/base/clock.h"
#include "tests/unit/pkcs11/module/fixture.h"
#include "tests/unit/pkcs11/process_memory.h"

enum {
    TIMEOUT_MS = 2000, /* a key has to be made in it on a busy machine, too */
    LATE_MS = 5 * TIMEOUT_MS,
    GONE_WAIT_MS = 10000,
    SEARCH_MAX_BYTES = 64 << 20
};

static const uint8_t id[16] = {77};

static struct module_config isolated_config(const char *module)
{
    struct module_config config = fixture_config();
    config.module = module;
    config.is_isolated = true;
    return config;
}

/* The number behind name in /proc/PID/status, or -1. */
static long process_status(pid_t pid, const char *name)
{
    _cleanup_(free_cleanup) char *path = text_format("/proc/%d/status", pid);
    _cleanup_(buffer_clear) struct buffer status = {0};
    if (buffer_read_file(path, 65536, &status, NULL) < 0) {
        return -1;
    }
    buffer_append_u8(&status, 0);
    const char *line = strstr((const char *)status.data, name);
    return line ? strtol(line + strlen(name), NULL, 10) : -1;
}

/* The newest child of a process; 0: none. Zombies count. */
static pid_t child_of(pid_t parent)
{
    DIR *processes = opendir("/proc");
    pid_t child = 0;
    const struct dirent *entry;
    assert_non_null(processes);
    while ((entry = readdir(processes))) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (pid > child && process_status(pid, "PPid:") == parent) {
            child = pid;
        }
    }
    (void)closedir(processes);
    return child;
}

/* Whether the process, which need not be a child, ends in time. */
static bool wait_until_gone(pid_t pid)
{
    _cleanup_(file_close_cleanup) int descriptor = pidfd_open(pid, 0);
    struct pollfd wait = {.fd = descriptor, .events = POLLIN};
    return descriptor < 0 || poll(&wait, 1, GONE_WAIT_MS) == 1;
}

static void probe_well(void *state)
{
    struct error err = {0};
    if (keystore_driver_module.probe(state, &err) < 0) {
        fail_msg("%s", err.text);
    }
}

static void test_keys(void **unused)
{
    (void)unused;
    struct module_config config = isolated_config(SOFTHSM);
    /* Once before counting: a sanitizer has a thread of its own from the first one on. */
    keystore_driver_module.close(fixture_open(&config));
    size_t descriptors = fixture_count_own("fd");
    size_t threads = fixture_count_own("task");
    void *state = fixture_open(&config);
    assert_string_equal(getenv("P11_KIT_SERVER_ADDRESS"), "");
    for (int type = 0; type < KEY_TYPE_COUNT; type++) {
        struct error err = {0};
        struct driver_key *key = fixture_generate(state, (enum key_type)type, NULL);
        fixture_sign_well(state, key);
        keystore_driver_module.key_close(state, key);
        _cleanup_(buffer_clear) struct buffer reference = {0};
        key = fixture_generate(state, (enum key_type)type, id);
        keystore_driver_module.key_reference(state, key, &reference);
        keystore_driver_module.key_close(state, key);
        assert_int_equal(keystore_driver_module.key_open(state, (enum key_type)type, id,
                                                         buffer_bytes(&reference), &key, &err),
                         0);
        fixture_sign_well(state, key);
        keystore_driver_module.key_close(state, key);
        assert_int_equal(keystore_driver_module.destroy_id(state, id, &err), 0);
        assert_int_equal(keystore_driver_module.key_open(state, (enum key_type)type, id,
                                                         buffer_bytes(&reference), &key, &err),
                         -1);
        assert_int_equal(err.code, ERROR_NOT_FOUND);
    }
    pid_t host = child_of(getpid());
    assert_true(host > 0);
    keystore_driver_module.close(state);
    assert_int_equal(child_of(getpid()), 0);
    assert_int_equal(fixture_count_own("fd"), descriptors);
    assert_int_equal(fixture_count_own("task"), threads);
}

/* Nothing else that this process starts gets the connection, and the module's process gets nothing
 * of ours. */
static void test_process_is_confined(void **unused)
{
    (void)unused;
    struct module_config config = isolated_config(SOFTHSM);
    _cleanup_(file_close_cleanup) int original = open("/dev/null", O_RDONLY | O_CLOEXEC);
    _cleanup_(file_close_cleanup) int inherited = fcntl(original, F_DUPFD, 50);
    assert_true(inherited >= 50);
    bool was_open[256];
    for (int descriptor = 0; descriptor < 256; descriptor++) {
        was_open[descriptor] = fcntl(descriptor, F_GETFD) >= 0;
    }
    void *state = fixture_open(&config);
    pid_t host = child_of(getpid());
    assert_int_equal(process_status(host, "NoNewPrivs:"), 1);
    struct rlimit core = {1, 1};
    assert_int_equal(prlimit(host, RLIMIT_CORE, NULL, &core), 0);
    assert_int_equal(core.rlim_max, 0);
    for (int descriptor = 3; descriptor < 256; descriptor++) {
        int flags = fcntl(descriptor, F_GETFD);
        assert_true(was_open[descriptor] || flags < 0 || (flags & FD_CLOEXEC));
        _cleanup_(free_cleanup) char *link = text_format("/proc/%d/fd/%d", host, descriptor);
        char target[64] = "";
        if (readlink(link, target, sizeof(target) - 1) > 0) {
            assert_string_not_equal(target, "/dev/null");
        }
    }
    keystore_driver_module.close(state);
}

struct thread_work {
    void *state;
    struct driver_key *shared;
    pthread_t thread;
    int failures;
};

static void *sign_and_generate(void *argument)
{
    struct thread_work *work = argument;
    struct error err = {0};
    for (int i = 0; i < 20; i++) {
        struct driver_key *own = NULL;
        work->failures += fixture_sign(work->state, work->shared, &err) < 0;
        if (keystore_driver_module.key_generate(work->state, KEY_TYPE_EC_P256, NULL, &own, &err) <
            0) {
            work->failures++;
            continue;
        }
        work->failures += fixture_sign(work->state, own, &err) < 0;
        keystore_driver_module.key_close(work->state, own);
    }
    return NULL;
}

static void test_many_threads(void **unused)
{
    (void)unused;
    struct module_config config = isolated_config(SOFTHSM);
    struct thread_work works[4] = {0};
    void *state = fixture_open(&config);
    struct driver_key *shared = fixture_generate(state, KEY_TYPE_EC_P256, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(works); i++) {
        works[i].state = state;
        works[i].shared = shared;
        assert_int_equal(pthread_create(&works[i].thread, NULL, sign_and_generate, &works[i]), 0);
    }
    for (size_t i = 0; i < ARRAY_SIZE(works); i++) {
        assert_int_equal(pthread_join(works[i].thread, NULL), 0);
        assert_int_equal(works[i].failures, 0);
    }
    keystore_driver_module.key_close(state, shared);
    keystore_driver_module.close(state);
}

static void test_two_at_once(void **unused)
{
    (void)unused;
    struct module_config configs[] = {isolated_config(SOFTHSM), isolated_config(FAULTY_MODULE)};
    void *states[2];
    struct driver_key *keys[2];
    for (int i = 0; i < 2; i++) {
        states[i] = fixture_open(&configs[i]);
        keys[i] = fixture_generate(states[i], KEY_TYPE_EC_P256, NULL);
    }
    /* Only the second is behind the faulty module. */
    struct error err = {0};
    fixture_write("control", "C_Sign fail 0x70\n");
    fixture_sign_well(states[0], keys[0]);
    assert_int_equal(fixture_sign(states[1], keys[1], &err), -1);
    assert_int_equal(err.code, ERROR_UNIMPLEMENTED);
    (void)unlink(fixture.control_path);
    fixture_sign_well(states[1], keys[1]);
    for (int i = 0; i < 2; i++) {
        keystore_driver_module.key_close(states[i], keys[i]);
        keystore_driver_module.close(states[i]);
    }
}

/* Ways in which the module's process stops to answer. */
static void end_by_kill(void)
{
    assert_int_equal(kill(child_of(getpid()), SIGKILL), 0);
}

static void end_by_stop(void)
{
    pid_t host = child_of(getpid());
    int status = 0;
    /* Its threads stop one after the other; this returns when the last has. */
    assert_int_equal(kill(host, SIGSTOP), 0);
    assert_int_equal(waitpid(host, &status, WUNTRACED), host);
    assert_true(WIFSTOPPED(status));
}

static void end_by_crash(void)
{
    fixture_write("control", "C_SignInit crash\n");
}

static void end_by_hang(void)
{
    fixture_write("control", "C_Sign hang\n");
}

static void test_process_ends(void **unused)
{
    (void)unused;
    static void (*const ends[])(void) = {end_by_kill, end_by_stop, end_by_crash, end_by_hang};
    struct module_config config = isolated_config(FAULTY_MODULE);
    config.timeout_ms = TIMEOUT_MS;
    void *state = fixture_open(&config);
    struct driver_key *lasting = fixture_generate(state, KEY_TYPE_EC_P256, id);
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        struct error err = {0};
        struct driver_key *ephemeral = fixture_generate(state, KEY_TYPE_EC_P256, NULL);
        fixture_sign_well(state, ephemeral);
        fixture_sign_well(state, lasting);
        pid_t before = child_of(getpid());
        ends[i]();
        uint64_t start_ms = clock_monotonic_ms();
        assert_int_equal(fixture_sign(state, lasting, &err), -1);
        assert_int_equal(err.code, ERROR_UNAVAILABLE);
        assert_true(clock_monotonic_ms() - start_ms < LATE_MS);
        assert_true(ephemeral->is_lost);
        assert_false(lasting->is_lost);
        (void)unlink(fixture.control_path);
        probe_well(state);
        pid_t after = child_of(getpid());
        assert_true(after > 0 && after != before);
        /* No zombie is left of the first. */
        assert_int_equal(process_status(before, "PPid:"), -1);
        fixture_sign_well(state, lasting);
        assert_int_equal(fixture_sign(state, ephemeral, &err), -1);
        assert_int_equal(err.code, ERROR_DATA_LOSS);
        keystore_driver_module.key_close(state, ephemeral);
    }
    struct error err = {0};
    keystore_driver_module.key_close(state, lasting);
    assert_int_equal(keystore_driver_module.destroy_id(state, id, &err), 0);
    keystore_driver_module.close(state);
    assert_int_equal(child_of(getpid()), 0);
}

/* A module that hangs at the start does not keep the agent waiting, nor one that hangs at the end.
 */
static void test_hang_at_start_and_end(void **unused)
{
    (void)unused;
    static const char *const rules[] = {"C_Initialize hang\n", "C_GetSlotList hang\n",
                                        "C_Login hang\n"};
    struct module_config config = isolated_config(FAULTY_MODULE);
    config.timeout_ms = TIMEOUT_MS;
    for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
        fixture_write("control", rules[i]);
        (void)fixture_open_error(&config);
        assert_int_equal(child_of(getpid()), 0);
    }
    (void)unlink(fixture.control_path);
    void *state = fixture_open(&config);
    fixture_write("control", "C_CloseSession hang\nC_Finalize hang\n");
    keystore_driver_module.close(state);
    assert_int_equal(child_of(getpid()), 0);
    (void)unlink(fixture.control_path);
}

static void test_bad_modules(void **unused)
{
    (void)unused;
    static const struct {
        const char *module, *program;
        enum error_code code;
        const char *text;
    } cases[] = {
        {"/no/such/module.so", NULL, ERROR_NOT_FOUND, "install it"},
        {"nosuchmodule", NULL, ERROR_NOT_FOUND, "p11-kit knows no such name"},
        {SOFTHSM, "/bin/true", ERROR_UNAVAILABLE, "the process ended"},
        {SOFTHSM, "/no/such/program", ERROR_NOT_FOUND, "starting the process"},
    };
    size_t descriptors = fixture_count_own("fd");
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct module_config config = isolated_config(cases[i].module);
        config.host_path = cases[i].program;
        struct error err = fixture_open_error(&config);
        assert_contains(err.text, cases[i].text);
        assert_int_equal(err.code, cases[i].code);
        assert_int_equal(child_of(getpid()), 0);
    }
    assert_int_equal(fixture_count_own("fd"), descriptors);
}

static void test_wrong_pin_is_tried_once(void **unused)
{
    (void)unused;
    struct module_config config = isolated_config(SOFTHSM);
    fixture_write("pin", "wrong-pin-isolated");
    assert_contains(fixture_open_error(&config).text, "says that it is wrong");
    /* Neither by another process of the module nor in this one. */
    assert_contains(fixture_open_error(&config).text, "refused this PIN before");
    config.is_isolated = false;
    assert_contains(fixture_open_error(&config).text, "refused this PIN before");
    fixture_write("pin", fixture.pin);
    config.is_isolated = true;
    keystore_driver_module.close(fixture_open(&config));
}

/* A sanitizer has a shadow of terabytes. */
#ifdef PROCESS_MEMORY_IS_SANITIZED
static const bool may_search = false;
#else
static const bool may_search = true;
#endif

/* Whether the memory of a process holds the text. -1: this test may not look. */
static int memory_holds(pid_t pid, const char *text)
{
    _cleanup_(free_cleanup) char *maps_path = text_format("/proc/%d/maps", pid);
    _cleanup_(free_cleanup) char *memory_path = text_format("/proc/%d/mem", pid);
    _cleanup_(file_close_cleanup) int memory = open(memory_path, O_RDONLY | O_CLOEXEC);
    FILE *maps = may_search && memory >= 0 ? fopen(maps_path, "re") : NULL;
    char line[512];
    int is_found = 0;
    if (!maps) {
        return -1;
    }
    while (fgets(line, sizeof(line), maps)) {
        char *rest = NULL;
        unsigned long start = strtoul(line, &rest, 16);
        unsigned long end = strtoul(rest + 1, &rest, 16);
        if (strncmp(rest, " rw", 3) != 0 || end - start > SEARCH_MAX_BYTES) {
            continue;
        }
        uint8_t *copy = memory_new(end - start);
        ssize_t count = pread(memory, copy, end - start, (off_t)start);
        if (count > 0 && memmem(copy, (size_t)count, text, strlen(text))) {
            is_found = 1;
        }
        free(copy);
    }
    (void)fclose(maps);
    return is_found;
}

/* Neither process keeps the PIN after the login. */
static void assert_no_pin(pid_t pid)
{
    int is_found = memory_holds(pid, fixture.pin);
    if (is_found < 0) {
        print_message("not allowed to read the memory of %d\n", pid);
    }
    assert_true(is_found <= 0);
}

/* The agent is killed: its module's process goes, even when the module hangs. */
static void test_ends_with_the_agent(void **unused)
{
    (void)unused;
    int ready[2];
    fixture_write("control", "C_Sign hang\n");
    assert_int_equal(pipe(ready), 0);
    char self[256] = "";
    assert_true(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
    _cleanup_(free_cleanup) char *descriptor = text_format("%d", ready[1]);
    char *const arguments[] = {self, (char[]){"--agent"}, fixture.pin_path, descriptor, NULL};
    pid_t agent = 0;
    assert_int_equal(posix_spawn(&agent, self, NULL, NULL, arguments, environ), 0);
    char byte = 0;
    (void)close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    (void)close(ready[0]);
    pid_t host = child_of(agent);
    assert_true(host > 0);
    assert_true(memory_holds(getpid(), fixture.pin) != 0);
    assert_no_pin(agent);
    assert_no_pin(host);
    assert_int_equal(kill(agent, SIGKILL), 0);
    assert_int_equal(waitpid(agent, NULL, 0), agent);
    assert_true(wait_until_gone(host));
    (void)unlink(fixture.control_path);
}

/* An agent for the test above: tells when it is ready, then signs with a module that hangs. */
static int run_agent(const char *pin_path, const char *descriptor)
{
    struct module_config config = {.module = FAULTY_MODULE,
                                   .token = "signet",
                                   .pin_path = pin_path,
                                   .workers = 2,
                                   .is_isolated = true};
    void *state = NULL;
    struct error err = {0};
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (secret_init(&err) < 0 || keystore_driver_module.open(&config, "agent", &state, &err) < 0) {
        return 1;
    }
    struct driver_key *key = fixture_generate(state, KEY_TYPE_EC_P256, NULL);
    if (write((int)strtol(descriptor, NULL, 10), "", 1) != 1) {
        return 1;
    }
    return fixture_sign(state, key, &err);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--module-host") == 0) {
        /* Without the leak check, which a process that forbids ptrace cannot have. */
        _exit(module_host_main(argv[2]));
    }
    if (argc == 4 && strcmp(argv[1], "--agent") == 0) {
        return run_agent(argv[2], argv[3]);
    }
    (void)signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_process_is_confined),
        cmocka_unit_test(test_many_threads),
        cmocka_unit_test(test_two_at_once),
        cmocka_unit_test(test_process_ends),
        cmocka_unit_test(test_hang_at_start_and_end),
        cmocka_unit_test(test_bad_modules),
        cmocka_unit_test(test_wrong_pin_is_tried_once),
        cmocka_unit_test(test_ends_with_the_agent),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
