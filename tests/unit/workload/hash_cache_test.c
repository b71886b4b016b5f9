#include "agent/workload/hash_cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/fsverity.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "lib/base/text.h"

static struct hash_answer answer_of(uint64_t inode)
{
    struct hash_answer answer = {.file = {.device = 1, .inode = inode}, .is_lasting = true};
    memset(answer.digest, 'a', HASH_DIGEST_BYTES - 1);
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
    assert_string_equal(hash_cache_find(cache, &answer.file), answer.digest);
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
    assert_string_equal(answer.digest,
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
    assert_int_equal(strlen(answer.digest), 64);
    hash_file(AT_FDCWD, path, &expected, 2, &answer);
    assert_string_equal(answer.digest, "");
    assert_int_equal(answer.file.inode, 1);
    assert_int_equal(unlink(path), 0);
    hash_file(AT_FDCWD, path, &expected, 0, &answer);
    assert_string_equal(answer.digest, "");
    hash_file(AT_FDCWD, "/usr/bin/sleep", &expected, 0, &answer);
    assert_int_equal(strlen(answer.digest), 64);
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
        assert_string_equal(answer.digest, "");
        assert_false(answer.is_lasting);
        assert_true(file_identity_is_equal(&answer.file, &expected));
    }
}

/* Turns fs-verity on for a new file with these contents, wherever a file system has it. */
static bool make_verity_file(const char *contents, char *ret_path, size_t size)
{
    const char *chosen = getenv("TMPDIR");
    const char *const folders[] = {chosen ? chosen : "/tmp", "/var/tmp", "/dev/shm", "."};
    for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
        struct fsverity_enable_arg wanted = {
            .version = 1, .hash_algorithm = FS_VERITY_HASH_ALG_SHA256, .block_size = 4096};
        (void)snprintf(ret_path, size, "%s/hash_cache_test.XXXXXX", folders[i]);
        int writing = mkostemp(ret_path, O_CLOEXEC);
        assert_true(writing < 0 || write(writing, contents, strlen(contents)) > 0);
        file_close_cleanup(&writing);
        _cleanup_(file_close_cleanup) int reading = open(ret_path, O_RDONLY | O_CLOEXEC);
        if (reading >= 0 && ioctl(reading, FS_IOC_ENABLE_VERITY, &wanted) == 0) {
            return true;
        }
        (void)unlink(ret_path);
    }
    return false;
}

/* The digest of a file of one block: that of a descriptor with the hash of the block (the kernel's
 * Documentation/filesystems/fsverity.rst). */
static void digest_of_block(const char *contents, char ret_digest[HASH_DIGEST_BYTES])
{
    uint8_t block[4096] = {0}, descriptor[256] = {1, FS_VERITY_HASH_ALG_SHA256, 12}, digest[32];
    const struct bytes text = bytes_of_text(contents);
    memcpy(block, text.data, text.size);
    descriptor[8] = (uint8_t)text.size;
    assert_int_equal(EVP_Digest(block, sizeof(block), descriptor + 16, NULL, EVP_sha256(), NULL),
                     1);
    assert_int_equal(EVP_Digest(descriptor, sizeof(descriptor), digest, NULL, EVP_sha256(), NULL),
                     1);
    _cleanup_(free_cleanup) char *hex = text_hex((struct bytes){digest, sizeof(digest)});
    (void)snprintf(ret_digest, HASH_DIGEST_BYTES, "sha256:%s", hex);
}

static void what_fs_verity_guards(void **state)
{
    char path[64], expected_digest[HASH_DIGEST_BYTES];
    const struct file_identity expected = {.inode = 1};
    struct file_identity file;
    struct hash_answer answer;
    uint32_t links;
    (void)state;
    if (!make_verity_file("abc", path, sizeof(path))) {
        print_message("no file system here has fs-verity\n");
        skip();
    }
    digest_of_block("abc", expected_digest);
    hash_measure(AT_FDCWD, path, &expected, &answer);
    assert_string_equal(answer.digest, expected_digest);
    assert_int_equal(file_identity_read(AT_FDCWD, path, &file, &links), 0);
    assert_int_equal(file.is_verity, 1);
    assert_true(file_identity_is_equal(&file, &answer.file));
    assert_int_equal(unlink(path), 0);
}

static void what_it_does_not(void **state)
{
    static const char *const names[] = {"/proc/self/exe", "/proc/version", "/dev/zero", "/"};
    const struct file_identity expected = {.inode = 1};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        struct hash_answer answer;
        struct file_identity file = {0};
        uint32_t links;
        (void)file_identity_read(AT_FDCWD, names[i], &file, &links);
        hash_measure(AT_FDCWD, names[i], &expected, &answer);
        assert_true(answer.digest[0] == '\0' || file.is_verity);
        assert_false(answer.is_lasting && !file.is_verity);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(least_recently_used_goes),
        cmocka_unit_test(every_part_of_the_identity_counts),
        cmocka_unit_test(digest_of_a_file),
        cmocka_unit_test(only_files),
        cmocka_unit_test(what_fs_verity_guards),
        cmocka_unit_test(what_it_does_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
