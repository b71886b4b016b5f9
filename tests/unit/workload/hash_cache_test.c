#include "agent/workload/hash_cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"

static struct hash_answer answer_of(uint64_t inode)
{
    struct hash_answer answer = {.file = {.device = 1, .inode = inode}, .is_lasting = true};
    memset(answer.hex, 'a', HASH_HEX_BYTES - 1);
    return answer;
}

static void least_recently_used_goes(void **state)
{
    (void)state;
    struct hash_cache *cache = hash_cache_new(2);
    struct hash_answer answers[] = {answer_of(0), answer_of(1), answer_of(2)};
    hash_cache_store(cache, &answers[0]);
    hash_cache_store(cache, &answers[1]);
    assert_non_null(hash_cache_find(cache, &answers[0].file));
    hash_cache_store(cache, &answers[2]);
    assert_non_null(hash_cache_find(cache, &answers[0].file));
    assert_null(hash_cache_find(cache, &answers[1].file));
    assert_non_null(hash_cache_find(cache, &answers[2].file));
    hash_cache_free(cache);
}

static void every_part_of_the_identity_counts(void **state)
{
    (void)state;
    struct hash_cache *cache = hash_cache_new(8);
    struct hash_answer answer = answer_of(7);
    hash_cache_store(cache, &answer);
    assert_string_equal(hash_cache_find(cache, &answer.file), answer.hex);
    for (unsigned i = 0; i < 5; i++) {
        struct file_identity file = answer.file;
        file.device += i == 0;
        file.inode += i == 1;
        file.size_bytes += i == 2;
        file.changed_s += i == 3;
        file.changed_ns += i == 4;
        assert_null(hash_cache_find(cache, &file));
    }
    answer.file.inode = 8;
    answer.is_lasting = false;
    hash_cache_store(cache, &answer);
    assert_null(hash_cache_find(cache, &answer.file));
    hash_cache_free(cache);
}

static void digest_of_a_file(void **state)
{
    (void)state;
    char path[] = "/tmp/hash_cache_test.XXXXXX";
    struct hash_answer answer;
    struct file_identity expected = {.inode = 1};
    _cleanup_(file_close_cleanup) int descriptor = mkostemp(path, O_CLOEXEC);
    assert_int_equal(write(descriptor, "abc", 3), 3);
    hash_file(AT_FDCWD, path, &expected, 0, &answer);
    assert_string_equal(answer.hex,
                        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    struct stat status;
    assert_int_equal(fstat(descriptor, &status), 0);
    assert_int_equal(answer.file.inode, status.st_ino);
    assert_int_equal(answer.file.size_bytes, 3);
    assert_int_equal(answer.file.changed_s, status.st_ctim.tv_sec);
    assert_int_equal(answer.file.changed_ns, status.st_ctim.tv_nsec);
    /* Written just now: another change might get the same time. */
    assert_false(answer.is_lasting);
    hash_file(AT_FDCWD, path, &expected, 3, &answer);
    assert_int_equal(strlen(answer.hex), 64);
    hash_file(AT_FDCWD, path, &expected, 2, &answer);
    assert_string_equal(answer.hex, "");
    assert_int_equal(answer.file.inode, 1);
    assert_int_equal(unlink(path), 0);
    hash_file(AT_FDCWD, path, &expected, 0, &answer);
    assert_string_equal(answer.hex, "");
    hash_file(AT_FDCWD, "/usr/bin/sleep", &expected, 0, &answer);
    assert_int_equal(strlen(answer.hex), 64);
    assert_int_equal(stat("/usr/bin/sleep", &status), 0);
    assert_true(answer.is_lasting || status.st_ctim.tv_sec > clock_now_s() - 60);
}

static void only_files(void **state)
{
    static const char *const names[] = {"/", "/dev/zero", "/proc/self/ns/user", "/nonexistent"};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        struct hash_answer answer;
        const struct file_identity expected = {.inode = 1};
        hash_file(AT_FDCWD, names[i], &expected, 0, &answer);
        assert_string_equal(answer.hex, "");
        assert_false(answer.is_lasting);
        assert_true(file_identity_is_equal(&answer.file, &expected));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(least_recently_used_goes),
        cmocka_unit_test(every_part_of_the_identity_counts),
        cmocka_unit_test(digest_of_a_file),
        cmocka_unit_test(only_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
